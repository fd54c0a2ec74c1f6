# SPDX-License-Identifier: Apache-2.0
"""The marks on protected inodes (include/moat/abi.h: struct moat_inode), in the pinned map `protected`."""

import contextlib
import ctypes
import errno
import os
import struct

from lib import labels

GET_NEXT_KEY, UPDATE_BATCH, DELETE_BATCH = 4, 26, 27  # commands of bpf(2)
KEY, VALUE = struct.Struct("<QII"), struct.Struct("<IIQ")  # struct moat_inode_key, struct moat_inode
ROOM = 262144  # bpf/maps.h
NOWHERE = 0xFFFFFFFF  # no file system's number


def count(session):
    marks, found = labels.open_map(session, "protected"), 0
    key, following = ctypes.create_string_buffer(KEY.size), ctypes.create_string_buffer(KEY.size)
    start = 0
    try:
        while True:
            labels.bpf(GET_NEXT_KEY, struct.pack("<IIQQ", marks, 0, start, ctypes.addressof(following)))
            key.raw, start, found = following.raw, ctypes.addressof(key), found + 1
    except FileNotFoundError:
        return found
    finally:
        os.close(marks)


@contextlib.contextmanager
def full(session):
    """No room for another mark, for a while."""
    marks = labels.open_map(session, "protected")
    keys = ctypes.create_string_buffer(b"".join(KEY.pack(number, NOWHERE, 0) for number in range(1, ROOM + 1)))
    values = ctypes.create_string_buffer(ROOM * VALUE.size)
    batch = struct.pack("<QQQQIIQQ", 0, 0, ctypes.addressof(keys), ctypes.addressof(values), ROOM, marks, 0, 0)
    try:
        with until(errno.E2BIG):
            labels.bpf(UPDATE_BATCH, batch)
        yield
    finally:
        with until(errno.ENOENT):
            labels.bpf(DELETE_BATCH, batch)
        os.close(marks)


@contextlib.contextmanager
def until(number):
    """What follows ends in this errno."""
    try:
        yield
        raise AssertionError(f"it did not end in {errno.errorcode[number]}")
    except OSError as error:
        if error.errno != number:
            raise
