# SPDX-License-Identifier: Apache-2.0
"""Ports of the control plane, taken or not, are never user code's. What is not the control plane's is left alone."""

import json
import os
import signal
import socket
import time

from lib import places, procs
from lib.session import BROKEN_PORT, FREE_PORT, HTTP_PORT, SPARE_PORT
from lib.tap import test

CONTEXTS = ("default", "full", "shared")

# Tries to take the port, with everything that could help, for the given seconds or until SIGTERM, but a few times in any case;
# says when it has begun, and then how each attempt ended.
GRAB = """
import collections, errno, json, signal, socket, sys, time
port, seconds = int(sys.argv[1]), float(sys.argv[2])
seen, over = collections.Counter(), []
signal.signal(signal.SIGTERM, lambda *_: over.append(True))
end = time.monotonic() + seconds
while not over and time.monotonic() < end or sum(seen.values()) < 12:
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")):
        with socket.socket(family) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                s.bind((host, port))
                s.listen()
                seen["taken"] += 1
            except OSError as error:
                seen[errno.errorcode[error.errno]] += 1
    if sum(seen.values()) == 3:
        print("begun", flush=True)
    time.sleep(0.001)
print(json.dumps(seen))
"""


def grabbed(out):
    """What GRAB says at its end."""
    begun, counts = out.splitlines()
    assert begun == "begun", out
    return json.loads(counts)


def in_use(result):
    return result.exit not in (0, None) and "Address already in use" in result.err


@test("python3 -m http.server on a port whose service does not listen: Address already in use", needs=("moat", "lsm"), timeout=60)
def python_server(session):
    for context in CONTEXTS:
        result = session.exec(places.PYTHON, "-m", "http.server", str(SPARE_PORT), context=context, timeoutMs=300000)
        assert in_use(result), (context, result)


@test("nc -l on a port whose service does not listen: Address already in use", needs=("moat", "lsm"))
def netcat(session):
    for context in CONTEXTS:
        result = session.exec("nc", "-l", str(SPARE_PORT), context=context, timeoutMs=300000)
        assert in_use(result), (context, result)


@test("the same on the port of a service that is down between crash and restart", needs=("moat", "lsm"), timeout=60)
def down_service(session):
    for context in CONTEXTS:
        result = session.exec("nc", "-l", str(BROKEN_PORT), context=context, timeoutMs=300000)
        assert in_use(result), (context, result)
        result = session.exec(places.PYTHON, "-c", GRAB, str(BROKEN_PORT), "0.2", context=context)
        assert set(grabbed(result.out)) == {"EADDRINUSE"}, (context, result)


@test("while the real server is killed and comes back nobody gets its port, not with SO_REUSEPORT either",
      needs=("moat", "lsm", "http"), timeout=90)
def restart_gap(session):
    before = session.agent.service("http")
    grabbers = [session.api.start(places.PYTHON, "-c", GRAB, str(HTTP_PORT), "inf", context=context) for context in CONTEXTS]
    for identifier in grabbers:
        procs.wait_until(lambda identifier=identifier: session.api.process(identifier)["stdout"] == "begun\n", 20, "it tries")
    gaps = 0
    end = time.monotonic() + 3 * session.patience
    while not gaps or time.monotonic() < end:
        pid = session.agent.wait_ready("http", 30)["pid"]
        os.kill(pid, signal.SIGKILL)
        procs.wait_until(lambda pid=pid: not taken(HTTP_PORT) or session.agent.service("http")["pid"] != pid, 10, "the port is free")
        gaps += not taken(HTTP_PORT)
        procs.wait_until(lambda pid=pid: session.agent.service("http")["pid"] != pid, 10, "the agent has noticed")
    session.agent.wait_ready("http", 30)
    for identifier in grabbers:
        assert session.api.request("POST", f"/v1/processes/{identifier}/signal", {"signal": "SIGTERM"}).status == 200
        ended = procs.wait_until(
            lambda identifier=identifier: (p := session.api.process(identifier))["state"] == "ended" and p, 30, "it ended")
        counts = grabbed(ended["stdout"])
        assert set(counts) == {"EADDRINUSE"} and counts["EADDRINUSE"] > 10, (ended["context"], counts)
    after = session.agent.service("http")
    assert after["restarts"] > before["restarts"] and after["pid"] != before["pid"], after
    assert session.health()["pid"] == after["pid"]


def taken(port):
    with socket.socket() as each:
        return each.connect_ex(("127.0.0.1", port)) == 0


@test("a port that is nobody's can be bound, listened on and reached", needs=("moat",))
def free_port(session):
    program = (f"import socket; s = socket.create_server(('127.0.0.1', {FREE_PORT})); "
               f"c = socket.create_connection(('127.0.0.1', {FREE_PORT})); s.accept()[0].send(b'x'); print(c.recv(1))")
    for context in CONTEXTS:
        result = session.exec(places.PYTHON, "-c", program, context=context)
        assert result.out == "b'x'\n", (context, result)


@test("in a network namespace of its own user code may bind any port", needs=("moat",))
def own_network(session):
    result = session.exec("/usr/bin/unshare", "--net", places.PYTHON, "-c",
                          f"import socket; socket.create_server(('0.0.0.0', {SPARE_PORT})); print('bound')", context="full")
    assert result.out == "bound\n", result


@test("the kernel does not give a guarded port away by itself", needs=("moat", "lsm"))
def reserved(session):
    with open("/proc/sys/net/ipv4/ip_local_reserved_ports", encoding="ascii") as file:
        ranges = [part.split("-") for part in file.read().strip().split(",") if part]
    reserved_ports = {port for each in ranges for port in range(int(each[0]), int(each[-1]) + 1)}
    assert {SPARE_PORT, BROKEN_PORT} <= reserved_ports, reserved_ports


@test("who is not user code may bind a guarded port: the service itself, and the rest of the machine", needs=("moat", "lsm"))
def others_may(session):
    with socket.socket() as each:
        each.bind(("127.0.0.1", SPARE_PORT))
    assert session.agent.service("spare")["state"] == "ready"
