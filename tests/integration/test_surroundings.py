# SPDX-License-Identifier: Apache-2.0
"""
What lies about a command besides tasks and files: terminals, shared memory, the host name, HOME, temporary files, mounts. A secure
exec has its own, and the next one finds nothing of it, of whatever context either is. In each test one exec leaves or
has something, which it can see itself, and others look for it while it is there.
"""

import contextlib
import os
import shutil
import tempfile

from lib import places, procs
from lib.tap import test

CONTEXTS = ("default", "full", "shared", "sealed")

LEAVE = """
import ctypes, os, pty, sys, time
libc = ctypes.CDLL(None, use_errno=True)
key = int(sys.argv[1])
for path in ("/dev/shm/left", os.environ["HOME"] + "/.gitconfig", os.environ["TMPDIR"] + "/secret"):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
segment, queue = libc.shmget(key, 4096, 0o1666), libc.msgget(key, 0o1666)
master, slave = pty.openpty()
try:
    name = b"left-by-another"
    if libc.sethostname(name, len(name)):
        name = os.uname().nodename.encode()
except AttributeError:
    pass
print(segment >= 0, queue >= 0, os.path.exists(os.ttyname(slave)), os.ttyname(slave), os.uname().nodename, flush=True)
time.sleep(1000)
"""

LOOK = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
key = int(sys.argv[1])
print(os.listdir("/dev/shm/"), os.listdir(os.environ["HOME"]), os.listdir(os.environ["TMPDIR"]), os.listdir("/dev/pts"),
      libc.shmget(key, 0, 0), libc.msgget(key, 0), os.uname().nodename)
