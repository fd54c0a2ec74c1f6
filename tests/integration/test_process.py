# SPDX-License-Identifier: Apache-2.0
"""Long-running processes: ids that clients choose, streams that go on where they stopped, and what is kept of them."""

import base64
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import pty
import random
import select
import socket
import struct
import subprocess
import termios
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


@test("what goes on behind a command whose reader was slow is taken as it comes", needs=("moat",), timeout=120)
def slow_background(session):
    full = "import os, sys, time\nos.set_blocking(1, False)\nlast = time.monotonic()\n" \
           "while time.monotonic() < last + 0.5:\n" \
           "    try: os.write(1, b'y' * 4096); last = time.monotonic()\n    except BlockingIOError: time.sleep(0.02)\n" \
           "if os.fork(): os._exit(0)\nos.set_blocking(1, True)\n" \
           "while not os.path.exists(sys.argv[1]): time.sleep(0.05)\n" \
           "for n in range(80): os.write(1, b'z' * 4096)\nos.mkdir(sys.argv[2])"
    name, go, through = fresh(), f"{session.scratch}/{fresh('go')}", f"{session.scratch}/{fresh('through')}"
    connection = unixhttp.Connection(session.agent.socket, 600)
    body = {"argv": [places.PYTHON, "-c", full, go, through], "id": name, "slowMs": 600000}
    connection.request("POST", "/v1/exec", body=json.dumps(body).encode(), headers={"Accept": "application/x-ndjson"})
    time.sleep(2)
    events = [json.loads(line) for line in connection.getresponse()]
    connection.close()
    assert events[-1]["type"] == "exit" and session.api.process(name)["state"] == "background", events[-1]
    with open(go, "w", encoding="ascii"):
        pass
    procs.wait_until(lambda: os.path.isdir(through), 20, "all of what it writes in the background")


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


# Raw bytes, and standard input

def write(session, identifier, data, query="", **options):
    return session.api.request("POST", f"/v1/processes/{identifier}/stdin?{query}", data, **options)


@test("the bytes of a stream come as they are, live and later, from any byte on; one that is lost is refused", needs=("moat",), timeout=60)
def raw(session):
    identifier = session.api.start(places.PYTHON, "-c", "import os, time\nfor n in range(256): os.write(1, bytes(range(256)) * 8)\n"
                                   "time.sleep(0.3); os.write(2, b'err'); os.write(1, b'end')")
    data = bytes(range(256)) * 2048 + b"end"
    assert session.api.request("GET", f"/v1/processes/{identifier}/stdout").body == data
    assert session.api.request("GET", f"/v1/processes/{identifier}/stdout?since={len(data) - 4}").body == b"\xffend"
    assert session.api.request("GET", f"/v1/processes/{identifier}/stderr?follow=false").body == b"err"
    large = session.exec("/usr/bin/head", "-c", "5000000", "/dev/zero").id
    reply = session.api.request("GET", f"/v1/processes/{large}/stdout?since=1000000")
    assert code(reply) == (410, "RESULT_GONE"), reply
    first = reply.json["details"]["expected"]
    assert len(session.api.request("GET", f"/v1/processes/{large}/stdout?since={first}").body) == 5000000 - first
    try:
        session.api.request("GET", f"/v1/processes/{large}/stdout")
        raise AssertionError("an answer with a hole ended well")
    except http.client.IncompleteRead as cut:
        assert 200000 < len(cut.partial) < 300000
    reply = session.api.request("GET", f"/v1/processes/{identifier}/stdout?since=99999999")
    assert code(reply) == (400, "BAD_VALUE"), reply


