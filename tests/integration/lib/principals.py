# SPDX-License-Identifier: Apache-2.0
"""Processes of the tests' own that have the labels of commands, of several contexts and execs, and share everything else."""

import contextlib
import errno
import os
import signal
import termios

from lib import doing, labels

A, SAME, OTHER = {"context": 1 << 40, "exec_": 1}, {"context": 1 << 40, "exec_": 2}, {"context": (1 << 40) + 1, "exec_": 3}
SECURE, SECURE_TOO = {**A, "secure": True}, {**SAME, "secure": True}


@contextlib.contextmanager
def process(session, label, function):
    """A process that is labelled, and whose child, whose credentials are then labelled as well, runs function and goes on living.
    Yields what function returned."""
    go, said = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.read(go[0], 1)
        if os.fork() == 0:
            doing.libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it may leave the group
            try:
                text = function()
            except (OSError, termios.error) as error:
                text = errno.errorcode[error.args[0]]
            os.write(said[1], text.encode())
        signal.pause()
    try:
        if label:
            labels.set_label(session, pid, labels.USER, **label)
        os.write(go[1], b"x")
        yield os.read(said[0], 64).decode()
    finally:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for end in (*go, *said):
            os.close(end)


def answer(session, label, function):
    with process(session, label, function) as text:
        return text
