# SPDX-License-Identifier: Apache-2.0
"""What moat has loaded is open to bpftool, by name; what it has refused is counted, also in a flood."""

import json
import os
import shutil
import subprocess

from lib import attempts, btf, places
from lib.session import BROKEN_PORT, HTTP_PORT, SPARE_PORT
from lib.tap import test

BPFTOOL = shutil.which("bpftool", path="/usr/sbin:/usr/bin:/sbin:/bin")


def pins(session, kind):
    return f"/sys/fs/bpf/moat/{session.instance}/{kind}"


def bpftool(*arguments):
    done = subprocess.run([BPFTOOL, "-j", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return json.loads(done.stdout)


def counters(session):
    return {each["hook"]: each for each in session.api.get("/v1/status")["hooks"]}


@test("of the programs in bpf/ those are loaded whose hook this kernel has as they declare it, pinned by name with their link, "
      "and no others", needs=("moat", "lsm"), timeout=60)
def programs(session):
    here = btf.of(session)
    fitting = {each.name for each in btf.programs() if btf.differences(here, each) == []}
    for kind in ("programs", "links"):
        pinned = set(os.listdir(pins(session, kind)))
        assert pinned == fitting, f"{kind}: missing {sorted(fitting - pinned)}, not expected {sorted(pinned - fitting)}"
    for name in sorted(fitting)[:3]:
        shown = bpftool("prog", "show", "pinned", f"{pins(session, 'programs')}/{name}")
        assert shown["type"] == "lsm" and name.startswith(shown["name"]), shown


@test("every program and every map that moat has loaded is pinned", needs=("moat", "lsm"))
def all_pinned(session):
    loaded = {each["id"] for each in bpftool("prog", "show") if each.get("type") == "lsm" and each.get("name", "").startswith("moat_")}
    pinned = {bpftool("prog", "show", "pinned", os.path.join(pins(session, "programs"), name))["id"]
              for name in os.listdir(pins(session, "programs"))}
    assert loaded and loaded <= pinned, (loaded - pinned, pinned)
    used = {each for program in bpftool("prog", "show") if program["id"] in loaded for each in program.get("map_ids", [])}
    pinned = {bpftool("map", "show", "pinned", os.path.join(pins(session, "maps"), name))["id"]
              for name in os.listdir(pins(session, "maps"))}
    assert used <= pinned, used - pinned


@test("bpftool map dump prints ports, settings and counters by field name", needs=("moat", "lsm"))
def dumps(session):
    ports = [each["formatted"] for each in bpftool("map", "dump", "pinned", pins(session, "maps") + "/ports")]
    assert {"netns", "port"} <= set(ports[0]["key"]) and {"service", "reachable"} <= set(ports[0]["value"]), ports
    assert {HTTP_PORT, SPARE_PORT, BROKEN_PORT} <= {each["key"]["port"] for each in ports}, ports
    settings = bpftool("map", "dump", "pinned", pins(session, "maps") + "/settings")[0]["formatted"]["value"]
    assert settings["mode"] in (2, "MOAT_MODE_ENFORCE"), settings
    first = bpftool("map", "dump", "pinned", pins(session, "maps") + "/counters")[0]["formatted"]
    assert {"allowed", "denied", "would_deny"} <= set(first["values"][0]["value"]), first


@test("a flood of denials changes no verdict: each is refused, each is counted, and the agent answers", needs=("moat", "lsm"),
      timeout=120)
def flood(session):
    number = 20000
    program = (f"import collections, errno, os\nseen = collections.Counter()\nfor _ in range({number}):\n"
               f"    try: os.kill({session.agent.pid}, 9); seen['ok'] += 1\n"
               "    except OSError as error: seen[errno.errorcode[error.errno]] += 1\nprint(dict(seen))")
    before = counters(session)["task_kill"]["denied"]
    result = session.exec(places.PYTHON, "-c", program, context="shared")
    assert result.out == f"{{'EPERM': {number}}}\n", result
    assert counters(session)["task_kill"]["denied"] - before == number
    assert session.api.get("/v1/health")["status"] == "ok"


@test("denials are recorded: who, whom, what, and how many more there were", needs=("moat", "lsm"))
def recorded(session):
    session.exec("/bin/kill", "-9", str(session.agent.pid), context="other")
    body = session.api.request("GET", "/v1/events").body.decode()
    events = [json.loads(line) for line in body.splitlines() if line]
    kills = [each for each in events if each.get("hook") == "task_kill" and each["object"].get("value") == session.agent.pid]
    assert kills, body[-2000:]
    last = kills[-1]
    assert last["errno"] == "EPERM" and last["verdict"] == "denied" and last["subject"]["context"] > 0, last
    assert len([each for each in events if each["type"] == "denial"]) <= 1024, len(events)


@test("who is not user code is not judged: the tests may signal, trace and read the service", needs=("moat", "lsm", "http"))
def unlabelled(session):
    pid = session.agent.service("spare")["pid"]
    answers = attempts.run(places.attempt(session.build), "--pid", str(pid), "kill_0", "pidfd_getfd", "proc_environ", "kcmp", "getsid")
    assert set(answers.values()) == {"ok"}, answers