@test("what is written to stdin is read in its order; bytes that were written are left out, missing ones refused", needs=("moat",))
def stdin(session):
    identifier = session.api.start("/bin/cat", stdinOpen=True)
    assert write(session, identifier, b"one").json == {"id": identifier, "accepted": 3, "offset": 3, "closed": False}
    assert write(session, identifier, b"onetwo", "offset=0").json["offset"] == 6
    assert write(session, identifier, b"two", "offset=3").json == {"id": identifier, "accepted": 3, "offset": 6, "closed": False}
    reply = write(session, identifier, b"x", "offset=7")
    assert code(reply) == (409, "WRONG_OFFSET") and reply.json["details"]["expected"] == 6, reply
    procs.wait_until(lambda: session.api.process(identifier)["stdout"] == "onetwo", 10, "it to be read")
    assert write(session, identifier, b"\0\xff", "offset=6&close").json["closed"] is True
    ended = procs.wait_until(lambda: (p := session.api.process(identifier))["state"] == "ended" and p, 10, "its end")
    assert base64.b64decode(ended["stdout"]) == b"onetwo\0\xff" and ended["exitCode"] == 0, ended
    assert code(write(session, identifier, b"x")) == (409, "STDIN_CLOSED")
    other = session.api.start("/bin/sleep", "86454")
    assert code(write(session, other, b"x")) == (409, "STDIN_CLOSED")
    end(session, other)
    assert code(session.api.request("POST", "/v1/exec", {"argv": ["/bin/cat"], "stdin": "x", "stdinOpen": True})) == (400, "BAD_VALUE")


@test("a full pipe holds up who writes to it, and nobody else; 100 MB come through, each byte once", needs=("moat",), timeout=120)
def stdin_full(session):
    slow = session.api.start("/bin/sleep", "86457", stdinOpen=True)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(write(session, slow, bytes(1 << 20))))
    thread.start()
    data = random.Random(5).randbytes(1 << 20)
    sums = session.api.start("/usr/bin/sha256sum", stdinOpen=True)
    connection = unixhttp.Connection(session.agent.socket, 600)
    pieces = 10 if session.vm else 100
    for number in range(pieces):
        connection.request("PUT", f"/v1/processes/{sums}/stdin?offset={number << 20}" + ("&close" if number == pieces - 1 else ""), body=data)
        assert json.loads(connection.getresponse().read())["offset"] == (number + 1) << 20
    connection.close()
    ended = procs.wait_until(lambda: (p := session.api.process(sums))["state"] == "ended" and p, 60, "its end")
    assert ended["stdout"].split()[0] == hashlib.sha256(data * pieces).hexdigest(), ended
    assert not answers, "a pipe of 64 KiB took a MiB"
    end(session, slow)
    thread.join(60)
    assert code(answers[0]) == (409, "STDIN_CLOSED") and answers[0].json["details"]["expected"] == 65536, answers


@test("who goes away while his bytes wait leaves what was written, and the next one goes on there", needs=("moat",))
def stdin_abandoned(session):
    script = "import os, sys, time; os.read(0, 1); os.write(1, b'r'); n = 1\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.05)\n" \
             "while piece := os.read(0, 65536): n += len(piece)\nprint(n)"
    go = f"{session.scratch}/{fresh('go')}"
    identifier = session.api.start(places.PYTHON, "-uc", script, go, stdinOpen=True)
    connection = unixhttp.Connection(session.agent.socket, 60)
    connection.request("POST", f"/v1/processes/{identifier}/stdin?offset=0", body=bytes(500000))
    procs.wait_until(lambda: session.api.process(identifier)["stdout"] == "r", 20, "the first byte")
    connection.close()
    reply = procs.wait_until(lambda: (a := write(session, identifier, b"", "offset=99999999")).json["details"]["expected"] and a, 20, "an answer")
    assert reply.json["details"]["expected"] < 500000, reply
    with open(go, "w", encoding="ascii"):
        pass
    assert write(session, identifier, bytes(500000), "offset=0&close").json["offset"] == 500000
    procs.wait_until(lambda: session.api.process(identifier)["stdout"] == "r500000\n", 20, "all of it")


