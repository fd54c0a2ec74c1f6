# SPDX-License-Identifier: Apache-2.0
"""
What two contexts could share, were they in one set of namespaces: mounts above all, and what lies in memory. Each way is first
seen to work from one command to the next of the same context, and then does nothing to any other context, in both PID modes.
"""

import os
import signal

from lib import places, procs
from lib.tap import test

ADMINISTRATORS = ("adm", "adm-shared")  # every capability, in a PID namespace of its own and in the control plane's
OTHERS = ("default", "other", "modest", "plain")


def script(path, word):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        file.write(f"#!/bin/sh\necho {word}\n")
    os.chmod(path, 0o755)


def place(session):
    """A directory with a tool in it, and beside it what is to take its place."""
    root = f"{session.scratch}/namespaces"
    script(f"{root}/tools/tool", "real")
    script(f"{root}/fake/tool", "STOLEN")
    os.makedirs(f"{root}/other", exist_ok=True)
    os.makedirs(f"{root}/old", exist_ok=True)
    return root


def shell(session, context, text, **fields):
    return session.exec("/bin/sh", "-ec", text, context=context, **fields)


def end_namespace(session, context):
    """What a command did to the mounts of its context is gone with its namespaces."""
    for each in session.api.get("/v1/status")["namespaces"]:
        if each["name"] == f"context-{context}":
            os.kill(each["pid"], signal.SIGKILL)
            procs.wait_until(lambda pid=each["pid"]: procs.state(pid) is None, 10, "moat-init is gone")


# What is done, and what a command then says that has come to what was put there.
WAYS = {
    "a bind mount": "mount --bind {0}/fake/tool {0}/tools/tool",
    "a bind mount over /usr/bin/id": "mount --bind {0}/fake/tool /usr/bin/id",
    "a tmpfs": "mount -t tmpfs none {0}/tools; cp {0}/fake/tool {0}/tools/",
    "a mount that is moved there": "mount -t tmpfs none {0}/other; cp {0}/fake/tool {0}/other/; mount --move {0}/other {0}/tools",
    "a shared subtree": "mount --make-rshared /; mount --bind {0}/fake {0}/tools",
    "a slave of a shared subtree": "mount --make-rshared /; mount --make-rslave /; mount --bind {0}/fake {0}/tools",
    "a kept descriptor of its mount namespace":
        "exec 9< /proc/self/ns/mnt; sleep 86490 & exec 9<&-; nsenter --mount=/proc/$!/fd/9 mount --bind {0}/fake {0}/tools",
}


def check_mounts(name, way):
    @test(f"{name} made by a command decides what later ones of its context execute, and none of another context",
          needs=("moat",), timeout=120)
    def mounts(session):
        root = place(session)
        tool = "/usr/bin/id" if "/usr/bin/id" in way else f"{root}/tools/tool"
        real = session.exec(tool).out
        assert real and "STOLEN" not in real, real
        for context in ADMINISTRATORS:
            done = shell(session, context, way.format(root))
            if session.enforced and "--move" in way:  # where commands begin no mount is moved (bpf/mount.bpf.c)
                assert done.exit == 32 and "denied" in done.err, (context, done)
                end_namespace(session, context)
                continue
            assert done.exit == 0, (context, done)
            try:
                assert session.exec(tool, context=context).out == "STOLEN\n", f"{context}: the way does not work"
                for other in OTHERS + tuple({*ADMINISTRATORS} - {context}):
                    for fields in ({}, {"env": {"TOKEN": "t0ken"}}):
                        found = session.exec(tool, context=other, **fields)
                        assert "STOLEN" not in found.out and found.exit == 0, (context, other, fields, found)
            finally:
                end_namespace(session, context)
            assert session.exec(tool, context=context).out == real, "its namespaces are new, and clean"


for _name, _way in WAYS.items():
    check_mounts(_name, _way)


@test("pivot_root by a command is refused, or is its context's own affair", needs=("moat",), timeout=120)
def pivot(session):
    root = place(session)
    for context in ADMINISTRATORS:
        done = shell(session, context, f"mount --bind / {root}/other; cd {root}/other; pivot_root . ./mnt; echo turned")
        assert (done.out == "turned\n") != session.enforced, (context, done)
        try:
            for other in OTHERS:
                assert session.exec(f"{root}/tools/tool", context=other).out == "real\n", (context, other)
        finally:
            end_namespace(session, context)


