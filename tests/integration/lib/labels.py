# SPDX-License-Identifier: Apache-2.0
"""The kernel's labels (include/moat/abi.h), read and written as the agent does: in the pinned storage maps, by descriptor."""

import ctypes
import os
import struct

from lib import procs

NONE, CONTROL, INIT, USER = range(4)
MAP_CREATE, LOOKUP, UPDATE, OBJ_PIN, OBJ_GET = 0, 1, 2, 6, 7  # commands of bpf(2)
SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
LABEL, TASK = struct.Struct("<IIQQ"), 48  # struct moat_label, size of struct moat_task
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = libc.syscall(SYS_BPF, command, buffer, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def open_map(session, name):
    path = ctypes.create_string_buffer(f"/sys/fs/bpf/moat/{session.instance}/maps/{name}".encode())
    return bpf(OBJ_GET, struct.pack("<Q", ctypes.addressof(path)))


def with_entry(session, name, command, descriptor, value):
    """A command on the entry for a descriptor in a storage map; value is read or written."""
    key = ctypes.create_string_buffer(struct.pack("<i", descriptor), 4)
    storage = open_map(session, name)
    try:
        bpf(command, struct.pack("<IIQQ", storage, 0, ctypes.addressof(key), ctypes.addressof(value)))
    finally:
        os.close(storage)


def label(session, pid):
    """(role, context, exec) of a process; None without a label."""
    value, pidfd = ctypes.create_string_buffer(TASK), os.pidfd_open(pid)
    try:
        with_entry(session, "tasks", LOOKUP, pidfd, value)
    except FileNotFoundError:
        return None
    finally:
        os.close(pidfd)
    role, _flags, context, number = LABEL.unpack_from(value.raw)
    return role, context, number


def of_exec(session, identifier):
    """The pids of a command and of all that comes of it, whatever they are in its PID namespace."""
    found = []
    for pid in procs.pids():
        try:
            each = label(session, pid)
        except OSError:
            continue  # it has ended
        if each and each[0] == USER and f"x{each[2]}" == identifier:
            found.append(pid)
    return found


def set_label(session, pid, role, announced=NONE, context=1 << 40, exec_=1 << 40, secure=False):
    """announced: the role of the next child, where role is INIT. No context has the number."""
    number, pidfd = 1 << 40, os.pidfd_open(pid)
    one = LABEL.pack(role, int(secure), context if role == USER else 0, exec_ if role == USER else 0)
    other = LABEL.pack(announced, 0, number if announced else 0, number if announced else 0)
    try:
        with_entry(session, "tasks", UPDATE, pidfd, ctypes.create_string_buffer((one + other).ljust(TASK, b"\0"), TASK))
    finally:
        os.close(pidfd)


def guard_socket(session, each, guarded=True):
    with_entry(session, "sockets", UPDATE, each.fileno(), ctypes.create_string_buffer(struct.pack("<II24x", guarded, 0), 32))
