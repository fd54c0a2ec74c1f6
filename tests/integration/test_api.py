# SPDX-License-Identifier: Apache-2.0
"""The HTTP API: every answer has its shape, and every wrong request its status and code."""

import base64
import json
import os
import random
import resource
import socket
import subprocess
import time

from lib import procs
from lib.rawhttp import Raw, chunked, exec_body, http, unharmed
from lib.tap import test
from lib.unixhttp import Connection, Refused

BODY_MAX = 2 * 1024 * 1024


# Shapes

@test("a result has exactly its documented fields", needs=("moat",))
def result_fields(session):
    fields = session.exec("/bin/true").fields
    assert sorted(fields) == sorted(["id", "exitCode", "signal", "timedOut", "outputLimited", "oomKilled", "stdout", "stderr", "stdoutBytes",
                                     "stderrBytes", "truncated", "durationMs", "context", "created", "instance"]), fields


@test("wait = false answers 202 with id and context while the command runs", needs=("moat",))
def no_wait(session):
    reply = session.api.request("POST", "/v1/exec", {"argv": ["/bin/sleep", "86400"], "wait": False})
    assert reply.status == 202 and sorted(reply.json) == ["context", "created", "id", "instance"], reply
    process = session.api.process(reply.json["id"])
    assert process["state"] == "running" and process["exitCode"] is None and process["argv"] == ["/bin/sleep", "86400"], process
    killed = session.api.kill(reply.json["id"])
    assert killed.status == 200 and killed.json == {"id": reply.json["id"], "killed": True}, killed
    procs.wait_until(lambda: session.api.process(reply.json["id"])["state"] == "ended", 10, "the end")
    assert session.api.process(reply.json["id"])["signal"] == "SIGKILL"
    assert session.api.kill(reply.json["id"]).json["killed"] is False


@test("a listing shows of arguments what fits, and only the program where the command had an environment of its own", needs=("moat",))
def listed_arguments(session):
    long = ["/bin/true", *["x" * 100] * 1000]
    for argv, fields, shown in ((long, {}, 41), (long, {"env": {"A": "1"}}, 1), (["/bin/echo", "s3cr3t"], {"env": {"A": "1"}}, 1),
                                (["/bin/true", "y" * 10000], {}, 1), (["/bin/echo", "a"], {"isolated": True}, 2)):
        identifier = session.exec(*argv, **fields).fields["id"]
        listed = next(each for each in session.api.get("/v1/processes")["processes"] if each["id"] == identifier)
        for each in (listed, session.api.process(identifier)):
            assert each["argv"] == argv[:shown] and each["argc"] == len(argv), (each["argv"], each["argc"])


@test("the agent says try again, not forbidden, where it has no descriptor to find out who asks", needs=("moat", "http"))
def no_descriptor(session):
    limits = resource.prlimit(session.agent.pid, resource.RLIMIT_NOFILE)

    def ask_with_one_left():
        used = {int(each) for each in os.listdir(f"/proc/{session.agent.pid}/fd")}
        free = [each for each in range(len(used) + 2) if each not in used]
        resource.prlimit(session.agent.pid, resource.RLIMIT_NOFILE, (free[1], limits[1]))  # one for the connection, none for more
        try:
            with Raw(session) as raw:
                return raw.send(http("GET", "/v1/health")).read_answer()
        finally:
            resource.prlimit(session.agent.pid, resource.RLIMIT_NOFILE, limits)
    # Not the first time where the agent has closed another one meanwhile: a service was being started.
    procs.wait_until(lambda: (answer := ask_with_one_left())[0] == 503 and answer[1]["code"] == "BUSY", 5, "BUSY")
    unharmed(session)


@test("a running process shows what it has written so far", needs=("moat",))
def output_so_far(session):
    identifier = session.api.start("/bin/sh", "-c", "echo early; exec sleep 86400")
    procs.wait_until(lambda: session.api.process(identifier)["stdout"] == "early\n", 10, "its output")
    session.api.kill(identifier)


