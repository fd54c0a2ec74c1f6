# SPDX-License-Identifier: Apache-2.0
"""What guards the control plane where the kernel takes no BPF LSM programs, layer by layer; all of it together: test_unenforced."""

import contextlib
import errno
import os
import re
import socket
import subprocess

from lib import moatd, places
from lib.tap import test

AF_PACKET = 17


def without_lsm(session):
    session.require(not session.enforced, "the kernel programs guard: the other layers are not used")


@contextlib.contextmanager
def made(session, name, **settings):
    answer = session.api.request("POST", "/v1/contexts", {"name": name, **settings})
    assert answer.status in (200, 201), answer
    try:
        yield name
    finally:
        session.api.request("DELETE", f"/v1/contexts/{name}")


def python(session, code, **fields):
    result = session.exec(places.PYTHON, "-c", code, **fields)
    assert result.exit == 0, result
    return result.out.strip()


def errno_of(session, call, **fields):
    """What user code gets from a call of Python's: an errno's name, or "ok"."""
    code = f"import errno, socket\ntry:\n    {call}\n    print('ok')\nexcept OSError as e:\n    print(errno.errorcode[e.errno])"
    return python(session, code, **fields)


# seccomp

@test("each command has one filter of system calls, in every namespace and with every set of capabilities", needs=("moat",))
def filtered(session):
    without_lsm(session)
    assert session.status()["layers"]["seccomp"]["state"] == "active", session.status()["layers"]["seccomp"]
    for fields in ({}, {"context": "modest"}, {"context": "full"}, {"context": "shared"}, {"context": "bare"}, {"context": "sealed"},
                   {"env": {"A": "b"}}):
        words = session.exec("/bin/grep", "^Seccomp", "/proc/self/status", **fields).out.split()
        assert words == ["Seccomp:", "2", "Seccomp_filters:", "1"], (fields, words)


@test("seccomp = off of a context leaves out its commands' filter, and of no other's", needs=("moat",))
def unfiltered(session):
    without_lsm(session)
    call = f"socket.socket({AF_PACKET}, socket.SOCK_DGRAM, 0)"
    with made(session, "unfiltered", seccomp="off") as name:
        assert session.exec("/bin/grep", "^Seccomp:", "/proc/self/status", context=name).out.split() == ["Seccomp:", "0"]
        assert errno_of(session, call, context=name) == "ok"
        assert errno_of(session, call, context=name, env={"A": "b"}) == "ok"
    assert errno_of(session, call, env={"A": "b"}) == "EPERM"
    assert errno_of(session, call) == "EPERM"
    assert errno_of(session, "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 0)") == "ok"


@test("where the kernel programs guard no command has a filter", needs=("moat", "lsm"))
def not_beside_lsm(session):
    assert session.exec("/bin/grep", "^Seccomp:", "/proc/self/status").out.split() == ["Seccomp:", "0"]


@test("a command without CAP_SYS_ADMIN cannot start a child in another cgroup; one that cannot use clone3 uses clone", needs=("moat",))
def cgroup_kept(session):
    without_lsm(session)
    call = "import ctypes; libc = ctypes.CDLL(None, use_errno=True); libc.syscall(435, None, 0); print(ctypes.get_errno())"
    assert python(session, call) == str(errno.ENOSYS)
    assert python(session, call, context="full") == str(errno.EINVAL)
    assert python(session, "import threading; t = threading.Thread(target=print, args=(7,)); t.start(); t.join()") == "7"


@test("ICMP can be sent, as ping sends it", needs=("moat",))
def ping(session):
    without_lsm(session)
    for kind in ("SOCK_RAW", "SOCK_DGRAM"):
        assert errno_of(session, f"socket.socket(socket.AF_INET, socket.{kind}, {socket.IPPROTO_ICMP})") == "ok", kind


# Landlock

def scoped(session):
    without_lsm(session)
    layer = session.status()["layers"]["landlock"]
    session.require(layer["state"] == "active", "this kernel has no Landlock")
    session.require("signals" in layer["checks"][0]["detail"], "this kernel's Landlock has no scopes")


def kill(pid, signal=0):
    return f"import os; os.kill({pid}, {signal})"


@contextlib.contextmanager
def sleeper(session, **fields):
    """A command that sleeps, as user code sees it: (id, pid in its own PID namespace)."""
    started = session.api.start("/bin/sleep", "600", **fields)
    try:
        yield started, session.api.process(started)["pid"]
    finally:
        session.api.request("DELETE", f"/v1/processes/{started}")


@test("commands of one context reach each other: signals, /proc, ptrace", needs=("moat",))
def together(session):
    scoped(session)
    for context in ("default", "modest", "full"):
        with sleeper(session, context=context) as (_, pid):
            assert errno_of(session, kill(pid), context=context) == "ok", context
            assert errno_of(session, f"open('/proc/{pid}/environ').read()", context=context) == "ok", context
            assert errno_of(session, kill(pid, 9), context=context) == "ok", context


