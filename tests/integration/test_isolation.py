# SPDX-License-Identifier: Apache-2.0
"""
One context against another, and in `secure` one exec against another, told apart by label alone: attacker and target are in
the same PID namespace and user namespace, so that the pid is there to be named. Beside each, what may be touched can be.
"""

import os

from lib import attempts, places, procs
from lib.tap import test

# Signals, traces, looks at, reads, controls.
NAMES = {"kill_0", "sigqueue", "pidfd_signal", "ptrace_attach", "ptrace_seize", "vm_readv", "vm_writev", "pidfd_getfd", "kcmp",
         "setpriority", "prlimit_set", "sched_setaffinity", "getsid", "proc_readdir", "proc_stat", "proc_environ", "proc_cmdline",
         "proc_mem", "proc_fd", "proc_root"}
# name -> the answer where it is refused and the pid can be named
TECHNIQUES = {each.name: each.seen for each in attempts.table(places.attempt(places.build_dir(None))) if each.name in NAMES}
REACHED = {"vm_readv": "EFAULT", "vm_writev": "EFAULT"}  # let in, and then nothing lies at that address
HARMLESS = [name for name in TECHNIQUES if name not in ("sigqueue", "pidfd_signal")]  # the target outlives them


class Exec:
    """How an exec is started: context, and whether in its own right (`secure`)."""

    def __init__(self, context, **fields):
        self.context, self.fields = context, fields
        self.name = f"an exec of {context}" + (" in secure" if fields else "")

    def target(self, session):
        identifier = session.api.start("/bin/sleep", "86470", context=self.context, **self.fields)
        process = procs.wait_until(lambda: (p := session.api.process(identifier))["pid"] and p, 5, "it has a pid")
        return identifier, process

    def pid_namespace(self, session):
        return session.exec("/bin/readlink", "/proc/self/ns/pid", context=self.context, **self.fields).out.strip()

    def attempts(self, session, pid, names):
        return session.attempts(self.context, ["--pid", str(pid)], *names, **self.fields)


SECURE = {"isolated": True}
PLAIN = {each: Exec(each) for each in ("default", "full", "shared", "other", "sealed", "sealed-shared")}
ISOLATED = {each: Exec(each, **SECURE) for each in ("default", "full", "shared", "other")}

# (attacker, target, where they share the PID namespace)
APART = [
    (PLAIN["shared"], PLAIN["other"], "the control plane's"), (PLAIN["other"], PLAIN["shared"], "the control plane's"),
    # one exec against another of the same context
    (ISOLATED["full"], ISOLATED["full"], "a child of it"), (PLAIN["sealed"], PLAIN["sealed"], "a child of it"),
    (ISOLATED["shared"], ISOLATED["shared"], "the control plane's"),
    (PLAIN["sealed-shared"], PLAIN["sealed-shared"], "the control plane's"),
    # and of others
    (ISOLATED["full"], ISOLATED["default"], "a child of it"), (PLAIN["sealed"], ISOLATED["full"], "a child of it"),
    (ISOLATED["shared"], ISOLATED["other"], "the control plane's"),
    (PLAIN["shared"], PLAIN["sealed-shared"], "the control plane's"),
    # in and out of secure, within one context
    (PLAIN["shared"], ISOLATED["shared"], "the control plane's"), (ISOLATED["shared"], PLAIN["shared"], "the control plane's"),
]
TOGETHER = [(PLAIN["shared"], "the control plane's"), (PLAIN["full"], "a child of it"), (PLAIN["default"], "a child of it")]


def check_apart(attacker, target, place):
    same = "another exec" if attacker is target else target.name

    @test(f"{attacker.name} cannot signal, trace, see, read or control {same} where the PID namespace is {place}",
          needs=("moat", "lsm"), timeout=60)
    def apart(session):
        identifier, process = target.target(session)
        try:
            answers = attacker.attempts(session, process["pid"], TECHNIQUES)
            wrong = {name: got for name, got in answers.items() if got != TECHNIQUES[name]}
            assert not wrong and set(answers) == NAMES, wrong or NAMES - set(answers)
            after = session.api.process(identifier)
            assert after["state"] == "running" and after["pid"] == process["pid"], after
            if "shared" in attacker.context + target.context:
                assert procs.state(process["pid"]) in ("S", "R", "D"), procs.state(process["pid"])
        finally:
            session.api.kill(identifier)


def check_together(each, place):
    @test(f"{each.name} can do all of that to another exec of its context where the PID namespace is {place}", needs=("moat", "lsm"),
          timeout=60)
    def together(session):
        identifier, process = each.target(session)
        answers = each.attempts(session, process["pid"], HARMLESS + ["pidfd_signal"])
        wrong = {name: got for name, got in answers.items() if got not in ("ok", REACHED.get(name))}
        assert not wrong and len(answers) == len(HARMLESS) + 1, wrong or answers
        procs.wait_until(lambda: session.api.process(identifier)["state"] == "ended", 5, "the signal has ended it")


for _attacker, _target, _place in APART:
    check_apart(_attacker, _target, _place)
for _each, _place in TOGETHER:
    check_together(_each, _place)


@test("in secure an exec can do all of that to its own children, in either PID namespace", needs=("moat", "lsm"), timeout=60)
def own_children(session):
    for each in (ISOLATED["full"], ISOLATED["shared"], PLAIN["sealed"], PLAIN["sealed-shared"]):
        answers = session.attempts(each.context, ["--fresh"], *TECHNIQUES, **each.fields)
        assert set(answers.values()) == {"ok"} and set(answers) == NAMES, (each.name, answers)


@test("the two execs of each pair are in one PID namespace: nothing but their labels tells them apart", needs=("moat",), timeout=60)
def one_namespace(session):
    own, known = os.readlink("/proc/self/ns/pid"), {}
    for attacker, target, place in APART:
        first, second = [known.setdefault(each, each.pid_namespace(session)) for each in (attacker, target)]
        if not session.enforced and attacker.context != target.context and place == "a child of it":
            assert first != second, (attacker.name, target.name)  # then secure execs that could see others are by themselves
            continue
        assert first == second and (first == own) == (place == "the control plane's"), (attacker.name, target.name, first, second)