@test("a signal is taken by name, with and without SIG, and by number", needs=("moat",))
def signals(session):
    for name, seen in (("TERM", "SIGTERM"), ("SIGTERM", "SIGTERM"), (15, "SIGTERM"), ("USR1", "SIGUSR1")):
        identifier = session.api.start("/bin/sleep", "86400")
        reply = session.api.request("POST", f"/v1/processes/{identifier}/signal", {"signal": name})
        assert reply.status == 200 and reply.json == {"id": identifier, "signal": seen}, reply
        procs.wait_until(lambda each=identifier: session.api.process(each)["state"] == "ended", 10, "the end")
        assert session.api.process(identifier)["signal"] == seen
    reply = session.api.request("POST", f"/v1/processes/{identifier}/signal", {"signal": 15})
    assert reply.status == 404 and reply.json["code"] == "NO_SUCH_PROCESS", reply


@test("/v1/status names every layer, every namespace and what is not enforced", needs=("moat",))
def status(session):
    found = session.api.get("/v1/status")
    assert {"version", "instance", "uptimeMs", "enforcement", "layers", "namespaces", "execs", "hooks", "events",
            "notEnforced"} <= set(found), sorted(found)
    assert {"lsm", "namespaces", "caps", "cgroup"} <= set(found["layers"]), sorted(found["layers"])
    for name, layer in found["layers"].items():
        assert layer["state"] and all(each["detail"] for each in layer["checks"]), (name, layer)
    assert {each["name"] for each in found["namespaces"]} >= {"user", "secure"}, found["namespaces"]
    assert all(os.path.exists(f"/proc/{each['pid']}") for each in found["namespaces"]), found["namespaces"]
    assert bool(found["notEnforced"]) == (found["enforcement"]["mode"] != "enforce"), found


@test("/v1/events since a number that no record has yet, as an agent before this one had it, says so and begins anew", needs=("moat",))
def events_of_another(session):
    def lines(since):
        return [json.loads(line) for line in session.api.request("GET", f"/v1/events?since={since}").body.splitlines()]
    whole = lines(0)
    first, *rest = lines(999999)
    assert first == {"type": "gap", "missed": None}, first
    assert rest[:len(whole)] == whole
    newest = max((each.get("seq", 0) for each in whole), default=0)
    assert {"type": "gap", "missed": None} not in lines(newest)


@test("/v1/events without follow ends, with follow stays open", needs=("moat",))
def events(session):
    reply = session.api.request("GET", "/v1/events")
    assert reply.status == 200, reply
    newest = max((json.loads(line).get("seq", 0) for line in reply.body.splitlines()), default=0)
    with Raw(session) as raw:
        raw.send(http("GET", f"/v1/events?follow=true&since={newest}"))
        head = raw.socket.recv(65536)
        while not head.endswith(b"\r\n\r\n"):
            part = raw.socket.recv(65536)
            assert part, head
            head += part
        assert b"200 OK" in head and b"application/x-ndjson" in head, head
        raw.socket.settimeout(session.patience)
        try:
            more = raw.socket.recv(65536)
        except socket.timeout:
            more = None
        assert more is None, more


# Wrong requests