"""


@contextlib.contextmanager
def staying(session, *argv, **fields):
    """A command that stays, once it has said something: (id, what)."""
    identifier = session.api.start(*argv, isolated=True, **fields)
    try:
        yield identifier, procs.wait_until(lambda: session.api.process(identifier)["stdout"], 10, "it says something")
    finally:
        session.api.kill(identifier)


def look(session, key, context):
    return session.exec(places.PYTHON, "-c", LOOK, str(key), context=context, isolated=True)


@test("a secure exec finds nothing of another in /dev/shm, System V memory and queues, HOME, TMPDIR and /dev/pts, nor its host name",
      needs=("moat",), timeout=120)
def nothing_left(session):
    for number, owner in enumerate(CONTEXTS):
        key = 0x6d6f6100 + number
        with staying(session, places.PYTHON, "-c", LEAVE, str(key), context=owner) as (_, said):
            assert said.startswith("True True True /dev/pts/0 "), (owner, said)
            if owner == "full":
                assert "left-by-another" in said, said
            for other in CONTEXTS:
                seen = look(session, key, other)
                assert seen.out == f"[] [] [] ['ptmx'] -1 -1 {os.uname().nodename}\n", (owner, other, seen)
        assert look(session, key, owner).out.startswith("[] [] [] ['ptmx'] -1 -1 "), owner


@test("what user code has in /dev/shm, System V memory, its terminals and its host name is not there for a secure exec",
      needs=("moat",), timeout=60)
def nothing_of_user_code(session):
    key = 0x6d6f6180
    leave = LEAVE.replace('os.environ["HOME"] + "/.gitconfig", os.environ["TMPDIR"] + "/secret"', '"/dev/shm/too"')
    identifier = session.api.start(places.PYTHON, "-c", leave, str(key), context="full")
    try:
        procs.wait_until(lambda: session.api.process(identifier)["stdout"], 10, "it says something")
        for other in ("full", "default"):
            seen = look(session, key, other)
            assert seen.out == f"[] [] [] ['ptmx'] -1 -1 {os.uname().nodename}\n", (other, seen)
    finally:
        session.api.kill(identifier)
        session.exec(places.PYTHON, "-c", "import ctypes, os, socket, sys; libc = ctypes.CDLL(None); os.unlink('/dev/shm/left'); "
                     "os.unlink('/dev/shm/too'); key = int(sys.argv[1]); libc.shmctl(libc.shmget(key, 0, 0), 0, None); "
                     "libc.msgctl(libc.msgget(key, 0), 0, None); socket.sethostname(sys.argv[2])", str(key), os.uname().nodename,
                     context="full")


@test("what a secure exec mounts is there for no other, neither now nor later", needs=("moat",), timeout=60)
def mounts(session):
    script = os.path.join(session.scratch, "not-id")
    with open(script, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\necho stolen $TOKEN\n")
    os.chmod(script, 0o755)
    command = f"mount --bind {script} /usr/bin/id && mount -t tmpfs none /srv && touch /srv/here && id; sleep 1000"
    for owner in ("full", "sealed"):
        with staying(session, "/bin/sh", "-c", command, context=owner) as (_, said):
            assert said == "stolen\n", (owner, said)
            for other in CONTEXTS:
                result = session.exec("/bin/sh", "-c", "id -u; ls /srv", context=other, env={"TOKEN": "abc"})
                assert result.out == "0\n", (owner, other, result)
        result = session.exec("/bin/sh", "-c", "id -u; ls /srv", context=owner, env={"TOKEN": "abc"})
        assert result.out == "0\n", (owner, result)


@test("a secure exec begins in a HOME of its own, unless the request or the context names a directory", needs=("moat",))
def directory(session):
    assert session.exec("/bin/pwd", isolated=True).out == "/dev/own/home\n"
    assert session.exec("/bin/pwd", isolated=True, cwd="/etc").out == "/etc\n"
    assert session.exec("/bin/pwd", isolated=True, context="plain").out == "/usr\n"
    result = session.exec("/bin/sh", "-c", "pwd; echo $HOME $PYTHONSAFEPATH; ls -a /tmp; touch /tmp/here; ls $TMPDIR; stat -c %a /tmp",
                          isolated=True, context="apart")
    assert result.out == "/usr/share\n/usr/share\n.\n..\nhere\n1777\n", result
    assert not os.path.exists("/tmp/here")
    assert session.exec("/bin/sh", "-c", "echo $HOME", context="apart").out == "/usr/share\n"


@test("the small file system of a secure exec can be filled, and programs in it executed", needs=("moat",), timeout=60)
def own_files(session):
    result = session.exec("/bin/sh", "-c", "cp /bin/true ~/true && ~/true && head -c 70000000 /dev/zero > $TMPDIR/big; stat -c %s $TMPDIR/big",
                          isolated=True)
    assert "No space left" in result.err and 60 << 20 < int(result.out) <= 64 << 20, result


@test("common programs do not execute in secure what lies in the directory they are started in, and do where that is switched off",
      needs=("moat",), timeout=60)
def careful(session):
    try:
        check_careful(session)
    finally:
        shutil.rmtree(session.memory["careful"])


def check_careful(session):
    place = session.memory["careful"] = tempfile.mkdtemp(prefix="moat-test-", dir="/var/tmp")
    for name in ("json.py", "sitecustomize.py"):
        with open(os.path.join(place, name), "w", encoding="ascii") as file:
            file.write("print('theirs')\n")
    python = [places.PYTHON, "-c", "import json"]
    assert session.exec(*python, cwd=place).out == "theirs\n"
    assert session.exec(*python, cwd=place, isolated=True, context="apart").out == "theirs\n"
    assert session.exec(*python, cwd=place, isolated=True).out == ""
    git = shutil.which("git")
    if not git:
        return
    monitor = os.path.join(place, "monitor")
    with open(monitor, "w", encoding="ascii") as file:
        file.write(f"#!/bin/sh\ntouch {place}/ran\n")
    os.chmod(monitor, 0o755)
    setup = session.exec("/bin/sh", "-c", f"git init -q . && git config core.fsmonitor {monitor} && git config safe.directory '*'", cwd=place)
    assert setup.exit == 0, setup
    for fields, ran in (({"isolated": True}, False), ({"isolated": True, "context": "apart"}, True)):
        result = session.exec(git, "status", cwd=place, **fields)
        assert result.exit == 0, result
        assert os.path.exists(f"{place}/ran") == ran, (fields, result)