@test("with pid = shared user code signals nobody outside of its context: service, agent, moat-init, another context", needs=("moat", "http"))
def apart(session):
    scoped(session)
    with sleeper(session, context="other") as (_, stranger):
        targets = [pid for _, pid in session.targets()] + [stranger]
        for context in ("modest", "shared", "sealed-shared"):
            for pid in targets:
                assert errno_of(session, kill(pid), context=context) == "EPERM", (context, pid)
                assert errno_of(session, kill(pid, 9), context=context) == "EPERM", (context, pid)
        assert session.exec("/bin/kill", "-0", str(stranger), context="other").exit == 0


@test("two secure execs in one PID namespace neither signal each other nor read each other's environment", needs=("moat",))
def secure_apart(session):
    scoped(session)
    for context in ("default", "modest"):
        with sleeper(session, context=context, env={"SECRET": "1"}) as (_, pid):
            fields = {"context": context, "env": {"SECRET": "2"}}
            assert errno_of(session, kill(pid), **fields) == "EPERM", context
            assert errno_of(session, f"open('/proc/{pid}/environ')", **fields) == "ENOENT", context
            assert errno_of(session, "open('/proc/self/environ')", **fields) == "ok", context


@test("an abstract unix socket of a service is not reached, one of the user's own is", needs=("moat", "http"))
def abstract_sockets(session):
    scoped(session)
    own = "s = socket.socket(socket.AF_UNIX); s.bind('\\0moat-own'); s.listen(); socket.socket(socket.AF_UNIX).connect('\\0moat-own')"
    for context in ("default", "modest", "full"):
        assert errno_of(session, f"socket.socket(socket.AF_UNIX).connect('\\0{session.instance}')", context=context) == "EPERM", context
        assert errno_of(session, own, context=context) == "ok", context


@test("user code that kills everything that it can harms its own context alone, and the next command runs", needs=("moat", "http"))
def kills_all(session):
    scoped(session)
    before = [*session.targets(), *namespaces(session).items()]
    with sleeper(session, context="other") as (kept, _):
        for context in ("default", "modest"):
            with sleeper(session, context=context) as (gone, _):
                assert errno_of(session, kill(-1, 9), context=context) == "ok", context
                assert session.api.process(gone)["signal"] == "SIGKILL", context
            for _ in range(2):
                assert session.exec("/bin/echo", "again", context=context).out == "again\n", context
            with sleeper(session, context=context) as (_, pid):
                assert errno_of(session, kill(pid), context=context) == "ok", context
        assert session.api.process(kept)["state"] == "running"
    assert [*session.targets(), *namespaces(session).items()] == before


def namespaces(session):
    return {each["name"]: each["pid"] for each in session.api.get("/v1/status")["namespaces"] if not each["name"].startswith("context-")}


@test("what commands are cloned from can be killed by them, but not read or traced", needs=("moat",))
def keeper(session):
    scoped(session)
    find = "pid = [p for p in os.listdir('/proc') if p.isdigit() and open(f'/proc/{p}/comm').read() == 'moat-keeper\\n'][0]"
    for call, answer in ((f"import os; {find}; open(f'/proc/{{pid}}/environ')", "EACCES"),
                         (f"import os; {find}; open(f'/proc/{{pid}}/mem', 'r+b')", "EACCES"),
                         (f"import os; {find}; os.kill(int(pid), 9)", "ok")):
        assert errno_of(session, call) == answer, call
    assert session.exec("/bin/echo", "again").out == "again\n"


@test("a request as large as may be reaches a command", needs=("moat",))
def large(session):
    without_lsm(session)
    text = "x" * 120000
    assert session.exec("/usr/bin/printf", "%s", text).out == text
    assert len(session.exec("/usr/bin/printf", "%s", text, text).out) == 240000


@test("no command has CAP_PERFMON, by which it would read who is in another domain", needs=("moat",))
def no_perfmon(session):
    without_lsm(session)
    for context in ("full", "shared", "sealed"):
        bounding = int(session.exec("/bin/sed", "-n", "s/^CapBnd:\\t//p", "/proc/self/status", context=context).out, 16)
        assert not bounding >> 38 & 1 and bounding >> 21 & 1, (context, hex(bounding))


# Mounts

@test("what a service protects is read-only for user code, does not move, nor does a link that it is named by, and what is beside it is as before", needs=("moat", "http"))
def protected(session):
    without_lsm(session)
    tree, above = session.tree, session.tree.rpartition("/")[0]
    for fields in ({}, {"context": "modest"}, {"env": {"A": "b"}}, {"context": "plain"}):
        for call, answer in ((f"open('{tree}/file', 'r+')", "EROFS"), (f"open('{tree}/new', 'w')", "EROFS"),
                             (f"open('{session.single}', 'r+')", "EROFS"), (f"__import__('os').unlink('{session.single}')", "EBUSY"),
                             (f"__import__('os').unlink('{tree}/file')", "EROFS"), (f"__import__('os').rename('{tree}', '{tree}2')", "EBUSY"),
                             (f"__import__('os').rename('{above}', '{above}2')", "EBUSY"),
                             (f"__import__('os').rename('{session.scratch}', '{session.scratch}2')", "EBUSY"),
                             (f"open('{os.path.join(session.build, 'moat')}', 'r+')", "EROFS"),
                             (f"__import__('os').unlink('{session.scratch}/to-code')", "EBUSY"),
                             (f"__import__('os').rename('{session.scratch}/to-code', '{session.scratch}/to-code2')", "EBUSY"),
                             (f"open('{session.scratch}/to-code/main', 'r+')", "EROFS"), (f"open('{session.scratch}/to-code/main').read()", "ok"),
                             (f"open('{tree}/file').read()", "ok"), (f"open('{above}/beside', 'w')", "ok"),
                             (f"__import__('os').rename('{above}/beside', '{above}/beside2')", "ok"),
                             (f"__import__('os').unlink('{above}/beside2')", "ok")):
            assert errno_of(session, call, **fields) == answer, (fields, call)
    with open(f"{tree}/file", "r+", encoding="ascii"):
        pass  # the control plane still may