WRONG = [
    ("POST", "/v1/exec", b"", 400, "BAD_JSON", None),
    ("POST", "/v1/exec", b"{", 400, "BAD_JSON", None),
    ("POST", "/v1/exec", b"[]", 400, "BAD_JSON", None),
    ("POST", "/v1/exec", b"\xff\xfe", 400, "BAD_JSON", None),
    ("POST", "/v1/exec", b'{"argv":["a"],"argv":["b"]}', 400, "BAD_JSON", None),
    ("POST", "/v1/exec", b'{"argv":["a\\u0000"]}', 400, "BAD_JSON", None),
    ("POST", "/v1/exec", b"[" * 100000, 400, "BAD_JSON", None),
    ("POST", "/v1/exec", b'{"argv":[' + b'"",' * 200000 + b'""]}', 400, "BAD_JSON", None),
    ("POST", "/v1/exec", b"{}", 400, "MISSING_FIELD", "argv"),
    ("POST", "/v1/exec", b'{"argv":["true"],"bash":true}', 400, "UNKNOWN_FIELD", "bash"),
    ("POST", "/v1/exec", b'{"argv":[]}', 400, "BAD_VALUE", "argv"),
    ("POST", "/v1/exec", b'{"argv":[""]}', 400, "BAD_VALUE", "argv[0]"),
    ("POST", "/v1/exec", b'{"argv":["true",2]}', 400, "BAD_VALUE", "argv[1]"),
    ("POST", "/v1/exec", b'{"argv":"true"}', 400, "BAD_VALUE", "argv"),
    ("POST", "/v1/exec", b'{"argv":["true"],"env":{"A=B":"x"}}', 400, "BAD_VALUE", "env.A=B"),
    ("POST", "/v1/exec", b'{"argv":["true"],"env":{"":"x"}}', 400, "BAD_VALUE", "env."),
    ("POST", "/v1/exec", b'{"argv":["true"],"env":{"A":{"base64":"AA=="}}}', 400, "BAD_VALUE", "env.A"),
    ("POST", "/v1/exec", b'{"argv":["true",{"base64":"YQ"}]}', 400, "BAD_VALUE", "argv[1]"),
    ("POST", "/v1/exec", b'{"argv":["true",{"base64":"YQ==","x":""}]}', 400, "BAD_VALUE", "argv[1]"),
    ("POST", "/v1/exec", b'{"argv":["true"],"env":{"A":1}}', 400, "BAD_VALUE", "env.A"),
    ("POST", "/v1/exec", b'{"argv":["true"],"cwd":"tmp"}', 400, "BAD_VALUE", "cwd"),
    ("POST", "/v1/exec", b'{"argv":["true"],"timeoutMs":0}', 400, "BAD_VALUE", "timeoutMs"),
    ("POST", "/v1/exec", b'{"argv":["true"],"timeoutMs":1e3}', 400, "BAD_VALUE", "timeoutMs"),
    ("POST", "/v1/exec", b'{"argv":["true"],"timeoutMs":604800001}', 400, "BAD_VALUE", "timeoutMs"),
    ("POST", "/v1/exec", b'{"argv":["true"],"wait":"no"}', 400, "BAD_VALUE", "wait"),
    ("POST", "/v1/exec", b'{"argv":["true"],"stdin":"Zg==","stdinEncoding":"hex"}', 400, "BAD_VALUE", "stdinEncoding"),
    ("POST", "/v1/exec", b'{"argv":["true"],"stdin":"Zg","stdinEncoding":"base64"}', 400, "BAD_VALUE", "stdin"),
    ("POST", "/v1/exec", b'{"argv":["true"],"stdinEncoding":"base64"}', 400, "BAD_VALUE", "stdinEncoding"),
    ("POST", "/v1/exec", b'{"argv":["true"],"context":"nope"}', 404, "NO_SUCH_CONTEXT", None),
    ("POST", "/v1/exec", b'{"argv":["true"],"context":"../secure"}', 404, "NO_SUCH_CONTEXT", None),
    ("GET", "/v1/processes/x0", b"", 404, "NO_SUCH_PROCESS", None),
    ("GET", "/v1/processes/x99999999999999999999999", b"", 404, "NO_SUCH_PROCESS", None),
    ("GET", "/v1/processes/..", b"", 404, "NO_SUCH_PROCESS", None),
    ("POST", "/v1/processes/x999999/signal", b'{"signal":9}', 404, "NO_SUCH_PROCESS", None),
    ("DELETE", "/v1/processes/x999999", b"", 404, "NO_SUCH_PROCESS", None),
    ("GET", "/v1/nothing", b"", 404, "NOT_FOUND", None),
    ("GET", "/v1/%73tatus", b"", 404, "NOT_FOUND", None),
    ("GET", "/v1/status%00", b"", 404, "NOT_FOUND", None),
    ("GET", "/", b"", 404, "NOT_FOUND", None),
    ("GET", "/v1/exec", b"", 405, "METHOD_NOT_ALLOWED", None),
    ("BREW", "/v1/status", b"", 405, "METHOD_NOT_ALLOWED", None),
    ("GET", "/v1/status?verbose=1", b"", 400, "UNKNOWN_FIELD", "verbose"),
    ("GET", "/v1/events?since=-1", b"", 400, "BAD_VALUE", "since"),
    ("GET", "/v1/events?since=99999999999999999999", b"", 400, "BAD_VALUE", "since"),
    ("GET", "/v1/events?follow=1", b"", 400, "BAD_VALUE", "follow"),
    ("GET", "/v1/events?since=1&since=2", b"", 400, "BAD_VALUE", "since"),
    ("GET", "/v1/events?since", b"", 400, "BAD_VALUE", "since"),
    ("HEAD", "/v1/exec", b"", 405, None, None),
    ("HEAD", "/v1/events", b"", 405, None, None),
    ("GET", "http://moat/v1/nothing", b"", 404, "NOT_FOUND", None),
]


