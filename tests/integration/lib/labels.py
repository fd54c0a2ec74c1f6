# SPDX-License-Identifier: Apache-2.0
"""The kernel's labels (include/moat/abi.h), read and written as the agent does: in the pinned storage maps, by descriptor."""

import ctypes
import errno
import os
import struct

from lib import procs

NONE, CONTROL, INIT, USER = range(4)
FOLLOW = 16  # MOAT_LABEL_FOLLOW
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
    found = whole_label(session, pid)
    return found and (found[0], *found[2:])


def whole_label(session, pid):
    """The same with the flags behind the role."""
    value, pidfd = ctypes.create_string_buffer(TASK), os.pidfd_open(pid)
    try:
        with_entry(session, "tasks", LOOKUP, pidfd, value)
    except FileNotFoundError:
        return None
    finally:
        os.close(pidfd)
    return LABEL.unpack_from(value.raw)


def of_exec(session, identifier):
    """The pids of a command and of all that comes of it, whatever they are in its PID namespace."""
    api = session.api() if callable(session.api) else session.api  # of an agent, or of the tests' common one
    found, number = [], api.process(identifier)["number"]
    for pid in procs.pids():
        try:
            each = label(session, pid)
        except OSError:
            continue  # it has ended
        if each and each[0] == USER and each[2] == number:
            found.append(pid)
    return found


def set_label(session, pid, role, announced=NONE, flags=0, context=1 << 40, exec_=1 << 40, secure=False):
    """announced: the role of the next child, where role is INIT. No context has the number."""
    number, pidfd = 1 << 40, os.pidfd_open(pid)
    one = LABEL.pack(role, flags | int(secure), context if role == USER else 0, exec_ if role == USER else 0)
    other = LABEL.pack(announced, 0, number if announced else 0, number if announced else 0)
    try:
        with_entry(session, "tasks", UPDATE, pidfd, ctypes.create_string_buffer((one + other).ljust(TASK, b"\0"), TASK))
    finally:
        os.close(pidfd)


def labelled(session, role, announced, function, flags=0):
    """What function answers, 0 or an errno, in a process of the tests' own that gets a label."""
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(answer(function))
    os.read(ready[0], 1)
    try:
        set_label(session, pid, role, announced, flags)
    finally:
        os.write(go[1], b"x")
        for end in (*ready, *go):
            os.close(end)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return errno.errorcode.get(status, "ok" if status == 0 else f"status {status}")


def answer(function):
    try:
        function()
        return 0
    except OSError as error:
        return error.errno
    except BaseException:
        return 255

