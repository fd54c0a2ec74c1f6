# SPDX-License-Identifier: Apache-2.0
"""
The same attempts as test_attempts, where the kernel takes no BPF LSM programs: what succeeds is what the table of
bpf/THREATS.md says, and no more. From a PID namespace of its own and from the agent's, with the default capabilities and with all.
"""

import fnmatch
import os
import re
import signal

from lib import attempts, places, privileges
from lib.session import FREE_PORT
from lib.tap import test

HEAD = "## What no layer covers without BPF LSM"
# position -> (those whose rows hold there as well, its own "from where")
POSITIONS = {"default": ((), "everywhere"), "modest": (("default",), "pid = shared"), "full": (("default",), "CAP_SYS_ADMIN"),
             "shared": (("default", "modest", "full"), "CAP_SYS_ADMIN and pid = shared")}
# What only the filter of system calls refuses, with the default capabilities.
BY_FILTER = """bind_device bind_device_index bind_io_uring bind_tcp4_foreign bpf_commands cgroup_spawn device_events freebind freebind6
 header_included header_included6 key_add key_find original_destination packet_mark packet_options process_events reach_io_uring_*
 reach_packet reach_raw reach_smc routing_header source_route terminal_discipline terminal_type transparent6 transparent_tcp
 transparent_udp transparent_udp6 fs_open_by_handle""".split()
PER_PID = ("signals", "control", "proc")


def rows():
    """"from where" -> patterns."""
    with open(os.path.join(places.SOURCE, "bpf/THREATS.md"), encoding="utf-8") as file:
        text = file.read().split(HEAD)[1].split("\n## ")[0]
    found = {}
    for cases, where, why in re.findall(r"^\| (`.*?) \| (.*?) \| (.*?) \|$", text, re.M):
        assert why, cases
        found.setdefault(where, []).extend(re.findall(r"`([^`]+)`", cases))
    return found


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, each) for each in patterns)


def techniques(session):
    return {each.name: each for each in attempts.table(places.attempt(session.build)) if not (each.oracle or each.control or each.never)}


def here(session):
    session.require(not session.enforced, "the kernel programs guard: see test_attempts")
    session.require("from signals" in session.status()["layers"]["landlock"]["checks"][0]["detail"], "this kernel's Landlock has no scopes")


def matrix(session):
    """position -> name -> answer, against the real service. `default` comes first: it uses up what can be used once."""
    if "unenforced" not in session.memory:
        session.memory["attempted"] = session.agent.service("http")
        pid = session.memory["attempted"]["pid"]
        session.memory["unenforced"] = {each: session.attempts(each, session.target_arguments(pid), "all") for each in POSITIONS}
    return session.memory["unenforced"]


def succeeded(session, position):
    known = techniques(session)
    return {name for name, answer in matrix(session)[position].items() if answer == "ok" and name in known and known[name].seen != "ok"}


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
        patterns, got = rows()[where], succeeded(session, position)
        for each in above:
            got -= succeeded(session, each)
        unlisted = {name for name in got if not matches(name, patterns)}
        assert not unlisted, f"succeeds and is not listed: {sorted(unlisted)}"
        idle = [each for each in patterns if not any(fnmatch.fnmatchcase(name, each) for name in got)]
        possible = alone(session, position) if idle else set()
        wrong = [each for each in idle if any(fnmatch.fnmatchcase(name, each) for name in possible)]
        assert not wrong, f"listed, and refused now: {wrong}"


for _position, (_above, _where) in POSITIONS.items():
    check_position(_position, _above, _where)


@test("without the kernel programs what a filter of system calls has to refuse succeeds where there is none, and nothing else does",
      needs=("moat", "http"), timeout=300)
def by_filter(session):
    here(session)
    got = session.api.request("POST", "/v1/contexts", {"name": "unfiltered", "seccomp": "off"})
    assert got.status in (200, 201), got
    try:
        answers = session.attempts("unfiltered", session.target_arguments(session.agent.service("http")["pid"]), "all")
    finally:
        session.api.request("DELETE", "/v1/contexts/unfiltered")
    known = techniques(session)
    more = {name for name, answer in answers.items() if answer == "ok" and name in known and known[name].seen != "ok"} - succeeded(session, "default")
    assert more and all(matches(name, BY_FILTER) for name in more), sorted(name for name in more if not matches(name, BY_FILTER))
    refused = {name: matrix(session)["default"][name] for name in more}
    wrong = {name: answer for name, answer in refused.items() if answer != ("ENOSYS" if name == "cgroup_spawn" else
                                                                           attempts.NOT_HERE if "io_uring" in name else "EPERM")}
    assert not wrong, wrong


@test("without the kernel programs a domain refuses each way to signal or trace the service whose pid is known, with its errno",
      needs=("moat", "http"), timeout=300)
def by_domain(session):
    here(session)
    open_ones, wrong = rows()["pid = shared"] + rows()["everywhere"], []
    for name, technique in techniques(session).items():
        answer = matrix(session)["modest"].get(name)
        if technique.group not in PER_PID or technique.seen == "ok" or answer in (None, attempts.NOT_HERE) or matches(name, open_ones):
            continue
        if answer not in ("EPERM", "EACCES", "ENOENT") and not answer.startswith("SETUP"):
            wrong.append(f"{name}: {answer}")
        if technique.group == "signals" and answer != "EPERM":
            wrong.append(f"{name}: {answer}, EPERM was expected")
    assert not wrong, "\n".join(wrong)


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
