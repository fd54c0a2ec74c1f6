# SPDX-License-Identifier: Apache-2.0
"""What the operations of tools/legitimate.py are made of, and tests of their own."""

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import traceback

TIMEOUT = 300  # more than anything here takes, on any machine
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = \
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000

libc = ctypes.CDLL(None, use_errno=True)


def call(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def child(function=signal.pause):
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    return pid


def ended_by(pid):
    """The signal that ended a child; minus its exit status when it exited."""
    return -os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def read(path):
    with open(path, "rb") as file:
        return file.read()


def run(*argv, **more):
    done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT, **more)
    assert done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stdout[-300:]!r} {done.stderr[-300:]!r}"
    return done.stdout


def answer(function, say):
    """Tells how function ended."""
    try:
        function()
        say("ok")
    except BaseException as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        say(f"{type(error).__name__}: {error} (line {at.lineno}: {at.line})".replace("\n", " "))


def within(flags, function):
    """Runs function as root of new namespaces, as PID 1 where they include a PID namespace."""
    def enter():
        user, group = os.getuid(), os.getgid()
        call(libc.unshare(flags))
        if flags & CLONE_NEWUSER:
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(text)
        inner()

    def inner():
        pid = os.fork()
        if pid == 0:
            answer(function, lambda text: os.write(ends[1], text.encode()))
            os._exit(0)
        os.waitpid(pid, 0)
    ends = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer(enter, lambda text: text == "ok" or os.write(ends[1], text.encode()))
        os._exit(0)
    os.close(ends[1])
    os.waitpid(pid, 0)
    with os.fdopen(ends[0]) as said:
        text = said.read()
    assert text == "ok", text or "nothing was said"


def mount(source, target, kind, flags=0, data=None):
    encode = [each.encode() if each else None for each in (source, target, kind, data)]
    call(libc.mount(encode[0], encode[1], encode[2], flags, encode[3]))


@contextlib.contextmanager
def sysctl(name, value):
    """With another value for a while."""
    path = pathlib.Path("/proc/sys", name)
    before = path.read_text(encoding="ascii")
    path.write_text(value, encoding="ascii")
    try:
        yield
    finally:
        path.write_text(before, encoding="ascii")
