# SPDX-License-Identifier: Apache-2.0
"""
Terminals belong to who made them, also where everybody has the same devpts. Processes of the tests' own have the labels of
commands here, so that one devpts is in sight of all of them.
"""

import fcntl
import os
import termios

from lib.principals import A, OTHER, SAME, SECURE, SECURE_TOO, answer, process
from lib.tap import test

def make():
    global kept  # pylint: disable=global-statement
    kept = os.openpty()
    return os.ttyname(kept[1])


def use(name):
    """Opens it and takes ^C away from whoever works there."""
    def inner():
        terminal = os.open(name, os.O_RDWR | os.O_NOCTTY)
        settings = termios.tcgetattr(terminal)
        settings[6][termios.VINTR] = b"\x07"
        termios.tcsetattr(terminal, termios.TCSANOW, settings)
        return "ok"
    return inner


@test("a terminal is opened and set by who made it and by its context, by no other one, and not by another secure exec",
      needs=("moat", "lsm"), timeout=60)
def made_by_user_code(session):
    with process(session, A, make) as name:
        assert name.startswith("/dev/pts/"), name
        got = [answer(session, label, use(name)) for label in (None, A, SAME, OTHER, SECURE_TOO)]
        assert got == ["ok", "ok", "ok", "EPERM", "EPERM"], got
    with process(session, SECURE, make) as name:
        got = [answer(session, label, use(name)) for label in (None, SECURE, SECURE_TOO, SAME, OTHER)]
        assert got == ["ok", "ok", "EPERM", "EPERM", "EPERM"], got


@test("a terminal that somebody else on the machine made is user code's only where it is that of its session",
      needs=("moat", "lsm"), timeout=60)
def made_by_others(session):
    master, slave = os.openpty()
    name = os.ttyname(slave)
    os.set_inheritable(slave, True)

    def work():
        os.login_tty(slave)
        return use(name)()
    try:
        assert answer(session, None, use(name)) == "ok"
        assert answer(session, A, use(name)) == "EPERM"
        with process(session, A, work) as text:
            assert text == "ok", text
            got = [answer(session, label, use(name)) for label in (SAME, OTHER, SECURE_TOO)]
            assert got == ["ok", "EPERM", "EPERM"], got
    finally:
        os.close(master)
        os.close(slave)


@test("a terminal is not taken by force from the session of another context", needs=("moat", "lsm"), timeout=60)
def by_force(session):
    master, slave = os.openpty()

    def work():
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        return "ok"

    def take():
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 1)
        return "ok"
    try:
        with process(session, A, work) as text:
            assert text == "ok", text
            got = [answer(session, label, take) for label in (OTHER, SECURE_TOO, SAME)]
            assert got == ["EPERM", "EPERM", "ok"], got
        with process(session, A, work) as text:
            assert (text, answer(session, None, take)) == ("ok", "ok")
    finally:
        os.close(master)
        os.close(slave)
