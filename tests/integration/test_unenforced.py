# SPDX-License-Identifier: Apache-2.0
"""
The same attempts as test_attempts, where the kernel takes no BPF LSM programs: what succeeds is what the table of
bpf/THREATS.md says, and no more. From a PID namespace of its own and from the agent's, with the default capabilities and with all.
"""

import fnmatch
import os
import re
import signal
import subprocess

from lib import attempts, places, privileges
from lib.session import FREE_PORT
from lib.tap import test

HEAD = "## What no layer covers without BPF LSM"
LAYERS = "## Which layer covers what without BPF LSM"
SOME, UNSCOPED = ", on some kernels", ", without scopes"  # of "from where": may be refused as well; where Landlock has no scopes
# position -> (those whose rows hold there as well, its own "from where")
POSITIONS = {"default": ((), "everywhere"), "modest": (("default",), "pid = shared"), "full": (("default",), "CAP_SYS_ADMIN"),
             "shared": (("default", "modest", "full"), "CAP_SYS_ADMIN and pid = shared")}
# What nothing keeps from the service where Landlock has no scopes: asked of others, since it would stop it.
NOT_KEPT = {"modest": ("signals",), "shared": ("signals", "control")}
GRANTED = ("ok", "EFAULT", "ENOMEM")  # the right was there, only the memory was not
PER_PID = ("signals", "control", "proc")
REMOVABLE = ("Landlock", "programs of the cgroup", "filter")
TAKES_PROGRAMS_OFF = "bpf"  # the group, where nothing refuses it


def cells(head, columns):
    """The rows of the table under a heading, each as a list of its cells; patterns in backquotes come first."""
    with open(os.path.join(places.SOURCE, "bpf/THREATS.md"), encoding="utf-8") as file:
        text = file.read().split(head)[1].split("\n## ")[0]
    found = [[each.strip() for each in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]
    assert found and all(len(each) == columns and all(each) for each in found), found
    return found


def patterns_in(cell):
    return re.findall(r"`([^`]+)`", cell)


def rows():
    """"from where" -> patterns."""
    found = {}
    for cases, where, _ in cells(HEAD, 3):
        found.setdefault(where, []).extend(patterns_in(cases))
    return found


def layers():
    """layer -> (patterns, answers)"""
    found = {}
    for cases, layer, answers in cells(LAYERS, 3):
        patterns, known = found.setdefault(layer, ([], set()))
        patterns.extend(patterns_in(cases))
        known.update(answers.split(", "))
    return found


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, each) for each in patterns)


def techniques(session):
    return {each.name: each for each in attempts.table(places.attempt(session.build)) if not (each.oracle or each.control or each.never)}


def here(session):
    session.require(not session.enforced, "the kernel programs guard: see test_attempts")


def scoped(session):
    return "from signals" in session.status()["layers"]["landlock"]["checks"][0]["detail"]


def victim(session, position, name, before=None):
    """The answer of a case against a process that nobody misses. before: as of session.attempts, outside of moat."""
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as process:
        target = ["--pid", str(process.pid), "--pgid", str(process.pid), "--tid", str(process.pid)]
        try:
            if before is None:
                return session.attempts(position, target, name)[name]
            return attempts.run(places.attempt(session.build), *target, name, before=before)[name]
        finally:
            process.kill()


def ask(session, position):
    """name -> answer, against the service; but see NOT_KEPT."""
    target, known = session.target_arguments(session.memory["attempted"]["pid"]), attempts.table(places.attempt(session.build))
    groups = () if scoped(session) else NOT_KEPT.get(position, ())
    if not groups:
        return session.attempts(position, target, "all")
    answers = session.attempts(position, target, *(f"@{each}" for each in sorted({each.group for each in known} - set(groups))))
    return answers | {each.name: victim(session, position, each.name) for each in known if each.group in groups and each.name != "kill_all"}