@test("a mount that the control plane makes later, on a tree that it shares, does not reach a context, nor the other way round",
      needs=("moat",), timeout=60)
def propagation(session):
    for context in ("default", *ADMINISTRATORS):
        for line in session.exec("/bin/cat", "/proc/self/mountinfo", context=context).out.splitlines():
            options = line.partition(" - ")[0].split()[6:]
            assert not options, (context, line)


QUEUE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
queue = libc.mq_open(b"/moat-test", os.O_RDWR | (os.O_CREAT if sys.argv[1] == "make" else 0), 0o600, None)
print("there" if queue >= 0 else os.strerror(ctypes.get_errno()))
"""
# name -> (how it is made, how it is looked for, what is seen by who has it)
SHARED = {
    "a file in /dev/shm": ("echo secret > /dev/shm/moat-test", "cat /dev/shm/moat-test || true", "secret"),
    "System V memory": ("ipcmk -M 4096 > /dev/null", "ipcs -m | grep -c ' 4096 ' || true", "1"),
    "a System V message queue": ("ipcmk -Q > /dev/null", "ipcs -q | grep -c 0x || true", "1"),
    "System V semaphores": ("ipcmk -S 3 > /dev/null", "ipcs -s | grep -c 0x || true", "1"),
    "a POSIX message queue": (f"{places.PYTHON} -c '{QUEUE}' make > /dev/null", f"{places.PYTHON} -c '{QUEUE}' look", "there"),
    "the host name": ("hostname moat-test-name", "hostname", "moat-test-name"),
}


def check_shared(name, make, look, seen):
    @test(f"{name} of one context is there for its later commands, and not for another context", needs=("moat",), timeout=120)
    def shared(session):
        for context in ADMINISTRATORS:
            try:
                done = shell(session, context, make)
                assert done.exit == 0, (context, done)
                assert shell(session, context, look).out == seen + "\n", (context, shell(session, context, look))
                for other in OTHERS + tuple({*ADMINISTRATORS} - {context}):
                    for fields in ({}, {"isolated": True}):
                        found = shell(session, other, look, **fields)
                        assert found.exit == 0 and seen not in found.out.split(), (context, other, found)
            finally:
                end_namespace(session, context)


for _name, _how in SHARED.items():
    check_shared(_name, *_how)


TERMINAL = "import os, pty, time; mine, theirs = pty.openpty(); print(os.ttyname(theirs), flush=True); time.sleep(86491)"


@test("a terminal of one context can be opened by its other commands, and by none of another context", needs=("moat",), timeout=60)
def terminals(session):
    for owner in ("default", "adm", "adm-shared"):
        identifier = session.api.start(places.PYTHON, "-c", TERMINAL, context=owner)
        path = procs.wait_until(lambda one=identifier: session.api.process(one)["stdout"].strip(), 10, "it has a terminal")
        assert path.startswith("/dev/pts/"), path
        assert shell(session, owner, f"exec 9<>{path}; echo open").out == "open\n", owner
        for other in ("default", "adm", "adm-shared", "modest"):
            if other != owner:
                found = shell(session, other, f"if true 9<>{path}; then echo open; fi")
                assert found.out == "", (owner, other, found)
        session.api.kill(identifier)


@test("what is on /dev of one context, and whether it is writable, is not another's, whatever who may mount does to it", needs=("moat",),
      timeout=60)
def devices(session):
    for context in ADMINISTRATORS:
        done = shell(session, context, "mount -o remount,bind,rw /dev; umount /dev/full; rm /dev/full; echo fake > /dev/moat-test; cat /dev/moat-test")
        assert done.out == "fake\n" or session.enforced, (context, done)
        try:
            for other in OTHERS:
                found = shell(session, other, "ls /dev; head -c 1 /dev/zero > /dev/full || true")
                assert "moat-test" not in found.out and "full" in found.out.split(), (context, done, other, found)
                assert "No space left" in found.err, (context, other, found)
        finally:
            end_namespace(session, context)
