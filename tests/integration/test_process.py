# SPDX-License-Identifier: Apache-2.0
"""Long-running processes: ids that clients choose, streams that go on where they stopped, and what is kept of them."""

import base64
import contextlib
import json
import os
import subprocess
import threading
import time
import uuid

from lib import places, procs, unixhttp
from lib.tap import test


def fresh(name="job"):
    return f"{name}-{uuid.uuid4().hex[:12]}"


def count(path):
    try:
        with open(path, encoding="ascii") as file:
            return len(file.read().split())
    except FileNotFoundError:
        return 0


def code(reply):
    return reply.status, reply.json.get("code")


def tail(session, identifier, **query):
    """The lines of GET …/events, as they arrive."""
    connection = unixhttp.Connection(session.agent.socket, 600)
    parameters = "&".join(f"{name}={value}" for name, value in query.items())
    try:
        connection.request("GET", f"/v1/processes/{identifier}/events?{parameters}")
        response = connection.getresponse()
        if response.status != 200:
            raise unixhttp.Refused(unixhttp.Reply(response.status, response.read()))
        for line in response:
            yield json.loads(line)
    finally:
        connection.close()


def data_of(event):
    return base64.b64decode(event["data"]) if event.get("encoding") == "base64" else event["data"].encode()


def text_of(events, *kinds):
    return b"".join(data_of(each) for each in events if each["type"] in (kinds or ("stdout", "stderr")))


def moat(session, *arguments, **options):
    environment = {"PATH": "/usr/bin:/bin", "MOAT_SOCKET": session.agent.socket}
    return subprocess.run([os.path.join(session.build, "moat"), *arguments], env=environment, capture_output=True, timeout=300,
                          check=False, **options)


def end(session, identifier):
    session.api.kill(identifier)


# Ids of the client's

@test("a request that is sent again with its id runs nothing twice: while it runs, and when it has ended", needs=("moat",))
def retried(session):
    name, marks = fresh(), f"{session.scratch}/{fresh('marks')}"
    body = {"id": name, "argv": ["/bin/sh", "-c", f"echo x >> {marks}; echo out; sleep 1; exit 3"]}
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(session.api.request("POST", "/v1/exec", body))) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    answers.append(session.api.request("POST", "/v1/exec", body))
    for each in answers:
        assert each.status == 200 and (each.json["id"], each.json["exitCode"], each.json["stdout"]) == (name, 3, "out\n"), each
    assert count(marks) == 1
    events = list(session.api.stream("/bin/true", id=fresh()))
    assert events[0]["type"] == "start" and events[-1]["exitCode"] == 0


@test("the stream of a retry begins with the first byte; wait: false says again that it runs", needs=("moat",))
def retried_otherwise(session):
    fields = {"id": fresh(), "argv": ["/bin/sh", "-c", "echo one; echo two >&2"]}
    first, second = ([*session.api.stream(*fields["argv"], id=fields["id"])] for _ in range(2))
    assert [{**each, "durationMs": 0} for each in first] == [{**each, "durationMs": 0} for each in second]
    assert text_of(second) == b"one\ntwo\n" and second[-1]["type"] == "exit", second
    body = {"id": fresh(), "argv": ["/bin/sleep", "86451"], "wait": False}
    try:
        one, two = (session.api.request("POST", "/v1/exec", body) for _ in range(2))
        assert one.status == two.status == 202 and one.json == two.json, (one, two)
    finally:
        end(session, body["id"])


@test("another body under an id that is taken is refused, and so is an id that the agent could give; a command that was never "
      "started leaves its id free", needs=("moat",))
def taken(session):
    name = fresh()
    session.exec("/bin/true", id=name)
    assert code(session.api.request("POST", "/v1/exec", {"id": name, "argv": ["/bin/false"]})) == (409, "ID_TAKEN")
    for wrong in ("x12", "x1-k3f9qa", "", "a/b", "a" * 65, "..", "ä"):
        assert code(session.api.request("POST", "/v1/exec", {"id": wrong, "argv": ["/bin/true"]})) == (400, "BAD_VALUE"), wrong
    for right in ("a" * 64, "x-1", "A.b_c-9"):
        assert session.exec("/bin/true", id=right if len(right) > 10 else right + fresh()).exit == 0
    name = fresh()
    assert code(session.api.request("POST", "/v1/exec", {"id": name, "argv": ["no-such-program"]})) == (422, "COMMAND_NOT_FOUND")
    assert session.exec("/bin/true", id=name).exit == 0
    assert session.api.get(f"/v1/processes/{name}")["exitCode"] == 0