def matrix(session):
    """position -> name -> answer, against the real service. `default` comes first: it uses up what can be used once."""
    if "unenforced" not in session.memory:
        session.memory["attempted"] = session.agent.service("http")
        for each in POSITIONS:
            privileges.of_context(session, each)  # while there is a /dev
        session.memory["unenforced"] = {each: ask(session, each) for each in POSITIONS}
    return session.memory["unenforced"]


def allowed(session, position):
    """(patterns that succeed from there, those that may)."""
    known, where = rows(), POSITIONS[position][1]
    sure = known[where] + ([] if scoped(session) else known.get(where + UNSCOPED, []))
    return sure, sure + known.get(where + SOME, [])


def succeeded(session, position):
    known = techniques(session)
    return {name for name, answer in matrix(session)[position].items() if answer in GRANTED and name in known and known[name].seen != "ok"}


def alone(session, position):
    """What succeeds without moat, with the same privileges."""
    level = privileges.of_context(session, position)
    known = session.memory.setdefault("alone", {})
    if level.key not in known:
        known[level.key] = attempts.run(places.attempt(session.build), "--fresh", "--port", str(FREE_PORT), *session.machine_arguments(),
                                        "all", become=level)
    return {name for name, answer in known[level.key].items() if answer == "ok"}


def check_position(position, above, where):
    @test(f"without the kernel programs, from {position} (besides what is so elsewhere: {where}) only what THREATS.md lists succeeds",
          needs=("moat", "http"), timeout=300)
    def exact(session):
        here(session)
        (sure, listed), got = allowed(session, position), succeeded(session, position)
        unlisted = {name for name in got.difference(*(succeeded(session, each) for each in above)) if not matches(name, listed)}
        assert not unlisted, f"succeeds and is not listed: {sorted(unlisted)}"
        idle = [each for each in sure if not any(fnmatch.fnmatchcase(name, each) for name in got)]
        possible = alone(session, position) if idle else set()
        wrong = [each for each in idle if any(fnmatch.fnmatchcase(name, each) for name in possible)]
        assert not wrong, f"listed, and refused now: {wrong}"


for _position, (_above, _where) in POSITIONS.items():
    check_position(_position, _above, _where)


@test("without the kernel programs each case that is refused has the one layer that THREATS.md names, and one of its answers", needs=("moat", "http"),
      timeout=300)
def assigned(session):
    here(session)
    known, table, wrong = techniques(session), layers(), []
    for name, answer in matrix(session)["shared"].items():
        if name not in known or answer in (*GRANTED, attempts.NOT_HERE):
            continue
        named = [layer for layer, (patterns, _) in table.items() if matches(name, patterns)]
        if len(named) != 1 or not answer.startswith("SETUP openpty") and answer.split()[-1] not in table[named[0]][1]:
            wrong.append(f"{name}: {answer}, layers {named}")
    patterns = sum((each for each, _ in table.values()), []) + sum(rows().values(), [])
    wrong += [f"{each}: no such case" for each in patterns if not any(fnmatch.fnmatchcase(name, each) for name in known)]
    assert not wrong, "\n".join(wrong)


@test("without the kernel programs what THREATS.md says that Landlock, the cgroup's programs and the filter refuse succeeds where these three are not, "
      "in the same namespaces with the same capabilities", needs=("moat", "http"), timeout=300)
def without_them(session):
    here(session)
    session.require(not session.vm, "that it is these that refuse is the same on each kernel")
    session.require(scoped(session), "this kernel's Landlock has no scopes")
    refused = {name for name, answer in matrix(session)["shared"].items() if answer not in ("ok", attempts.NOT_HERE)}
    patterns = sum((layers()[each][0] for each in REMOVABLE), [])
    cases = [each for each in attempts.table(places.attempt(session.build))
             if each.name in refused and each.name in techniques(session) and matches(each.name, patterns) and each.group != TAKES_PROGRAMS_OFF]
    inside = next(each["pid"] for each in session.api.get("/v1/status")["namespaces"] if each["name"] == "context-shared")
    before = ["/usr/bin/nsenter", "-t", str(inside), "-m", "-i", "-u", "-C"]
    answers = attempts.run(places.attempt(session.build), *session.target_arguments(session.memory["attempted"]["pid"]),
                           *(each.name for each in cases if each.group not in PER_PID), before=before)
    answers |= {each.name: victim(session, None, each.name, before) for each in cases if each.group in PER_PID}
    wrong = {name: answer for name, answer in answers.items() if answer not in (*GRANTED, attempts.NOT_HERE) and not answer.startswith("SETUP")}
    assert len(answers) > 100 and not wrong, wrong


