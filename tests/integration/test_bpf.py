# SPDX-License-Identifier: Apache-2.0
"""What moat has loaded is open to bpftool, by name; what it has refused is counted, also in a flood."""

import json
import os
import re
import shutil
import subprocess

from lib import attempts, btf, places, procs
from lib.session import BROKEN_PORT, HTTP_PORT, SPARE_PORT
from lib.tap import test

BPFTOOL = shutil.which("bpftool", path="/usr/sbin:/usr/bin:/sbin:/bin")


def pins(session, kind):
    return f"/sys/fs/bpf/moat/{session.instance}/{kind}"


def bpftool(*arguments, commands=None):
    done = subprocess.run([BPFTOOL, "-j", *arguments], input=commands, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return json.loads(done.stdout)


def shown(session, kind):
    """What `bpftool prog|link|map show pinned` prints of every pin, by its name."""
    known = session.memory.setdefault("pins", {})
    if kind not in known:
        names = os.listdir(pins(session, kind))
        show = {"programs": "prog", "links": "link", "maps": "map"}[kind] + f" show pinned {pins(session, kind)}"
        answers = bpftool("batch", "file", "-", commands="".join(f"{show}/{name}\n" for name in names))
        assert len(answers) == len(names), answers
        known[kind] = {name: each["output"] for name, each in zip(names, answers)}
    return known[kind]


def named(name, shown_name):
    """Whole, or as the kernel keeps it, cut off after 15 characters; in the names of pins there are no dots."""
    return shown_name.replace(".", "_") in (name, name[:15])


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
    for name, each in shown(session, "programs").items():
        assert each["type"] == "lsm" and named(name, each["name"]), (name, each)
    for name, each in shown(session, "links").items():
        assert each["prog_type"] == "lsm" and each["prog_id"] == shown(session, "programs")[name]["id"], (name, each)


@test("every program and every map that moat has loaded is pinned", needs=("moat", "lsm"), timeout=90)
def all_pinned(session):
    """What an agent that ended before this one had loaded is gone only when the kernel has let go of it."""
    pinned = {kind: {each["id"] for each in shown(session, kind).values()} for kind in ("programs", "maps")}

    def all_there():
        loaded = [each for each in bpftool("prog", "show")
                  if each.get("type") == "lsm" and each.get("name", "").startswith("moat_")]
        found.update(programs={each["id"] for each in loaded}, maps={each for program in loaded for each in program.get("map_ids", [])})
        return all(found[kind] <= pinned[kind] for kind in pinned)

    found = {}
    try:
        procs.wait_until(all_there, 60, "pins of everything")
    except AssertionError as error:
        raise AssertionError({kind: found[kind] - pinned[kind] for kind in pinned}) from error
    assert found["programs"] == pinned["programs"], (found, pinned)


def declared():
    """The maps of bpf/maps.h: name -> (type, key, value) as they are written there."""
    with open(os.path.join(places.SOURCE, "bpf/maps.h"), encoding="utf-8") as file:
        maps = re.findall(r'struct \{(.*?)\} (\w+) SEC\("\.maps"\)', file.read(), re.S)
    found = {}
    for body, name in maps:
        types = dict(re.findall(r"__type\((key|value), ([\w ]+)\)", body))
        found[name] = re.search(r"BPF_MAP_TYPE_(\w+)", body)[1].lower(), types.get("key", ""), types.get("value", "")
    return found


def fields(struct):
    """Names of the fields of a struct of moat/abi.h or bpf/maps.h, as it is written there."""
    text = ""
    for path in ("include/moat/abi.h", "bpf/maps.h"):
        with open(os.path.join(places.SOURCE, path), encoding="utf-8") as file:
            text += file.read()
    body = re.search(re.escape(struct) + r" \{\n(.*?)\n\};", text, re.S)[1]
    return set(re.findall(r"(\w+)(?:\[\d+\])?;", re.sub(r"/\*.*?\*/", "", body, flags=re.S)))


def check_fields(name, declaration, entry):
    """An entry of a dump: what is declared as a struct is printed by the names of its fields."""
    _, key, value = declaration
    values = [each["value"] for each in entry["values"]] if "values" in entry else [entry["value"]]
    for struct, got in [(key, entry["key"]), *((value, each) for each in values)]:
        if struct.startswith("struct "):
            assert isinstance(got, dict) and set(got) == fields(struct), (name, struct, got)


@test("every pinned map is of the type and name that it is declared with; what is a table of structs has BTF, and its dump prints "
      "them by field name", needs=("moat", "lsm"), timeout=60)
def maps(session):
    session.exec("/bin/kill", "-9", str(session.agent.pid), context="shared")  # so that `windows` is not empty
    tables, dumped = declared(), set()
    undeclared = {each["name"] for name, each in shown(session, "maps").items() if name not in tables}
    assert all("." in each for each in undeclared), f"not only sections of data: {undeclared}"
    assert set(tables) <= set(shown(session, "maps")), set(tables) - set(shown(session, "maps"))
    for name, each in shown(session, "maps").items():
        assert named(name, each["name"]) and each["type"] == tables.get(name, ("array",))[0], (name, each)
        if not (name in tables and re.search("hash|array", tables[name][0]) and "struct" in "".join(tables[name][1:])):
            continue
        assert each.get("btf_id"), (name, each)
        path = f"{pins(session, 'maps')}/{name}"
        if each["type"] == "array" and each["max_entries"] > 4096:  # one is like the other, and printing all takes minutes
            entries = [bpftool("map", "lookup", "pinned", path, "key", "0", "0", "0", "0")]
        else:
            entries = bpftool("map", "dump", "pinned", path)[:50]
        for entry in entries:
            check_fields(name, tables[name], entry["formatted"])
            dumped.add(name)
    assert {"settings", "ports", "protected", "counters", "drops", "windows"} <= dumped, dumped


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
