# SPDX-License-Identifier: Apache-2.0
"""
A service does not execute what user code wrote: where it starts and where it is at home. Three services that execute what they find
there (control-plane/found.py): `own` as it is without configuration, `named` with a directory and a HOME, `shared` with `shares` for both.
"""

import os
import signal
import stat

from lib import labels, moatd, places, procs
from lib.session import SECRET
from lib.tap import test

PLANT = """
import errno, os, sys
evidence, code = sys.argv[1], "import os; open({!r}, 'a').write(os.environ.get('CONTROL_PLANE_SECRET', 'none') + '\\\\n')\\n"
for path in sys.argv[2:]:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(code.format(evidence + "/" + os.path.basename(path)))
        print("ok", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"""


def files(directory, home):
    """What Python executes that it finds there."""
    site = f"{home}/.local/lib/python{version()}/site-packages"
    return [f"{directory}/http.py", f"{site}/planted.pth", f"{site}/usercustomize.py"]


def version():
    link = os.path.basename(os.path.realpath(places.PYTHON))
    return link.removeprefix("python")


def plant(session, paths, context="shared"):
    evidence = f"{session.scratch}/evidence"
    os.makedirs(evidence, exist_ok=True)
    return session.exec(places.PYTHON, "-c", PLANT, evidence, *paths, context=context).out.split()


def started_again(session, name):
    """Kills the service and waits until the next one has got as far as its code. What user code's code has written meanwhile."""
    before = session.agent.service(name)["pid"]
    evidence = f"{session.scratch}/evidence"
    for each in os.listdir(evidence):
        os.unlink(f"{evidence}/{each}")
    os.kill(before, signal.SIGKILL)
    # the last thing it does is to wait for a signal
    procs.wait_until(lambda: (pid := session.agent.service(name)["pid"]) not in (None, before) and waits(pid), 60, f"{name} is back")
    written = {}
    for each in os.listdir(evidence):
        with open(f"{evidence}/{each}", encoding="ascii") as file:
            written[each] = file.read().split()
    return written


def waits(pid):
    try:
        with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
            return file.read().split()[0] == {"x86_64": "34", "aarch64": "73"}[os.uname().machine]  # pause, or ppoll
    except OSError:
        return False


@test("what user code writes into a shared directory and HOME a service executes, with its secret: this is what the others are kept from",
      needs=("moat", "places"), timeout=60)
def executes(session):
    place = f"{session.scratch}/places/shared"
    assert plant(session, files(place, place + "/home")) == ["ok"] * 3
    written = started_again(session, "shared")
    assert written == {name: [SECRET] for name in ("http.py", "planted.pth", "usercustomize.py")}, written
    unguarded = session.api.get("/v1/status")["unguarded"]
    assert {each["path"] for each in unguarded if each["service"] == "shared"} == {place, place + "/home"}, unguarded


@test("into the directory and the HOME that the configuration names user code can write nothing, and nothing of it is executed",
      needs=("moat", "lsm", "places"), timeout=60)
def named(session):
    place = f"{session.scratch}/places/named"
    for context in ("shared", "full"):
        assert plant(session, files(place, place + "/home"), context) == ["EPERM"] * 3
    assert started_again(session, "named") == {}
    assert not [each for each in session.status()["unguarded"] if each["service"] != "shared"]


@test("a service has a directory, HOME, XDG directories and TMPDIR of its own, which user code neither sees nor writes", needs=("moat", "places"),
      timeout=60)
def own(session):
    place = f"{session.agent.state_dir}/services/own"
    pid = session.agent.service("own")["pid"]
    environ = dict(each.split("=", 1) for each in procs.environ(pid).decode().split("\0") if each)
    assert os.readlink(f"/proc/{pid}/cwd") == place + "/work"
    assert {name: value for name, value in environ.items() if name.startswith("XDG_") or name in ("HOME", "TMPDIR")} == {
        "HOME": place + "/home", "XDG_CONFIG_HOME": place + "/home/.config", "XDG_CACHE_HOME": place + "/home/.cache",
        "XDG_DATA_HOME": place + "/home/.local/share", "XDG_STATE_HOME": place + "/home/.local/state",
        "XDG_RUNTIME_DIR": place + "/run", "TMPDIR": place + "/tmp"}, environ
    for each in ("", "/work", "/home", "/tmp", "/run"):
        assert stat.S_IMODE(os.stat(place + each).st_mode) == 0o700, each
    for context in ("default", "full"):
        plant(session, files(place + "/work", place + "/home"), context)
    assert session.exec("/bin/ls", place, context="full").exit != 0
    assert started_again(session, "own") == {}
    assert not os.listdir(place + "/work"), os.listdir(place + "/work")


@test("with a HOME of its own a service's XDG_*_HOME are beneath that one", needs=("moat", "places"))
def home_named(session):
    environ = procs.environ(session.agent.service("named")["pid"]).decode().split("\0")
    assert f"HOME={session.scratch}/places/named/home" in environ
    assert {each.split("=")[0] for each in environ if each.startswith("XDG_")} == {"XDG_RUNTIME_DIR"}, environ


@test("user code that had the state directory in sight could write nothing there; `follow = yes` is in the label of the service that has it, "
      "and of its children alone", needs=("moat", "lsm", "places"))
def in_sight(session):
    def write(path):
        return lambda: os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    for path in files(f"{session.agent.state_dir}/services/own/work", f"{session.agent.state_dir}/services/own/home")[:1]:
        assert labels.labelled(session, labels.USER, labels.NONE, write(path)) == "ENOENT", path  # it is hidden
    flags = {name: labels.whole_label(session, session.agent.service(name)["pid"])[1] for name in ("own", "shared", "spare")}
    assert {name: value & labels.FOLLOW for name, value in flags.items()} == {"own": 0, "shared": labels.FOLLOW, "spare": 0}, flags
    assert labels.whole_label(session, session.agent.pid)[1] & labels.FOLLOW == 0


@test("a directory that cannot be guarded is refused with its line, unless the service shares it", timeout=60)
def refused(session):
    head = f"[moat]\ninstance = itest-places\nstate_dir = /run/itest-places\n[context c]\ndirectory = /srv\n[service a]\ncommand = /bin/true\n"
    for line, reason in (("directory = /", "/ contains the directory of context default (/)"),
                         ("directory = /srv", "/srv contains the directory of context c (/srv)"),
                         ("env = HOME=/root", "/root contains the HOME of context default (/root)"),
                         ("directory = /var", "/var contains /var/tmp"), ("directory = /tmp", "/tmp contains /tmp")):
        status, text, path = moatd.refuse(session.build, head + line + "\n")
        assert status == 2 and f"{path}:8: {reason}" in text and "shares = PATH" in text, (line, status, text)
        shared = line.split("=")[-1].strip()
        status, text, _ = moatd.refuse(session.build, head + f"{line}\nshares = {shared}\n", "--config-test")
        assert status == 0, (line, text)
