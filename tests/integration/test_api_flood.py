# SPDX-License-Identifier: Apache-2.0
"""Clients that go away, floods and garbage: no input ends the agent, and nothing of it stays."""

import base64
import os
import random
import resource
import socket
import threading
import time

from lib import procs
from lib.rawhttp import Raw, descriptors, exec_body, http, settles, unharmed
from lib.tap import test


@test("clients that go away while they wait or read leave no descriptor, and their commands go on", needs=("moat",), timeout=60)
def gone(session):
    before = descriptors(session)
    marker = os.path.join("/tmp", f"moat-gone-{os.getpid()}")
    for accept in ("application/json", "application/x-ndjson"):
        raws = [Raw(session) for _ in range(50)]
        for raw in raws:
            raw.send(http("POST", "/v1/exec", exec_body("/bin/sh", "-c", "yes & sleep 0.5; kill $!"), f"Accept: {accept}"))
        time.sleep(0.2)
        for raw in raws:
            raw.socket.close()
        # An answer to nobody: the connection is gone long before the command is.
        argv = ["/bin/sh", "-c", f"sleep 0.5; echo x >> {marker}", accept]
        raw = Raw(session)
        raw.send(http("POST", "/v1/exec", exec_body(*argv), f"Accept: {accept}"))
        procs.wait_until(lambda: any(each["argv"] == argv and each["state"] != "starting" for each in session.api.get("/v1/processes")["processes"]),
                         20, "the command to start")
        raw.socket.close()
    procs.wait_until(lambda: session.exec("/bin/cat", marker).out == "x\nx\n", 20, "both commands to end")
    session.exec("/bin/rm", "-f", marker)
    procs.wait_until(lambda: session.api.get("/v1/status")["connections"] <= 2, 10,
                     "the connections to be closed")
    settles(session, before)
    unharmed(session)


@test("a client that waits for a command without end and goes away frees its connection at once", needs=("moat",))
def gone_for_good(session):
    raws = [Raw(session) for _ in range(20)]
    for raw in raws:
        raw.send(http("POST", "/v1/exec", exec_body("/bin/sleep", "86411")))
    procs.wait_until(lambda: session.api.get("/v1/status")["connections"] >= 20, 10, "the connections")
    for raw in raws:
        raw.socket.close()
    procs.wait_until(lambda: session.api.get("/v1/status")["connections"] <= 2, 10,
                     "the connections to be closed")
    left = [each for each in session.api.get("/v1/processes")["processes"] if each["argv"] == ["/bin/sleep", "86411"]]
    for each in left:
        session.api.kill(each["id"])
    assert len(left) == 20, left


@test("requests cut off at every byte do no harm", needs=("moat",), timeout=90)
def truncated(session):
    before = descriptors(session)
    whole = http("POST", "/v1/exec", exec_body("/bin/true"), "Accept: application/x-ndjson")
    for end in range(len(whole) + 1):
        with Raw(session) as raw:
            raw.send(whole[:end])
            if end % 3 == 0:
                raw.socket.shutdown(socket.SHUT_WR)
    settles(session, before)
    unharmed(session)


GARBAGE = [
    b"\0" * 100, b"\r\n" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1000000 + b"\r\n\r\n",
    b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n",
    b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
    b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
    b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}junk\r\n0\r\n\r\n",
    b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500,
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/events HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET /v1/status? HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /v1/status?&&=&a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://moat/v1/status HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /v1/health HTTP/1.1\r\nHost: x\r\nCookie: a=b; c\r\n\r\n",
]


@test("what is not HTTP, or nearly HTTP, is refused or dropped and does no harm", needs=("moat",), timeout=250)
def garbage(session):
    before = descriptors(session)
    started = session.api.get("/v1/status")["execs"]["started"]
    for text in GARBAGE:
        # The end of a half-closed connection is seldom overlooked by libmicrohttpd: then the agent's deadline of 30 s ends it.
        # The test's own timeout is enough for all of them.
        with Raw(session, timeout=40) as raw:
            raw.send(text)
            raw.socket.shutdown(socket.SHUT_WR)
            raw.read()
    numbers = random.Random(5)
    seed = http("POST", "/v1/exec", b'{"argv":[],"env":{"A":"b"},"timeoutMs":5}', "Accept: application/x-ndjson")
    for _ in range(1500):
        data = bytearray(seed)
        for _ in range(numbers.randint(1, 12)):
            at = numbers.randrange(len(data))
            how = numbers.randrange(3)
            if how == 0:
                data[at] = numbers.randrange(256)
            elif how == 1:
                del data[at:at + numbers.randint(1, 9)]
            else:
                data[at:at] = numbers.randbytes(numbers.randint(1, 9))
            if not data:
                data = bytearray(b"x")
        with Raw(session) as raw:
            raw.send(bytes(data) if numbers.random() < 0.8 else numbers.randbytes(200))
    assert session.api.get("/v1/status")["execs"]["started"] == started
    settles(session, before)
    unharmed(session)


