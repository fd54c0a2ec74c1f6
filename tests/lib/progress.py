# SPDX-License-Identifier: Apache-2.0
"""
How far the tests are, how long they will still take, and which took longest. What each took is kept for the next run: in
durations.json in the cache, {lane: {"seconds": of all, "tests": {name: seconds}}}. A lane is a kernel, "native" or "unit".
"""

import contextlib
import heapq
import json
import os
import re
import sys
import threading
import time

RESULT = re.compile(r"(?P<no>not )?ok \d+ - (?P<name>.*?)(?P<skip>\s*# SKIP\b.*?)?(?:\s*# time=(?P<seconds>[\d.]+)s)?$", re.I)
GUESS = 0.5   # seconds of a test that nobody has run yet
STARTUP = 30  # and what comes before the first one: a boot, an agent
LOG_EVERY, TERMINAL_EVERY = 60, 1
SLOWEST = 20


def path():
    base = os.environ.get("MOAT_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "moat")
    return os.path.join(base, "durations.json")


def recorded():
    with contextlib.suppress(OSError, ValueError), open(path(), encoding="utf-8") as file:
        return json.load(file)
    return {}


class Lane:
    """What is run one after the other: the tests of one kernel."""

    def __init__(self, name, tests, known):
        """tests: the names of those that will run; None: those of the last time. known: what is recorded of all lanes."""
        own = known.get(name, {})
        elsewhere = {test: seconds for lane in known.values() for test, seconds in lane["tests"].items()}
        self.name, self.took, self.began, self.ended = name, {}, None, None
        times = own.get("tests", {})
        self.expected = {test: times.get(test, elsewhere.get(test, GUESS)) for test in (times if tests is None else tests)}
        before = own["seconds"] - sum(times.values()) if own else STARTUP
        self.seconds = sum(self.expected.values()) + max(before, 0)

    def result(self, name, seconds):
        self.took[name] = seconds

    def left(self, now):
        if self.ended:
            return 0.0
        if not self.began:
            return self.seconds
        done = sum(self.expected.get(name, 0) for name in self.took)
        # What is slower or faster than the last time goes on so, once that can be told.
        pace = sum(self.took.values()) / done if done > 0.1 * self.seconds else 1.0
        if not self.took:
            return max(self.seconds - (now - self.began), sum(self.expected.values()))
        return max(sum(self.expected.values()) - done, 0) * min(max(pace, 0.2), 5)

    def __str__(self):
        return f"{self.name} {len(self.took)}/{max(len(self.expected), len(self.took))}"


class Progress:
    """queues: lists of lanes, each list one lane after the other, the lists side by side, as many as there are slots."""

    def __init__(self, queues, slots, out=sys.stdout):
        self.queues, self.slots, self.out = queues, slots, out
        self.lanes = {lane.name: lane for queue in queues for lane in queue}
        self.lock, self.over = threading.RLock(), threading.Event()
        self.terminal, self.status = out.isatty(), ""
        self.began = time.monotonic()
        self.clock = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.clock.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.clock.join()
        self.status = ""
        if self.terminal:
            self.write("")

    def run(self):
        while not self.over.wait(TERMINAL_EVERY if self.terminal else LOG_EVERY):
            with self.lock:
                self.status = str(self)
                self.write("" if self.terminal else f"# {self.status}\n")

    def write(self, text):
        """Whole lines. On a terminal the last one is always how far everything is."""
        with self.lock:
            self.out.write(f"\r\033[K{text}{self.status}" if self.terminal else text)
            self.out.flush()

    def begin(self, name):
        lane = self.lanes[name]
        lane.began = lane.began or time.monotonic()

    def end(self, name):
        self.lanes[name].ended = time.monotonic()

    def line(self, name, text):
        """A line of a lane's output: shown by the caller, counted here."""
        match = RESULT.match(text)
        if match:
            with self.lock:
                self.begin(name)
                self.lanes[name].result(match["name"], float(match["seconds"] or 0))

    def left(self):
        """Seconds: the lists are begun in their order, each by the slot that is free first."""
        now = time.monotonic()
        free = [0.0] * self.slots
        begun = [queue for queue in self.queues if queue[0].began]
        for queue in begun + [queue for queue in self.queues if queue not in begun]:
            heapq.heappush(free, heapq.heappop(free) + sum(lane.left(now) for lane in queue))
        return max(free)

    def __str__(self):
        minutes = self.left() / 60
        rest = "nearly done" if minutes < 0.5 else "1 minute left" if minutes < 1.5 else f"{minutes:.0f} minutes left"
        passed = int(time.monotonic() - self.began)
        return f"{passed // 60}:{passed % 60:02}, {rest}: " + ", ".join(map(str, self.lanes.values()))

    def slowest(self):
        took = ((seconds, name, lane.name) for lane in self.lanes.values() for name, seconds in lane.took.items())
        return sorted(took, reverse=True)[:SLOWEST]

    def record(self):
        """For the next run: of the lanes that have ended, all of theirs."""
        known = recorded()
        for lane in self.lanes.values():
            if lane.ended and lane.took:
                known[lane.name] = {"seconds": lane.ended - lane.began, "tests": lane.took}
        with contextlib.suppress(OSError):  # it only tells the time
            os.makedirs(os.path.dirname(path()), exist_ok=True)
            with open(path() + ".new", "w", encoding="utf-8") as file:
                json.dump(known, file)
            os.rename(path() + ".new", path())
