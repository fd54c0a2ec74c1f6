# SPDX-License-Identifier: Apache-2.0
"""
Every technique against the real control plane, from user code that is root with every capability: once in a PID namespace
of its own (`full`), once in the control plane's (`shared`, where only the kernel programs protect). The answer is exactly
the errno of the table; the same technique against a process, port or socket of the user's own works.
"""

import os

from lib import attempts, places, procs
from lib.session import FREE_PORT
from lib.tap import Skip, test

PER_TARGET = {"signals", "control", "proc"}  # groups that name a process


def matrix(session):
    """(context, target) -> name -> answer. Made once: an exec for each runs all cases."""
    if "matrix" in session.memory:
        return session.memory["matrix"]
    found = {}
    for context in ("full", "shared"):
        for label, pid in session.targets():
            groups = ["all"] if label == "service" else ["@" + group for group in sorted(PER_TARGET)]
            found[context, label] = session.attempts(context, session.target_arguments(pid), *groups)
        found[context, "own"] = session.attempts(context, ["--fresh", "--port", str(FREE_PORT)], "all")
    # moat-init of a namespace is PID 1 there: user code can name it.
    found["full", "moat-init user"] = session.attempts(
        "full", [*session.target_arguments(session.agent.pid), "--pid", "1", "--pgid", "1", "--tid", "1"],
        *("@" + group for group in sorted(PER_TARGET)))
    # A process of another context in the same PID namespace.
    other = session.api.process(session.api.start("/bin/sleep", "600", context="other"))
    found["shared", "another context"] = session.attempts(
        "shared", session.target_arguments(other["pid"]), *("@" + group for group in sorted(PER_TARGET)))
    session.memory["other"] = (other["pid"], procs.start_time(other["pid"]))
    session.memory["matrix"] = found
    return found


def expected(technique, context, target):
    if target == "own":
        return technique.own
    if context == "full" and target != "moat-init user":
        return technique.unseen
    return technique.seen


def acceptable(technique, context, target):
    return {expected(technique, context, target), attempts.NOT_HERE}


def check_answers(technique):
    what = "is left alone" if technique.control else "tells no more than documented" if technique.oracle else "is refused"

    @test(f"{technique.name} ({technique.text}) {what}: {technique.seen}, {technique.unseen} from a namespace of its own",
          needs=("moat", "lsm", "http"), timeout=300)
    def answers(session):
        wrong, asked = [], 0
        for (context, target), results in matrix(session).items():
            if technique.name not in results:
                if target in ("service", "own") or technique.group in PER_TARGET:
                    wrong.append(f"{context} -> {target}: no answer")
                continue
            got = results[technique.name]
            asked += got != attempts.NOT_HERE
            if got not in acceptable(technique, context, target):
                wrong.append(f"{context} -> {target}: {got}, {expected(technique, context, target)} was expected")
        assert not wrong, "\n".join(wrong)
        if not asked:
            raise Skip("this kernel has no such thing")


for _technique in attempts.table(places.attempt(places.build_dir(None))):
    check_answers(_technique)


@test("after all attempts the service, moatd, every moat-init and the other context's process are the same and run",
      needs=("moat", "lsm", "http"), timeout=300)
def all_alive(session):
    before = session.memory.setdefault("http_pid", session.agent.service("http")["pid"])
    matrix(session)
    service = session.agent.service("http")
    assert service["pid"] == before and service["state"] == "ready" and service["restarts"] == 0, service
    assert session.health()["pid"] == before
    for label, pid in session.targets():
        assert procs.state(pid) in ("S", "R", "D"), f"{label} is in state {procs.state(pid)}"
    assert procs.alive(*session.memory["other"]), "the process of another context is gone"
    for kind in ("nice", "affinity", "oom"):
        assert unchanged(before, kind), f"{kind} of the service was changed"


def unchanged(pid, kind):
    if kind == "nice":
        return int(procs.stat_fields(pid)[16]) == 0
    if kind == "affinity":
        return os.sched_getaffinity(pid) == os.sched_getaffinity(0)
    with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file, open("/proc/self/oom_score_adj", encoding="ascii") as own:
        return file.read() == own.read()