@test("what the control plane writes into a protected directory is seen by user code, and read-only as well", needs=("moat", "http"))
def protected_later(session):
    without_lsm(session)
    path = f"{session.tree}/sub/later"
    with open(path, "w", encoding="ascii") as file:
        file.write("later")
    try:
        assert python(session, f"print(open('{path}').read())") == "later"
        assert errno_of(session, f"open('{path}', 'r+')") == "EROFS"
    finally:
        os.unlink(path)


# What it comes to

@test("status says of each promise what keeps it, and for which contexts nothing does", needs=("moat",))
def requirements(session):
    found = {each["id"]: each for each in session.status()["requirements"]}
    assert list(found) == ["A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "C3"], list(found)
    assert all(each["guard"] in ("guarded", "only with a private PID namespace", "not guarded") for each in found.values()), found
    if session.enforced:
        assert {(each["guard"], each["by"], len(each["notFor"])) for each in found.values()} == {("guarded", "lsm", 0)}, found
        return
    assert found["A5"]["guard"] == "not guarded" and "default" in found["A5"]["notFor"], found["A5"]
    if session.status()["layers"]["cgroup"]["state"] == "active":
        assert (found["A3"]["guard"], found["A3"]["by"]) == ("guarded", "cgroup"), found["A3"]
        assert "full" in found["A3"]["notFor"] and "modest" not in found["A3"]["notFor"], found["A3"]
    assert found["A2"]["guard"] == "only with a private PID namespace", found["A2"]
    assert "modest" in found["A2"]["notFor"] and "default" not in found["A2"]["notFor"], found["A2"]
    if session.status()["layers"]["landlock"]["state"] == "active":
        assert (found["C3"]["guard"], found["C3"]["by"]) == ("guarded", "landlock"), found["C3"]
        assert "full" in found["C3"]["notFor"] and "modest" not in found["C3"]["notFor"], found["C3"]
    with made(session, "exposed", pid="shared"):
        again = {each["id"]: each for each in session.api.get("/v1/status")["requirements"]}
        assert "exposed" in again["A2"]["notFor"], again["A2"]


@test("moat check and moat status name each promise", needs=("moat",))
def told(session):
    for command in ("check", "status"):
        done = subprocess.run([os.path.join(session.build, "moat"), command, "--socket", session.agent.socket][:4 if command == "status" else 2],
                              capture_output=True, text=True, check=False, timeout=120)
        for word in ("signals", "credentials", "no signal of user code's reaches the control plane"):
            assert word in done.stdout, (command, done.stdout, done.stderr)
        if command == "status":  # the promise comes first: "not guarded: the programs are in force" would say the opposite
            assert re.search("the kernel programs are in force: (not )?guarded", done.stdout), done.stdout


@test("enforce = require with names starts where these are guarded, refuses the start where one is not, and later such a context",
      timeout=100)
def required(session):
    session.require(not session.vm, "a start takes long there, and nothing of it is the kernel's")
    sections = "[service idle]\ncommand = /bin/sleep infinity\n"
    for enforce, more, why in (("require A5", "", "A5"), ("require A2", "\n[context a]\npid = shared\n", "context a"),
                               ("require C3", "\n[context a]\ncapabilities = all\n", "context a"), ("require A11", "", "A1 to A9")):
        agent = moatd.Moatd(session.build, f"{session.instance}-r", sections + more, enforce)
        try:
            agent.start(60)
            raise AssertionError(f"it started with {enforce}")
        except moatd.DidNotStart as error:
            assert why in str(error), error
        finally:
            agent.kill()
            agent.remove_files()
    agent = moatd.Moatd(session.build, f"{session.instance}-r", sections, "require A1 A2 C3")
    try:
        agent.start(60)
        answer = agent.api().request("POST", "/v1/contexts", {"name": "a", "pid": "shared"})
        assert answer.status == 400 and answer.json["code"] == "BAD_VALUE" and "A2" in answer.json["message"], answer
        assert agent.api().request("POST", "/v1/contexts", {"name": "a"}).status in (200, 201)
        assert agent.stop() == (0, []), "it left something"
    finally:
        agent.kill()
        agent.remove_files()
