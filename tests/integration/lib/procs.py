# SPDX-License-Identifier: Apache-2.0
"""Processes as the tests see them from outside: always with their start time, never by pid alone."""

import os
import time

# Tests say what a quiet machine needs. How much longer an emulated or a busy one may take is not what they prove: they fail
# late, never early.
SLACK = 10 if os.environ.get("MOAT_VM") else 4


def stat_fields(pid):
    """Fields of /proc/PID/stat from the state on (field 3), or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def start_time(pid):
    fields = stat_fields(pid)
    return int(fields[19]) if fields else 0


def state(pid):
    fields = stat_fields(pid)
    return fields[0].decode() if fields else None


def pgid(pid):
    return int(stat_fields(pid)[2])


def parent(pid):
    return int(stat_fields(pid)[1])


def cgroup(pid):
    """Path in cgroup2, from its root."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        return next(line.strip().partition("::")[2] for line in file if line.startswith("0::"))


def oom_score(pid):
    with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file:
        return int(file.read())


def capable(capability):
    """Whether these tests have it."""
    with open("/proc/self/status", encoding="ascii") as file:
        mask = next(line for line in file if line.startswith("CapEff:")).split()[1]
    return bool(int(mask, 16) >> capability & 1)


def alive(pid, started):
    fields = stat_fields(pid)
    return bool(fields) and int(fields[19]) == started and fields[0] not in (b"Z", b"X")


def name(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "?"


def describe(pid, _started=0):
    return f"{pid} ({name(pid)}, state {state(pid)}, parent {parent(pid) if stat_fields(pid) else '?'})"


def pids():
    return [int(each) for each in os.listdir("/proc") if each.isdigit()]


def children(pid):
    """Of a process of one thread."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return set(map(int, file.read().split()))


def with_argument(word):
    """Those that have the word as an argument."""
    found = []
    for pid in pids():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                arguments = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if word in arguments:
            found.append(pid)
    return found


def all_user():
    """Every process that is no kernel thread, as (pid, start time)."""
    found = set()
    for pid in pids():
        fields = stat_fields(pid)
        if fields and not int(fields[6]) & 0x00200000 and fields[0] not in (b"Z", b"X"):  # PF_KTHREAD
            found.add((pid, int(fields[19])))
    return found


def environ(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read()


def second_thread(pid):
    """A thread of the process that is not its leader; the leader when there is none."""
    others = [int(each) for each in os.listdir(f"/proc/{pid}/task") if int(each) != pid]
    return others[0] if others else pid


def signal_pending(pid, number):
    """Whether it has not been told of a signal yet that was sent to the process."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd:", "ShdPnd:"))]
    return any(mask >> number - 1 & 1 for mask in masks)


def wait_until(condition, seconds, what):
    """Polls: tests may, the agent may not. seconds: on a quiet machine, see SLACK."""
    seconds *= SLACK
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
