# SPDX-License-Identifier: Apache-2.0
"""The kernel's labels, read as the agent reads them: from the pinned task storage, by pidfd."""

import errno
import os
import signal

from lib import doing, labels, places, procs
from lib.labels import CONTROL, INIT, USER, label
from lib.tap import test
from test_hooks import labelled


def descendants(pid):
    found = []
    for each in procs.pids():
        fields = procs.stat_fields(each)
        if fields and int(fields[1]) == pid:
            found += [each, *descendants(each)]
    return found


@test("the agent and its services are CONTROL, each moat-init is INIT, and nobody else has a label", needs=("moat", "lsm", "http"))
def roles(session):
    assert label(session, session.agent.pid) == (CONTROL, 0, 0)
    for name in ("http", "spare"):
        assert label(session, session.agent.service(name)["pid"]) == (CONTROL, 0, 0), name
    for space in session.api.get("/v1/status")["namespaces"]:
        assert label(session, space["pid"])[0] == INIT, space
    assert label(session, os.getpid()) is None
    assert label(session, 1) is None


@test("a command is USER, and so is whatever comes of it: by fork, exec, setsid, double fork, a thread's fork",
      needs=("moat", "lsm"))
def inheritance(session):
    script = ("import os, threading, time\n"
              "def sleep(): os.execv('/bin/sleep', ['sleep', '86420'])\n"
              "if os.fork() == 0: sleep()\n"
              "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: sleep()\n    os._exit(0)\n"
              "def forks():\n    if os.fork() == 0: sleep()\n"
              "t = threading.Thread(target=forks); t.start(); t.join()\n"
              "os.posix_spawn('/bin/sleep', ['sleep', '86420'], {})\n"
              "time.sleep(86420)\n")
    identifier = session.api.start(places.PYTHON, "-c", script, context="shared")
    main = procs.wait_until(lambda: session.api.process(identifier)["pid"], 5, "it has a pid")
    spaces = {each["name"]: each["pid"] for each in session.api.get("/v1/status")["namespaces"]}

    def family():
        found = [pid for pid in descendants(spaces["context-shared"]) if procs.name(pid) in ("sleep", "python3")]
        return found if sum(procs.name(pid) == "sleep" for pid in found) == 4 else None
    found = procs.wait_until(family, 10, "four descendants")
    number = label(session, main)[2]
    labels = {procs.describe(pid): label(session, pid) for pid in found if label(session, pid)[2] == number}
    session.api.kill(identifier)
    assert len(labels) >= 5, labels
    assert len(set(labels.values())) == 1 and next(iter(labels.values()))[0] == USER, labels


@test("each context has a number of its own, each exec another; execs of one context share it", needs=("moat", "lsm"))
def numbers(session):
    seen = {}
    for context in ("shared", "shared", "other"):
        identifier = session.api.start("/bin/sleep", "86421", context=context)
        seen[identifier] = label(session, procs.wait_until(lambda each=identifier: session.api.process(each)["pid"], 5, "it has a pid"))
    for identifier in seen:
        session.api.kill(identifier)
    (role1, first, exec1), (role2, second, exec2), (role3, third, exec3) = seen.values()
    assert {role1, role2, role3} == {USER}, seen
    assert first == second != third and first > 0 and third > 0, seen
    assert len({exec1, exec2, exec3}) == 3, seen


# Looks at the memory of whatever it can see, again and again; the fork of moat-init has moat-init's until it executes.
WATCH_BIRTHS = """
import os, time
end, seen = time.monotonic() + float(os.sys.argv[1]), set()
while time.monotonic() < end or "sleep" not in seen and time.monotonic() < end + 120:
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                seen.add(os.readlink(f"/proc/{pid}/exe").rpartition("/")[2])
            except OSError:
                pass
print(*sorted(seen))
"""


@test("nobody sees a newborn command before it has memory of its own: until then it is a piece of moat-init", needs=("moat", "lsm"),
      timeout=120)
def newborn(session):
    for context in ("full", "shared"):
        seconds = 2 * session.patience
        identifier = session.api.start(places.PYTHON, "-c", WATCH_BIRTHS, str(seconds), context=context)
        while session.api.process(identifier)["state"] != "ended":
            session.exec("/bin/sleep", "0.01", context=context)
        seen = session.api.process(identifier)["stdout"].split()
        assert "sleep" in seen, f"the births were not watched: {seen}"
        assert not [each for each in seen if "moat-init" in each], seen


SYS_CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
NEWNS, NEWUTS, NEWIPC = 0x20000, 0x4000000, 0x8000000
OWN = NEWNS | NEWUTS | NEWIPC


def clones(session, *flags):
    """A function that has a child for each, all of which must have the label of a moat-init."""
    def function():
        for each in flags:
            pid = doing.libc.syscall(SYS_CLONE, each | signal.SIGCHLD, 0, 0, 0, 0)
            if pid == 0:
                signal.pause()
            if pid < 0:
                raise OSError(errno.EPERM, "clone")
            try:
                if label(session, pid)[0] != INIT:
                    raise OSError(errno.EINVAL, "the child is something else")
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    return function


@test("a moat-init has another one for a child where that was announced, in namespaces of its own, once, and otherwise no child",
      needs=("moat", "lsm"))
def announced_init(session):
    assert labelled(session, labels.INIT, labels.INIT, clones(session, OWN)) == "ok"
    for flags in ((0,), (NEWNS,), (NEWNS | NEWUTS,), (NEWUTS | NEWIPC,), (OWN, OWN)):
        assert labelled(session, labels.INIT, labels.INIT, clones(session, *flags)) == "EPERM", flags
    assert labelled(session, labels.INIT, labels.NONE, clones(session, OWN)) == "EPERM"
