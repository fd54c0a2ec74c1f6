# SPDX-License-Identifier: Apache-2.0
"""Tests as claims, their results as TAP.

A test is a function with one argument, the session (lib/session.py), registered by

    @test("kill(2) of the service is refused", needs=("moat", "lsm"), timeout=20)  # seconds on a quiet machine: procs.SLACK

It passes when it returns, fails on any exception, and is skipped, visibly, by raising Skip.
"""

import fnmatch
import signal
import time
import traceback

from lib import procs


class Skip(Exception):
    """This cannot be tested here, and why."""


class Timeout(BaseException):
    """Not an Exception: no test may take it for a failure of what it calls."""


class Test:
    def __init__(self, function, claim, needs, timeout):
        self.function, self.claim, self.needs, self.timeout = function, claim, frozenset(needs), timeout
        self.module = function.__module__.removeprefix("test_")
        self.name = f"{self.module}: {claim}"

    def matches(self, patterns):
        texts = (self.name, self.module, self.function.__name__)
        return not patterns or any(
            fnmatch.fnmatchcase(text, pattern) or ("*" not in pattern and pattern in text)
            for pattern in patterns for text in texts)


registered = []


def test(claim, needs=(), timeout=30):
    def register(function):
        registered.append(Test(function, claim, needs, timeout))
        return function
    return register


def alarm(_number, _frame):
    raise Timeout


def one_line(text):
    """TAP gives '#' and line ends a meaning."""
    return " ".join(str(text).replace("#", "No.").split())


class Report:
    def __init__(self, out):
        self.out, self.count, self.failed, self.skipped = out, 0, 0, 0

    def line(self, text):
        self.out.write(text + "\n")
        self.out.flush()

    def note(self, text):
        for line in str(text).rstrip().splitlines():
            self.line("# " + line)

    def result(self, name, seconds, failure=None, skip=None):
        """The seconds stand behind every result: tests/check lists the slowest."""
        self.count += 1
        text = f"{'not ok' if failure else 'ok'} {self.count} - {one_line(name)}"
        if skip is not None:
            self.skipped += 1
            text += f" # SKIP {one_line(skip)}"
        self.line(f"{text} # time={seconds:.2f}s")
        if failure:
            self.failed += 1
            self.note(failure)

    def end(self):
        self.line(f"1..{self.count}")


def why(error):
    """The exception, and where in the tests it came from."""
    if isinstance(error, Timeout):
        text = "did not end in time"
    else:
        text = f"{type(error).__name__}: {error}" if not isinstance(error, AssertionError) else str(error) or "assertion"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/tests/integration/" in f.filename]
    places = [f"  {f.filename.rsplit('/tests/integration/')[-1]}:{f.lineno}: {f.line}" for f in frames[-4:]]
    return "\n".join([text, *places])


def run_one(each, session, report):
    failure = skip = None
    started = time.monotonic()
    signal.signal(signal.SIGALRM, alarm)
    try:
        session.prepare(each.needs)
        signal.setitimer(signal.ITIMER_REAL, each.timeout * procs.SLACK)
        try:
            each.function(session)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Skip as reason:
        skip = str(reason)
    except (Exception, Timeout) as error:
        failure = why(error) + session.diagnostics()
    report.result(each.name, time.monotonic() - started, failure, skip)
