# SPDX-License-Identifier: Apache-2.0
"""The capabilities that a context has, and processes of the tests' own with the same: what works there without moat."""

import ctypes
import os
import pathlib
import re

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
VERSION_3 = 0x20080522  # linux/capability.h
libc = ctypes.CDLL(None, use_errno=True)


def last_capability():
    return int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))


class Privileges:
    def __init__(self, status):
        """status: /proc/PID/status"""
        self.capabilities = int(re.search(r"^CapEff:\s*(\w+)", status, re.M)[1], 16)
        self.no_new_privs = re.search(r"^NoNewPrivs:\s*(\d)", status, re.M)[1] == "1"

    def complete(self):
        """Whether no capability of the kernel's is missing."""
        return self.capabilities == (1 << last_capability() + 1) - 1

    @property
    def key(self):
        return self.capabilities, self.no_new_privs

    def take(self):
        """Leaves the calling process with these and no more; for preexec_fn. Root that executes a program keeps them."""
        for number in range(last_capability() + 1):
            if not self.capabilities >> number & 1:
                check(libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0))
        low, high = self.capabilities & 0xFFFFFFFF, self.capabilities >> 32
        header = (ctypes.c_uint32 * 2)(VERSION_3, 0)
        check(libc.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)))
        if self.no_new_privs:
            check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def own():
    return Privileges(pathlib.Path("/proc/self/status").read_text(encoding="ascii"))


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def of_context(session, context):
    known = session.memory.setdefault("privileges", {})
    if context not in known:
        known[context] = Privileges(session.exec("/bin/cat", "/proc/self/status", context=context).out)
    return known[context]