@test("every wrong request has its status, code and field, and starts nothing", needs=("moat",), timeout=60)
def wrong_requests(session):
    before = session.api.get("/v1/status")["execs"]["started"]
    for method, path, body, expected, code, field in WRONG:
        with Raw(session) as raw:
            raw.send(http(method, path, body))
            if method == "HEAD":
                assert raw.read_head().startswith(b"HTTP/1.1 %d " % expected), (method, path)
                continue
            found, answer = raw.read_answer()
        what = (method, path, body[:60], found, answer)
        assert found == expected and answer["code"] == code and answer["message"], what
        assert answer.get("details", {}).get("field") == field, what
    assert session.api.get("/v1/status")["execs"]["started"] == before
    unharmed(session)


@test("405 names the methods that the path knows; HEAD has no body", needs=("moat",))
def allow(session):
    with Raw(session) as raw:
        text = raw.send(http("PUT", "/v1/processes/x1", b"", "Connection: close")).read()
        assert b"405" in text.split(b"\r\n")[0] and b"Allow: GET, HEAD, DELETE\r\n" in text, text


@test("HEAD answers as GET does, without the body; a target may have its origin before it", needs=("moat",))
def head_and_origin(session):
    for path in ("/v1/health", "/v1/status", "/metrics"):
        with Raw(session) as raw:
            text = raw.send(http("HEAD", path, b"", "Connection: close")).read()
            assert text.startswith(b"HTTP/1.1 200 ") and text.endswith(b"\r\n\r\n") and text.count(b"\r\n\r\n") == 1, (path, text)
    instance = session.api.request("POST", "/v1/exec", {"argv": ["/bin/true"]}).json["instance"]
    for path in ("http://moat/v1/health", "HTTP://x:80/v1/health"):
        with Raw(session) as raw:
            assert raw.send(http("GET", path)).read_answer() == (200, {"status": "ok", "instance": instance}), path


