# SPDX-License-Identifier: Apache-2.0
"""What guards the control plane where the kernel takes no BPF LSM programs, layer by layer; all of it together: test_unenforced."""

import contextlib
import errno
import socket

from lib import places
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
