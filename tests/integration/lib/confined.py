# SPDX-License-Identifier: Apache-2.0
"""
Executes a command behind a filter of system calls. As container engines put before containers without privileges (the default): no
namespaces, no mounts, no bpf(2), and no clone3(2) (ENOSYS), because its flags cannot be seen. Or as where the kernel has no Landlock
and takes no programs of BPF ("layers"), or one of the same length that refuses what nobody calls ("unused").

usage: confined.py [--refuse=container|layers|unused] COMMAND [ARGUMENT...]
"""

import ctypes
import errno
import os
import struct
import sys

LOAD, EQUAL, ANY_OF, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NAMESPACES = 0x7E020000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2
# The same numbers everywhere but for those of before 2012, by machine: mount, umount2, pivot_root, unshare, setns, bpf; clone.
NEW = {435: errno.ENOSYS, **dict.fromkeys((428, 429, 430, 431, 432, 442), errno.EPERM)}
OLD = {"x86_64": ((165, 166, 155, 272, 308, 321), 56), "aarch64": ((40, 39, 41, 97, 268, 280), 220)}
LANDLOCK_CREATE_RULESET, NOBODYS = 444, (1000, 1001)


def program(what):
    old, clone = OLD[os.uname().machine]
    refused = {"container": {**NEW, **dict.fromkeys(old, errno.EPERM)}, "layers": dict.fromkeys((LANDLOCK_CREATE_RULESET, old[-1]), errno.EPERM),
               "unused": dict.fromkeys(NOBODYS, errno.EPERM)}[what]
    rows = [(LOAD, 0, 0, 0)]
    for number, error in refused.items():
        rows += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | error)]
    if what == "container":
        rows += [(EQUAL, 0, 3, clone), (LOAD, 0, 0, 16), (ANY_OF, 0, 1, NAMESPACES), (RETURN, 0, 0, ERRNO | errno.EPERM)]
    return b"".join(struct.pack("=HBBI", *row) for row in [*rows, (RETURN, 0, 0, ALLOW)])


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("rows", ctypes.c_char_p)]


def confine(what):
    libc, rows = ctypes.CDLL(None, use_errno=True), program(what)
    given = Program(len(rows) // 8, rows)
    if os.geteuid() != 0 and libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 or libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(given), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "no filter")


def main(command):
    what = "container"
    if command[0].startswith("--refuse="):
        what = command.pop(0).partition("=")[2]
    confine(what)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