@test("a thousand connections at once are all served", needs=("moat",), timeout=180)
def thousand(session):
    before = descriptors(session)
    raws = []
    for number in range(1000):  # each asks at once: a connection that says nothing for 30 s is hung up on
        raws.append(Raw(session, timeout=100))
        raws[-1].send(http("POST", "/v1/exec", exec_body("/bin/echo", str(number))))
    for number, raw in enumerate(raws):
        found, answer = raw.read_answer()
        assert found == 200 and answer["stdout"] == f"{number}\n", answer
    for raw in raws:
        raw.socket.close()
    settles(session, before)
    unharmed(session)


@test("ten thousand idle connections neither end the agent nor keep a new client out", needs=("moat",), timeout=180)
def ten_thousand(session):
    before = descriptors(session)
    limit = min(10000, len_limit() - 200)
    raws, lock = [], threading.Lock()

    def connect(count):
        for _ in range(count):
            raw = Raw(session, timeout=60)
            with lock:
                raws.append(raw)

    threads = [threading.Thread(target=connect, args=(limit // 4,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(raws) == limit // 4 * 4, len(raws)
    began = time.monotonic()
    unharmed(session)
    assert time.monotonic() - began < 10 * procs.SLACK
    assert session.api.get("/v1/status")["connections"] <= 2048
    for raw in raws:
        raw.socket.close()
    settles(session, before)


@test("requests that wait cannot take the last connections: there is always one to look and to kill with", needs=("moat",), timeout=120)
def busy(session):
    before = descriptors(session)
    identifier = session.api.start("/bin/sleep", "86455")
    len_limit()
    raws = []
    for _ in range(2000):
        raws.append(Raw(session))
        raws[-1].send(http("GET", "/v1/events?follow=true&since=999999"))
    heads = [raw.socket.recv(12) for raw in raws]
    assert heads.count(b"HTTP/1.1 200") == 2048 - 64 and heads.count(b"HTTP/1.1 429") == 16, {each: heads.count(each) for each in heads}
    reply = session.api.request("POST", "/v1/exec", {"argv": ["/bin/true"]})
    assert reply.status == 429 and reply.json["code"] == "TOO_MANY_PROCESSES" and reply.json["details"]["limit"] == 2048 - 64, reply
    assert session.api.process(identifier)["state"] == "running"
    assert session.api.kill(identifier).json["killed"] is True
    for raw in raws:
        raw.socket.close()
    settles(session, before)
    unharmed(session)


@test("clients that do not read what their commands wrote cost a bounded memory and slow nobody down", needs=("moat",), timeout=180)
def unread_answers(session):
    def status():
        with open(f"/proc/{session.agent.pid}/status", encoding="ascii") as file:
            return {line.split(":")[0]: int(line.split()[1]) << 10 for line in file if line.startswith(("VmHWM", "VmRSS"))}

    def seconds_of_status():
        took = []
        for _ in range(15):
            began = time.monotonic()
            session.api.get("/v1/health")
            took.append(time.monotonic() - began)
        return sorted(took)[7]

    descriptors_before = descriptors(session)
    idle = seconds_of_status()
    with open(f"/proc/{session.agent.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    before, bound = status(), session.api.get("/v1/status")["clientMemory"]["max"]
    script = "head -c 1048576 /dev/zero; exec head -c 1048576 /dev/zero >&2"
    raws = [Raw(session, timeout=60) for _ in range(100)]
    for raw in raws:
        raw.send(http("POST", "/v1/exec", exec_body("/bin/sh", "-c", script)))
    procs.wait_until(lambda: session.api.get("/v1/status")["execs"]["running"] == 0, 60, "the commands to end")
    time.sleep(0.2)
    assert seconds_of_status() < 3 * idle + 0.002, (seconds_of_status(), idle)
    peak = status()["VmHWM"] - before["VmRSS"]
    assert peak < bound + (24 << 20), (peak >> 20, bound >> 20)
    kept = 0
    for raw in raws:
        found, answer = raw.read_answer()
        assert found == 200 or answer["code"] == "BUSY", answer
        if found == 200:
            for key in ("stdout", "stderr"):
                data = base64.b64decode(answer[key]) if f"{key}Encoding" in answer else answer[key].encode()
                assert answer[f"{key}Bytes"] == 1048576 and data == bytes(len(data)), (key, len(data))
                assert len(data) == 1048576 or answer["truncated"], (key, len(data))
                kept += len(data)
        raw.socket.close()
    assert kept > bound // 4, (kept >> 20, bound >> 20)
    procs.wait_until(lambda: session.api.get("/v1/status")["clientMemory"]["used"] <= 18 << 20, 10, "what was held to be free")
    procs.wait_until(lambda: status()["VmRSS"] - before["VmRSS"] < 32 << 20, 10, "the memory to go back")
    settles(session, descriptors_before)
    unharmed(session)


def len_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@test("a request that never ends is hung up on after 30 seconds", needs=("moat",), timeout=60)
def stalled(session):
    began = time.monotonic()
    with Raw(session, timeout=50) as header, Raw(session, timeout=50) as body:
        header.send(b"GET /v1/sta")
        body.send(http("POST", "/v1/exec", b"").replace(b"Length: 0", b"Length: 50") + b'{"argv"')
        header.read()
        body.read()
        took = time.monotonic() - began
        assert 25 < took < 30 + 15 * procs.SLACK, took
    unharmed(session)