@test("a retry whose result is not kept any more is told so with the status, and runs nothing", needs=("moat",), timeout=120)
def gone(session):
    name, marks = fresh(), f"{session.scratch}/{fresh('marks')}"
    body = {"id": name, "argv": ["/bin/sh", "-c", f"echo x >> {marks}; exit 7"]}
    assert session.api.request("POST", "/v1/exec", body).json["exitCode"] == 7
    assert session.api.request("POST", "/v1/exec", body).status == 200
    # What commands of others have written takes its place.
    for _ in range(40):
        session.exec("/bin/sh", "-c", "head -c 1048576 /dev/zero | tr '\\0' x", id=fresh("large"))
        if session.api.request("GET", f"/v1/processes/{name}").status == 404:
            break
    reply = session.api.request("POST", "/v1/exec", body)
    assert code(reply) == (410, "RESULT_GONE") and reply.json["details"]["exitCode"] == 7, reply
    assert code(session.api.request("POST", "/v1/exec", {**body, "wait": False})) == (409, "ID_TAKEN")
    assert count(marks) == 1


@test("answers name the life of the agent; a request for another one is refused and runs nothing", needs=("moat",))
def instance(session):
    result = session.exec("/bin/true")
    name = result.fields["instance"]
    assert len(name) >= 16
    assert session.exec("/bin/true", instance=name).fields["instance"] == name
    assert next(session.api.stream("/bin/true"))["instance"] == name
    marks = f"{session.scratch}/{fresh('marks')}"
    reply = session.api.request("POST", "/v1/exec", {"argv": ["/usr/bin/touch", marks], "instance": "another"})
    assert code(reply) == (409, "AGENT_RESTARTED") and not os.path.exists(marks), reply


# Streams

@test("a stream begins where it is asked to, also in the middle of a line or a character, and ends with exit", needs=("moat",))
def since(session):
    done = session.exec("/bin/sh", "-c", "printf 'one\\303\\244'; sleep 0.1; printf two >&2; sleep 0.1; printf three")
    whole = "oneätwothree".encode()
    for at in range(len(whole) + 1):
        events = list(tail(session, done.id, since=at))
        assert text_of(events) == whole[at:] and events[0]["type"] == "start" and events[-1]["type"] == "exit", (at, events)
        places_ = [each["at"] for each in events if each["type"] in ("stdout", "stderr")]
        assert places_[:1] == ([at] if at < len(whole) else []) and events[-1]["at"] == len(whole), events
    for wrong in ("-1", "x", str(len(whole) + 1), "9" * 30):
        reply = session.api.request("GET", f"/v1/processes/{done.id}/events?since={wrong}")
        assert code(reply) == (400, "BAD_VALUE") and reply.json["details"]["field"] == "since", reply


@test("any number of clients follow one process, each from where it wants, and one that reads nothing holds up nobody", needs=("moat",),
      timeout=120)
def followers(session):
    identifier = session.api.start(places.PYTHON, "-uc", "import time\nfor n in range(20): print('line', n); time.sleep(0.05)\n"
                                   "print('x' * 3000000)\nprint('last')")
    with contextlib.ExitStack() as held:
        idle = held.enter_context(contextlib.closing(unixhttp.Connection(session.agent.socket, 600)))
        idle.request("GET", f"/v1/processes/{identifier}/events")
        results = []
        threads = [threading.Thread(target=lambda: results.append(list(tail(session, identifier)))) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60 * procs.SLACK)
        assert len(results) == 8
        for events in results:
            assert events[-1]["type"] == "exit" and events[-1]["stdoutBytes"] == events[-1]["at"], events[-1]
            read = text_of(events)
            lost = sum(each["lost"] for each in events if each["type"] == "gap")
            assert read.startswith(b"line 0\n") and read.endswith(b"x\nlast\n") and len(read) + lost == events[-1]["at"]


@test("what is not kept is a gap, with how much of each stream is lost; beginning and end are there", needs=("moat",), timeout=60)
def gap(session):
    done = session.exec("/bin/sh", "-c", "echo first; echo error >&2; head -c 5000000 /dev/zero | tr '\\0' x; echo last")
    events = list(tail(session, done.id))
    gaps = [each for each in events if each["type"] == "gap"]
    assert len(gaps) == 1 and gaps[0]["lost"] == gaps[0]["stdout"] and gaps[0]["stderr"] == 0, gaps
    read = text_of(events, "stdout")
    assert read.startswith(b"first\nx") and read.endswith(b"xlast\n") and text_of(events, "stderr") == b"error\n"
    assert len(read) + gaps[0]["lost"] == done.fields["stdoutBytes"] == 5000011
    # The waiting answer has the same, and says what it lacks.
    omitted = done.fields["stdoutOmitted"]
    assert done.out.startswith("first\nx") and done.out.endswith("xlast\n") and done.fields["truncated"] is True
    assert len(done.out) + omitted["bytes"] == 5000011 and 250000 < omitted["at"] < 270000, omitted
    assert "stderrOmitted" not in done.fields