@test("moat exec -i sends stdin as it comes, more than fits into a request, while output comes back", needs=("moat",), timeout=60)
def exec_stdin(session):
    data = random.Random(6).randbytes(5 << 20)
    ran = moat(session, "exec", "-i", "--", "/bin/cat", input=data)
    assert ran.returncode == 0 and ran.stdout == data, (ran.returncode, len(ran.stdout), ran.stderr)
    environment = {"PATH": "/usr/bin:/bin", "MOAT_SOCKET": session.agent.socket}
    with subprocess.Popen([os.path.join(session.build, "moat"), "exec", "-i", "--", "/bin/cat"], env=environment, bufsize=0,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cli:
        for line in (b"one\n", b"two\n"):
            cli.stdin.write(line)
            assert cli.stdout.readline() == line
        cli.stdin.close()
        assert cli.wait(60) == 0
    ran = moat(session, "exec", "-i", "--", "/bin/true", input=data)
    assert ran.returncode == 0 and not ran.stderr, ran


# Waiting, signals and time limits

def wait(session, identifier, **fields):
    reply = session.api.request("POST", f"/v1/processes/{identifier}/wait", fields)
    assert reply.status == 200, reply
    return reply.json


@test("wait answers when a command has ended, when all of it has, or when it has written a text, in pieces as well", needs=("moat",))
def waiting(session):
    identifier = session.api.start("/bin/sh", "-c", "printf rea; sleep 0.3; printf dy; (sleep 1.2; echo late >&2) & sleep 0.6; exit 4")
    met = wait(session, identifier, **{"for": "output", "text": "ready"})
    assert met["met"] is True and met["state"] == "running" and met["exitCode"] is None, met
    assert wait(session, identifier, **{"for": "output", "text": "ready"})["met"] is True
    ended = wait(session, identifier, **{"for": "exit"})
    assert ended["met"] is True and (ended["exitCode"], ended["state"]) == (4, "background"), ended
    assert wait(session, identifier, **{"for": "output", "text": "late"})["met"] is True
    assert wait(session, identifier, **{"for": "tree"})["state"] == "ended"
    assert wait(session, identifier, **{"for": "output", "text": "never"})["met"] is False
    sleeper = session.api.start("/bin/sleep", "86458")
    started = time.monotonic()
    assert wait(session, sleeper, **{"for": "exit", "timeoutMs": 300})["met"] is False and time.monotonic() - started >= 0.3
    end(session, sleeper)
    for wrong in ({}, {"for": "x"}, {"for": "output"}, {"for": "exit", "text": "x"}, {"for": "output", "text": "x" * 4097},
                  {"for": "exit", "timeoutMs": 0}):
        assert session.api.request("POST", f"/v1/processes/{sleeper}/wait", wrong).status == 400, wrong


@test("a text is found also where it lies across the pieces that are read, and not where it is lost", needs=("moat",), timeout=60)
def waiting_for_text(session):
    script = "import sys, time\nfor n in range(40): sys.stdout.write('x' * 65533 + '<%d>' % n)\nsys.stdout.flush(); time.sleep(86459)"
    identifier = session.api.start(places.PYTHON, "-c", script)
    assert wait(session, identifier, **{"for": "output", "text": "x<39>", "timeoutMs": 60000})["met"] is True
    for text in ("x<0>x", "x<2>x", "x<38>x"):
        assert wait(session, identifier, **{"for": "output", "text": text, "timeoutMs": 2000})["met"] is True, text
    assert wait(session, identifier, **{"for": "output", "text": "x<10>x", "timeoutMs": 200})["met"] is False
    end(session, identifier)


@test("a signal goes to the command alone, to its group, or to all that it has started, in whatever session", needs=("moat",))
def signals(session):
    script = """
import os, signal, sys, time
def say(who):
    signal.signal(signal.SIGUSR1, lambda *_: os.write(1, who.encode()))
    os.write(1, b'+')
    while True: time.sleep(0.05)
if not os.fork(): say('g')
if not os.fork():
    os.setsid()
    say('t')
say('m')
"""
    identifier = session.api.start(places.PYTHON, "-c", script)
    procs.wait_until(lambda: session.api.process(identifier)["stdout"] == "+++", 20, "all three")
    heard = ""
    for to, who in (("main", "m"), ("group", "gm"), ("tree", "gmt")):
        assert session.api.request("POST", f"/v1/processes/{identifier}/signal", {"signal": "USR1", "to": to}).status == 200
        procs.wait_until(lambda heard=heard, who=who: len(session.api.process(identifier)["stdout"]) == 3 + len(heard + who), 10, to)
        new = session.api.process(identifier)["stdout"][3 + len(heard):]
        assert "".join(sorted(new)) == who, (to, new)
        heard += who
    assert code(session.api.request("POST", f"/v1/processes/{identifier}/signal", {"signal": "USR1", "to": "x"})) == (400, "BAD_VALUE")
    end(session, identifier)


@test("with killSignal a time limit asks all of it first, and what does not end is killed; without it is killed at once", needs=("moat",),
      timeout=60)
def gentle(session):
    body = "import os, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'asked'), sys.exit(5)))\ntime.sleep(86460)"
    limit = 10000 if session.vm else 2000  # until its signal handler is there
    result = session.exec(places.PYTHON, "-c", body, timeoutMs=limit, killSignal="TERM", killAfterMs=60000)
    assert (result.out, result.exit, result.timed_out) == ("asked", 5, True), result
    script = "trap 'echo asked' TERM; setsid sh -c 'trap \"echo child\" TERM; while :; do sleep 0.1; done' & while :; do sleep 0.1; done"
    result = session.exec("/bin/sh", "-c", script, timeoutMs=limit, killSignal="SIGTERM", killAfterMs=1500)
    assert result.timed_out and result.signal == "SIGKILL" and set(result.out.split()) == {"asked", "child"}, result
    result = session.exec(places.PYTHON, "-c", body, timeoutMs=1000)
    assert result.timed_out and (result.signal, result.out) == ("SIGKILL", ""), result


@test("moat wait, moat kill --to and moat exec --kill-signal do the same", needs=("moat",), timeout=60)
def waiting_cli(session):
    identifier = session.api.start("/bin/sh", "-c", "trap 'exit 6' USR1; echo ready; while :; do sleep 0.1; done")
    assert moat(session, "wait", "--output", "ready", identifier).returncode == 0
    assert moat(session, "wait", "--timeout", "200ms", identifier).returncode == 124
    assert moat(session, "kill", "-s", "USR1", "--to", "main", identifier).returncode == 0
    assert moat(session, "wait", identifier).returncode == moat(session, "wait", "--tree", identifier).returncode == 6
    assert moat(session, "wait", "--output", "never", identifier).returncode == 1
    assert json.loads(moat(session, "wait", "--json", identifier).stdout)["met"] is True
    ran = moat(session, "exec", "--timeout", "1", "--kill-signal", "TERM", "--kill-after", "30s", "--", "/bin/sh", "-c",
               "trap 'echo asked; exit 3' TERM; while :; do sleep 0.1; done")
    assert (ran.returncode, ran.stdout) == (124, b"asked\n"), ran
    assert moat(session, "kill", "-s", "TERM", "--to", "all", identifier).returncode == 125


# Terminals

CONTEXTS = ({}, {"context": "plain"}, {"isolated": True}, {"context": "modest"})


@test("with tty a command has a terminal of its own, of the asked size, in its own namespace, which is its controlling one",
      needs=("moat",), timeout=120)
def terminal(session):
    script = "import os, sys, fcntl, termios, struct; sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty() and print(" \
             "struct.unpack('hhhh', fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))[:2], os.ttyname(0), os.tcgetpgrp(0) == os.getpid(), " \
             "os.path.exists('/dev/tty') and os.open('/dev/tty', os.O_RDWR) > 0, os.environ['TERM'])"
    for fields in CONTEXTS:
        result = session.exec(places.PYTHON, "-c", script, tty=True, rows=33, cols=77, **fields)
        assert result.out == "(33, 77) /dev/pts/0 True True xterm-256color\r\n" and result.err == "", (fields, result)
    for wrong in ({"stdin": "x"}, {"rows": 0}, {"cols": 70000}):
        assert code(session.api.request("POST", "/v1/exec", {"argv": ["/bin/true"], "tty": True, **wrong})) == (400, "BAD_VALUE"), wrong


@test("keys reach the command, Ctrl-C is a signal, its size follows, and its end hangs up what is left in the foreground", needs=("moat",),
      timeout=60)
def terminal_keys(session):
    script = "trap 'echo INT; asked=yes' INT; echo ready; until [ \"$(stty size)\" = '11 44' ]; do sleep 0.1; done; echo sized; " \
             "until [ \"$asked\" ]; do sleep 0.1; done; " \
             "read x; echo got $x; (trap 'echo hup > $0; exit' HUP; while :; do sleep 0.1; done) & sleep 0.5; exit 3"
    marks = f"{session.scratch}/{fresh('hup')}"
    identifier = session.api.start("/bin/bash", "-c", script, marks, tty=True)
    assert wait(session, identifier, **{"for": "output", "text": "ready", "timeoutMs": 30000})["met"]
    assert session.api.request("POST", f"/v1/processes/{identifier}/resize", {"rows": 11, "cols": 44}).json["rows"] == 11
    assert wait(session, identifier, **{"for": "output", "text": "sized", "timeoutMs": 30000})["met"]
    assert write(session, identifier, b"\x03").json["accepted"] == 1
    assert wait(session, identifier, **{"for": "output", "text": "INT", "timeoutMs": 30000})["met"]
    assert code(write(session, identifier, b"", "close")) == (400, "BAD_VALUE")
    write(session, identifier, b"word\r")
    assert wait(session, identifier, **{"for": "exit", "timeoutMs": 30000})["exitCode"] == 3
    assert "got word\r\n" in session.api.process(identifier)["stdout"], session.api.process(identifier)
    procs.wait_until(lambda: os.path.exists(marks), 10, "the hang-up")
    assert wait(session, identifier, **{"for": "tree", "timeoutMs": 60000})["met"]
    assert code(session.api.request("POST", f"/v1/processes/{identifier}/resize", {"rows": 1, "cols": 1})) == (404, "NO_SUCH_PROCESS")
    other = session.exec("/bin/true").id
    assert code(session.api.request("POST", f"/v1/processes/{other}/resize", {"rows": 1, "cols": 1})) == (409, "NO_TERMINAL")


@test("what a command wrote to its terminal just before its end is all there", needs=("moat",), timeout=60)
def terminal_end(session):
    for _ in range(20):
        result = session.exec(places.PYTHON, "-c", "import sys; sys.stdout.write('x' * 3000 + 'end')", tty=True)
        assert result.out == "x" * 3000 + "end", (len(result.out), result.out[-10:])


@contextlib.contextmanager
def on_terminal(session, *arguments):
    """moat with a terminal; yields (process, our end of it)."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 21, 63, 0, 0))
    environment = {"PATH": "/usr/bin:/bin", "MOAT_SOCKET": session.agent.socket}
    cli = subprocess.Popen([os.path.join(session.build, "moat"), *arguments], env=environment, stdin=its, stdout=its, stderr=its,
                           start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(its)
    try:
        yield cli, ours
    finally:
        cli.kill()
        cli.wait()
        os.close(ours)


def read_until(terminal_, text, seconds=60):
    read, until = b"", time.monotonic() + seconds
    while text not in read and time.monotonic() < until:
        if select.select([terminal_], [], [], 0.1)[0]:
            try:
                read += os.read(terminal_, 65536)
            except OSError:
                break
    assert text in read, read
    return read


@test("moat exec -t is a terminal at both ends: keys, size, status; moat attach comes back to it, and Ctrl-] leaves it", needs=("moat",),
      timeout=120)
def terminal_cli(session):
    name = fresh()
    with on_terminal(session, "exec", "-t", "--id", name, "--", "/bin/bash", "--norc") as (cli, ours):
        os.write(ours, b"stty size; echo a$((1+1))b\r")
        assert b"21 63" in read_until(ours, b"a2b")
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 22, 64, 0, 0))
        time.sleep(0.3)
        os.write(ours, b"stty size\r")
        read_until(ours, b"22 64")
        with on_terminal(session, "attach", name) as (second, its):
            read_until(its, b"a2b")
            os.write(its, b"echo c$((2+2))d\r")
            read_until(its, b"c4d")
            os.write(its, b"\x1d")
            assert b"goes on" in read_until(its, b"goes on") and second.wait(60) == 0
        read_until(ours, b"c4d")
        os.write(ours, b"exit 7\r")
        assert cli.wait(60) == 7
    ran = moat(session, "exec", "-t", "--", "/bin/true", stdin=subprocess.DEVNULL)
    assert ran.returncode == 125 and b"terminal" in ran.stderr, ran


# Clients that go away

def drop(session, headers, **fields):
    """Sends a request, waits until its command runs, and hangs up. Returns how its process is found."""
    mark = str(random.randrange(100000, 999999))
    connection = unixhttp.Connection(session.agent.socket, 60)
    connection.request("POST", "/v1/exec", body=json.dumps({"argv": ["/bin/sleep", mark], **fields}).encode(), headers=headers)
    here = lambda: [each for each in session.api.get("/v1/processes")["processes"] if each["state"] == "running" and (
        each["argv"] == ["/bin/sleep", mark] or each["id"] == fields.get("id"))]
    if fields.get("env"):
        here = lambda: [each for each in session.api.get("/v1/processes")["processes"] if each["state"] == "running" and each["argc"] == 2
                        and each["argv"] == ["/bin/sleep"] and each["cut"]]
    procs.wait_until(here, 20, "its start")
    if headers:
        connection.sock.recv(1)
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    return here


@test("a command goes on when its client goes away, or ends with it, as the request says; one apart from all others ends",
      needs=("moat",), timeout=120)
def disconnect(session):
    stream = {"Accept": "application/x-ndjson"}
    for headers in ({}, stream):
        for fields in ({"onDisconnect": "kill"}, {"onDisconnect": "kill", "id": fresh()}, {"env": {"TOKEN": "x"}}):
            here = drop(session, headers, **fields)
            procs.wait_until(lambda here=here: not here(), 20, f"{fields} {headers} to end")
        for fields in ({}, {"onDisconnect": "keep"}, {"env": {"TOKEN": "x"}, "onDisconnect": "keep"}, {"env": {"TOKEN": "x"}, "id": fresh()}):
            here = drop(session, headers, **fields)
            time.sleep(0.3)
            assert len(here()) == 1, fields
            end(session, here()[0]["id"])
            procs.wait_until(lambda here=here: not here(), 20, "it to be killed")
    for wrong in ({"onDisconnect": "x"}, {"onDisconnect": "kill", "wait": False}):
        assert code(session.api.request("POST", "/v1/exec", {"argv": ["/bin/true"], **wrong})) == (400, "BAD_VALUE"), wrong


@test("moat exec that is killed takes its command along, which is asked first if it wants that", needs=("moat",))
def disconnect_cli(session):
    marks = f"{session.scratch}/{fresh('asked')}"
    environment = {"PATH": "/usr/bin:/bin", "MOAT_SOCKET": session.agent.socket}
    script = "trap 'echo asked > $0; exit' TERM; echo ready; while :; do sleep 0.1; done"
    with subprocess.Popen([os.path.join(session.build, "moat"), "exec", "--kill-signal", "TERM", "--", "/bin/sh", "-c", script, marks],
                          env=environment, stdout=subprocess.PIPE) as cli:
        assert cli.stdout.readline() == b"ready\n"
        cli.kill()
    procs.wait_until(lambda: os.path.exists(marks), 20, "it to be asked")


@test("the listing is bounded: arguments are cut with a mark, and beside variables of their own left out", needs=("moat",))
def listing(session):
    done = session.exec("/bin/echo", "x" * 20000, "secret-after")
    shown = next(each for each in session.api.get("/v1/processes")["processes"] if each["id"] == done.id)
    assert shown["cut"] is True and shown["argc"] == 3 and sum(map(len, shown["argv"])) <= 4096 + 16, shown
    assert session.api.process(session.exec("/bin/echo", "x").id)["cut"] is False
    apart = session.api.process(session.exec("/bin/echo", "secret", env={"A": "b"}, id=fresh()).id)
    assert apart["argv"] == ["/bin/echo"] and apart["cut"] is True, apart
    text = session.api.request("POST", "/v1/exec", {"command": "X=value; echo $X-" + "y" * 5000}).json["id"]
    assert session.api.process(text)["command"].startswith("X=value; echo $X-yy") and session.api.process(text)["cut"] is True


# Ports

SERVE = "import socket, sys, time; time.sleep(float(sys.argv[2])); s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); " \
        "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', int(sys.argv[1]))); time.sleep(86461)"


@test("of a command with variables of its own there is a record of its begin and one of its end: program, names, context, caller, "
      "status; never a value or an argument; of others none", needs=("moat",))
def recorded(session):
    def records():
        lines = session.api.request("GET", "/v1/events").body.decode()
        assert "hunter2" not in lines
        return [each for each in map(json.loads, lines.splitlines()) if each["type"].startswith("exec-")]
    before = len(records())
    env = {"TOKEN": "hunter2", "Z": "hunter2"}
    missing = session.api.request("POST", "/v1/exec", {"argv": ["no-such-program", "hunter2"], "env": env})
    assert missing.status == 422, missing
    for body in ({"argv": ["sh", "-c", "exit 3", "hunter2"], "env": env}, {"command": "P=hunter2 sh -c 'kill -9 $$'", "env": env, "context": "plain"},
                 {"argv": ["sleep", "60"], "env": env, "timeoutMs": 200, "isolated": False}, {"argv": ["true"]}, {"command": "true", "isolated": True},
                 {"argv": ["true"], "env": {f"V{number}": "hunter2" for number in range(40)}}):
        assert session.api.request("POST", "/v1/exec", body).status == 200, body
    found = records()[before:]
    caller = {"pid": os.getpid(), "uid": os.getuid()}
    begins, ends = ([each for each in found if each["type"] == f"exec-{what}"] for what in ("begin", "end"))
    assert [each["exec"] for each in begins] == [each["exec"] for each in ends] and len({each["exec"] for each in begins}) == 5, found
    assert [each["program"] for each in begins] == ["no-such-program", "sh", None, "sleep", "true"], begins
    assert [each["secure"] for each in begins] == [True, True, True, False, True], begins
    assert all(each["caller"] == caller for each in begins) and [each["context"] for each in ends] == ["default"] * 2 + ["plain"] + ["default"] * 2
    assert begins[0]["variables"] == ["TOKEN", "Z"] and begins[0]["omitted"] == 0, begins
    assert len(begins[4]["variables"]) == 32 and begins[4]["omitted"] == 8, begins
    assert [(each["exitCode"], each["signal"], each["timedOut"]) for each in ends] == [
        (None, None, False), (3, None, False), (137, "SIGKILL", False), (137, "SIGKILL", True), (0, None, False)], ends
    shown = subprocess.run([os.path.join(session.build, "moat"), "events"], env={"MOAT_SOCKET": session.agent.socket}, capture_output=True, text=True,
                           check=True).stdout
    assert f"exec-begin: {begins[1]['exec']} of context default, program sh, variables TOKEN Z, by pid {os.getpid()}" in shown
    assert f"exec-end: {ends[0]['exec']} of context default, not started" in shown and f"exec-end: {ends[1]['exec']} of context default, status 3" in shown


@test("what listens is listed with its command and context, or its service, and can be waited for", needs=("moat",), timeout=60)
def ports(session):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert session.api.get(f"/v1/ports/{port}") == {"port": port, "listeners": [], "listening": False}
    started = time.monotonic()
    assert session.api.get(f"/v1/ports/{port}?state=listening&timeoutMs=300")["listening"] is False and time.monotonic() - started >= 0.3
    identifier = session.api.start(places.PYTHON, "-c", SERVE, str(port), "0.7", context="plain")
    waited = session.api.get(f"/v1/ports/{port}?state=listening&timeoutMs=60000")
    assert waited["listening"] is True, waited
    own = {"port": port, "address": "127.0.0.1", "context": "plain", "id": identifier, "service": None}
    procs.wait_until(lambda: len(session.api.get(f"/v1/ports/{port}")["listeners"]) == 2, 10, "both sockets")
    assert session.api.get(f"/v1/ports/{port}")["listeners"] == [{**own, "protocol": each} for each in ("tcp", "udp")]
    listed = session.api.get("/v1/ports")["ports"]
    assert {**own, "protocol": "tcp"} in listed, listed
    assert any(each["service"] == "sockets" and each["id"] is None for each in listed), listed
    ran = moat(session, "ports", str(port))
    assert ran.returncode == 0 and identifier.encode() in ran.stdout, ran
    assert moat(session, "ports", "--wait", "--timeout", "30s", str(port)).returncode == 0
    end(session, identifier)
    procs.wait_until(lambda: not session.api.get(f"/v1/ports/{port}")["listening"], 20, "the port to be free")
    assert moat(session, "ports", str(port)).returncode == 1
    for wrong in ("0", "65536", "x", f"{port}?state=x", f"{port}?timeoutMs=0"):
        assert code(session.api.request("GET", f"/v1/ports/{wrong}")) == (400, "BAD_VALUE"), wrong