@test("a request that could end in two places is refused, and what follows it is not heard", needs=("moat",))
def ambiguous_length(session):
    started = session.api.get("/v1/status")["execs"]["started"]
    hidden = http("POST", "/v1/exec", exec_body("/bin/true"))
    whole = "Content-Length: %d" % len(hidden)
    for lines in (["Content-Length: 0", whole], [whole, "Content-Length: 0"], ["Content-Length: 0", "Content-Length: 0"],
                  ["Content-Length: 0", "Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked", "Content-Length: 0"],
                  ["Transfer-Encoding: identity"], ["Transfer-Encoding: gzip, chunked"],
                  ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], ["Content-Length : 0"], ["Content-Length: -1"],
                  ["Content-Length: +0"], ["Content-Length: 0, 0"], ["Content-Length: 0x0"]):
        with Raw(session) as raw:
            raw.send(("GET /v1/health HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode() + hidden)
            text = raw.read()
        assert text.startswith(b"HTTP/1.1 400 ") and b"HTTP/1.1 200" not in text, (lines, text)
    assert session.api.get("/v1/status")["execs"]["started"] == started


@test("a stream is sent to who accepts it, and q=0 says that one does not", needs=("moat",))
def accepts_stream(session):
    for accept, streams in (("application/x-ndjson", True), ("application/json, application/x-ndjson; q=0.5", True),
                            ("APPLICATION/X-NDJSON;charset=utf-8", True), ("application/x-ndjson;q=0", False),
                            ("application/x-ndjson; q=0.000 , */*", False), ("application/x-ndjson-like", False), ("*/*", False)):
        with Raw(session) as raw:
            text = raw.send(http("POST", "/v1/exec", exec_body("/bin/true"), f"Accept: {accept}\r\nConnection: close")).read()
        assert (b"\r\nContent-Type: application/x-ndjson\r\n" in text) == streams, (accept, text)


@test("a body that is announced or sent too large is 413 with the limit", needs=("moat",), timeout=60)
def too_large(session):
    with Raw(session) as raw:
        raw.send(b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        found, answer = raw.read_answer()
        assert found == 413 and answer["code"] == "BODY_TOO_LARGE" and answer["details"]["limit"] == BODY_MAX, answer
    with Raw(session) as raw:
        raw.send(b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        raw.send(chunked(*[b" " * 65536] * 40))
        found, answer = raw.read_answer()
        assert found == 413 and answer["code"] == "BODY_TOO_LARGE", answer
    with Raw(session) as raw:  # without end: hung up on
        raw.send(b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        raw.send(chunked(*[b" " * 65536] * 400, end=b""))
        raw.read()
    fits = exec_body("/bin/true")
    reply = session.api.request("POST", "/v1/exec", fits + b" " * (BODY_MAX - len(fits)))
    assert reply.status == 200, reply
    reply = session.api.request("POST", "/v1/exec", fits + b" " * (BODY_MAX - len(fits) + 1))
    assert reply.status == 413, reply
    unharmed(session)


@test("an error does not repeat what stood in the body", needs=("moat",))
def errors_quote_nothing(session):
    for body in (b'{"argv":["true"],"env":{"A":"s3cr3t-7788" x}}', b'{"argv":["true"],"env":{"A":["s3cr3t-7788"]}}',
                 b'{"argv":["true"],"cwd":"s3cr3t-7788"}'):
        reply = session.api.request("POST", "/v1/exec", body)
        assert reply.status == 400 and b"s3cr3t" not in reply.body, reply
    assert "s3cr3t" not in session.agent.log()


# HTTP

@test("one connection takes many requests, also sent before their answers, and keeps their order", needs=("moat",))
def pipelined(session):
    with Raw(session) as raw:
        for number in range(20):
            raw.send(http("POST", "/v1/exec", exec_body("/bin/echo", str(number))))
            if number % 5 == 0:
                raw.send(http("GET", "/v1/nothing", b"ignored"))
        answers = []
        for number in range(20):
            answers.append(raw.read_answer()[1]["stdout"])
            if number % 5 == 0:
                assert raw.read_answer()[1]["code"] == "NOT_FOUND"
        assert answers == [f"{number}\n" for number in range(20)], answers


@test("a body may come chunked, byte by byte, or after 100-continue", needs=("moat",))
def body_forms(session):
    body = exec_body("/bin/echo", "hello")
    with Raw(session) as raw:
        raw.send(b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body[:5], body[5:]))
        assert raw.read_answer()[1]["stdout"] == "hello\n"
        for byte in http("POST", "/v1/exec", body):
            raw.send(bytes([byte]))
        assert raw.read_answer()[1]["stdout"] == "hello\n"
        raw.send(http("POST", "/v1/exec", b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: %d" % len(body)))
        assert raw.socket.recv(100).startswith(b"HTTP/1.1 100")
        raw.send(body)
        assert raw.read_answer()[1]["stdout"] == "hello\n"


@test("a client that closes only its sending side gets its answer", needs=("moat",))
def half_closed(session):
    with Raw(session) as raw:
        raw.send(http("POST", "/v1/exec", exec_body("/bin/sh", "-c", "sleep 0.2; echo late"), "Connection: close"))
        raw.socket.shutdown(socket.SHUT_WR)
        assert b'"late\\n"' in raw.read()


@test("a stream over HTTP/1.0 ends with the connection", needs=("moat",))
def old_http(session):
    body = exec_body("/bin/echo", "hello")
    with Raw(session) as raw:
        raw.send(b"POST /v1/exec HTTP/1.0\r\nAccept: application/x-ndjson\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        lines = raw.read().split(b"\r\n\r\n", 1)[1].splitlines()
        assert [json.loads(line)["type"] for line in lines] == ["start", "stdout", "exit"], lines


# Streams

def output_of(events, kind):
    return b"".join(base64.b64decode(each["data"]) if each.get("encoding") == "base64" else each["data"].encode()
                    for each in events if each["type"] == kind)


@test("UTF-8 that is written in pieces stays text in a stream", needs=("moat",), timeout=60)
def split_utf8(session):
    script = r"for b in '\303' '\244' '\342' '\202' '\254' '\360' '\237' '\230' '\200'; do printf $b; sleep 0.05; done"
    events = list(session.api.stream("/bin/sh", "-c", script))
    assert not any("encoding" in each for each in events), events
    assert output_of(events, "stdout").decode() == "ä€😀", events
    events = list(session.api.stream("/usr/bin/printf", r"ok\342\202"))
    assert output_of(events, "stdout") == b"ok\xe2\x82" and events[-1]["type"] == "exit", events


@test("binary output streams whole", needs=("moat",), timeout=60)
def binary(session):
    data = random.Random(1).randbytes(1300000)
    events = list(session.api.stream("/bin/cat", stdin=base64.b64encode(data).decode(), stdinEncoding="base64"))
    assert output_of(events, "stdout") == data
    assert events[-1]["stdoutBytes"] == len(data) and events[-1]["truncated"] is False, events[-1]
    assert [each["seq"] for each in events] == list(range(1, len(events) + 1))


@test("a stream is an ordinary error when the command cannot be started", needs=("moat",))
def stream_refused(session):
    for argv, fields, code in ((["no-such-command"], {}, "COMMAND_NOT_FOUND"), (["/bin/true"], {"cwd": "/nonexistent"}, "BAD_DIRECTORY"),
                               (["/bin/true"], {"wait": False}, "BAD_VALUE")):
        try:
            events = list(session.api.stream(*argv, **fields))
        except Refused as error:
            assert error.code == code, error
        else:
            raise AssertionError(f"{argv} was started: {events}")


@test("a slow client holds the command back instead of filling the agent's memory, and loses nothing", needs=("moat",), timeout=120)
def slow_client(session):
    size = 32 * 1024 * 1024
    argv = ["/bin/sh", "-c", f"yes 12345678901234567890123456789012345678901234567890123456789012 | head -c {size}"]

    def resident():
        with open(f"/proc/{session.agent.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    connection = Connection(session.agent.socket, 600)
    connection.request("POST", "/v1/exec", body=exec_body(*argv), headers={"Accept": "application/x-ndjson"})

    def command():
        return next((each for each in reversed(session.api.get("/v1/processes")["processes"]) if each["argv"] == argv), None)
    procs.wait_until(lambda: (each := command()) and each["stdoutBytes"] > 0, 20, "its first output")
    time.sleep(1)
    held = command()
    assert held["state"] == "running" and held["stdoutBytes"] < 4 * 1024 * 1024, held
    assert resident() - before < 16 * 1024 * 1024, (before, resident())
    total, last = 0, None
    for line in connection.getresponse():
        last = json.loads(line)
        total += len(last.get("data", ""))
    connection.close()
    assert last["type"] == "exit" and last["stdoutBytes"] == total == size, (last, total)
    unharmed(session)


# Peers

@test("a process with another uid is refused, and so is every request of it", needs=("moat",))
def other_uid(session):
    os.chmod(session.agent.state_dir, 0o755)
    os.chmod(session.agent.socket, 0o666)
    try:
        script = ("import os,socket,sys; os.setgid(65534); os.setuid(65534); s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
                  "s.sendall(b'GET /v1/health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(s.recv(4096).decode())")
        done = subprocess.run(["/usr/bin/python3", "-c", script, session.agent.socket], capture_output=True, text=True, check=False,
                              timeout=120)
    finally:
        os.chmod(session.agent.socket, 0o600)
        os.chmod(session.agent.state_dir, 0o700)
    assert " 403 " in done.stdout and '"FORBIDDEN"' in done.stdout, done
    unharmed(session)