@test("a silent stream says that it lives, and follow=false ends where it is", needs=("moat",))
def beats(session):
    identifier = session.api.start("/bin/sh", "-c", "printf early; exec sleep 86452")
    try:
        procs.wait_until(lambda: session.api.process(identifier)["stdoutBytes"] == 5, 10, "its output")
        lines = tail(session, identifier, beatMs=100)
        started = time.monotonic()
        events = [next(lines) for _ in range(4)]
        assert [each["type"] for each in events] == ["start", "stdout", "beat", "beat"] and events[-1]["at"] == 5, events
        assert time.monotonic() - started >= 0.2
        lines.close()
        events = list(tail(session, identifier, follow="false"))
        assert [each["type"] for each in events] == ["start", "stdout", "running"] and events[-1]["exitCode"] is None, events
    finally:
        end(session, identifier)
    stream = session.api.stream("/bin/sleep", "0.5", beatMs=100)
    assert [each["type"] for each in stream][:2] == ["start", "beat"]


@test("a connection that was lost goes on where it stopped, byte for byte", needs=("moat",), timeout=120)
def resumed(session):
    script = "import sys, time\nfor n in range(400): print(n, 'ä€' * (n % 7), file=(sys.stdout, sys.stderr)[n % 2], flush=True); time.sleep(0.002)"
    name, read, at, ended = fresh(), b"", 0, None
    session.api.start(places.PYTHON, "-c", script, id=name)
    while not ended:
        for number, event in enumerate(tail(session, name, since=at)):
            assert event["type"] != "gap", event
            if event["type"] in ("stdout", "stderr"):
                assert event["at"] == at, (event, at)
                read += data_of(event)
                at += len(data_of(event))
            ended = event if event["type"] == "exit" else None
            if number == 17:
                break
    assert len(read) == ended["stdoutBytes"] + ended["stderrBytes"] == at
    kept = session.api.process(name)
    assert sorted(read.decode().splitlines()) == sorted((kept["stdout"] + kept["stderr"]).splitlines())


@test("a command waits for the client whose request started it, as long as that says, and then no more; with onSlow skip never",
      needs=("moat",), timeout=120)
def slow(session):
    write = "import os\nfor n in range(64): os.write(1, b'y' * 65536)\nos.write(2, b'done')"
    for fields, waits in (({"slowMs": 600000}, True), ({"slowMs": 500}, False), ({"onSlow": "skip"}, False)):
        name = fresh()
        connection = unixhttp.Connection(session.agent.socket, 600)
        body = {"argv": [places.PYTHON, "-c", write], "id": name, **fields}
        connection.request("POST", "/v1/exec", body=json.dumps(body).encode(), headers={"Accept": "application/x-ndjson"})
        try:
            procs.wait_until(lambda name=name: session.api.request("GET", f"/v1/processes/{name}").status == 200, 20, "its start")
            if waits:
                time.sleep(1)
                assert session.api.process(name)["state"] == "running"
            else:
                procs.wait_until(lambda name=name: session.api.process(name)["state"] == "ended", 30, "its end")
            events = [json.loads(line) for line in connection.getresponse()]
        finally:
            connection.close()
        lost = sum(each["lost"] for each in events if each["type"] == "gap")
        assert (lost == 0) == waits and len(text_of(events)) + lost == 64 * 65536 + 4, (fields, lost)
    for wrong in ({"onSlow": "no"}, {"slowMs": 0}, {"beatMs": 1}):
        assert code(session.api.request("POST", "/v1/exec", {"argv": ["/bin/true"], **wrong})) == (400, "BAD_VALUE"), wrong


@test("follow=tree goes on until nothing is left that the command has started", needs=("moat",))
def tree(session):
    done = session.exec("/bin/sh", "-c", "echo one; (sleep 0.7; echo two) &")
    assert done.out == "one\n"
    events = list(tail(session, done.id, follow="tree"))
    assert text_of(events) == b"one\ntwo\n" and events[-1]["type"] == "exit", events


@test("moat exec --id, moat logs -f and --since do the same on the command line", needs=("moat",), timeout=60)
def command_line(session):
    name = fresh()
    for _ in range(2):
        ran = moat(session, "exec", "--id", name, "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 5")
        assert (ran.returncode, ran.stdout, ran.stderr) == (5, b"out\n", b"err\n"), ran
    ran = moat(session, "exec", "--id", name, "--", "/bin/true")
    assert ran.returncode == 125 and b"ID_TAKEN" in ran.stderr, ran
    ran = moat(session, "logs", "-f", name)
    assert (ran.returncode, ran.stdout, ran.stderr) == (5, b"out\n", b"err\n"), ran
    ran = moat(session, "logs", "--since", "2", "-f", name)
    assert ran.stdout + ran.stderr == b"t\nerr\n", ran
    ran = moat(session, "logs", "-f", "--json", name)
    assert [json.loads(line)["type"] for line in ran.stdout.splitlines()] == ["start", "stdout", "stderr", "exit"], ran
    identifier = moat(session, "exec", "-d", "--", "/bin/sh", "-c", "echo early; exec sleep 86453").stdout.decode().strip()
    procs.wait_until(lambda: session.api.process(identifier)["stdout"], 10, "its output")
    ran = moat(session, "logs", "--since", "0", identifier)
    assert (ran.returncode, ran.stdout) == (0, b"early\n"), ran
    end(session, identifier)
    assert moat(session, "logs", "-f", "--since", "-1", name).returncode == 125