@test("without the kernel programs what a filter of system calls has to refuse with the default capabilities succeeds where there is none, and nothing "
      "else does", needs=("moat", "http"), timeout=300)
def by_filter(session):
    here(session)
    session.require(not session.vm, "what a filter refuses is the same on each kernel")
    got = session.api.request("POST", "/v1/contexts", {"name": "unfiltered", "seccomp": "off"})
    assert got.status in (200, 201), got
    try:
        answers = session.attempts("unfiltered", session.target_arguments(session.agent.service("http")["pid"]), "all")
    finally:
        session.api.request("DELETE", "/v1/contexts/unfiltered")
    known, patterns = techniques(session), layers()["filter"][0]
    more = {name for name, answer in answers.items() if answer == "ok" and name in known and known[name].seen != "ok"} - succeeded(session, "default")
    assert more and all(matches(name, patterns) for name in more), sorted(name for name in more if not matches(name, patterns))
    refused = {name: matrix(session)["default"][name] for name in more}
    wrong = {name: answer for name, answer in refused.items() if answer != ("ENOSYS" if name == "cgroup_spawn" else
                                                                           attempts.NOT_HERE if "io_uring" in name else "EPERM")}
    assert not wrong, wrong


@test("without the kernel programs a domain refuses each way to trace the service whose pid is known, and to signal it where there are scopes, with its errno",
      needs=("moat", "http"), timeout=300)
def by_domain(session):
    here(session)
    open_ones, wrong = sum((allowed(session, each)[1] for each in ("default", "modest")), []), []
    for name, technique in techniques(session).items():
        answer = matrix(session)["modest"].get(name)
        if technique.group not in PER_PID or technique.seen == "ok" or answer in (None, attempts.NOT_HERE) or matches(name, open_ones):
            continue
        if answer not in ("EPERM", "EACCES", "ENOENT") and not answer.startswith("SETUP"):
            wrong.append(f"{name}: {answer}")
        if technique.group == "signals" and scoped(session) and answer != "EPERM":
            wrong.append(f"{name}: {answer}, EPERM was expected")
    assert not wrong, "\n".join(wrong)


@test("without the kernel programs a command makes no cgroups beneath its own, and what it changes in its own no other finds", needs=("moat",))
def cgroups(session):
    here(session)

    def own_cgroup(script):
        return session.exec("/usr/bin/unshare", "-Urm", "-C", "/bin/sh", "-c", f"mount -t cgroup2 none /mnt && {script}")

    made = own_cgroup("echo 7 > /mnt/cgroup.max.descendants && echo changed; mkdir /mnt/left")
    session.require(made.out, f"who has namespaces of his own cannot change his cgroup here: {made.err}")
    assert made.out == "changed\n" and "mkdir: " in made.err, made
    for _ in range(3):
        found = own_cgroup("cat /mnt/cgroup.max.descendants; ls -d /mnt/left")
        assert found.out == "max\n", found


@test("without the kernel programs the service is the same after all attempts, and serves", needs=("moat", "http"), timeout=300)
def alive(session):
    here(session)
    matrix(session)
    before, after = session.memory["attempted"], session.agent.service("http")
    assert after["pid"] == before["pid"] and after["restarts"] == before["restarts"] and after["state"] == "ready", after
    assert session.health()["pid"] == after["pid"]
    # What they have done to their own /dev and /proc ends with their namespaces.
    for each in session.api.get("/v1/status")["namespaces"]:
        if each["name"] in ("context-full", "context-shared"):
            os.kill(each["pid"], signal.SIGKILL)
