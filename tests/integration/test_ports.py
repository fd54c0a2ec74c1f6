# SPDX-License-Identifier: Apache-2.0
"""Ports of the control plane, taken or not, are never user code's. What is not the control plane's is left alone."""

import contextlib
import json
import os
import signal
import socket
import subprocess

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


@test("python3 -m http.server on a port whose service does not listen: Address already in use", needs=("moat", "ports"), timeout=60)
def python_server(session):
    for context in CONTEXTS:
        result = session.exec(places.PYTHON, "-m", "http.server", str(SPARE_PORT), context=context, timeoutMs=300000)
        assert in_use(result), (context, result)


@test("nc -l on a port whose service does not listen: Address already in use", needs=("moat", "ports"))
def netcat(session):
    for context in CONTEXTS:
        result = session.exec("nc", "-l", str(SPARE_PORT), context=context, timeoutMs=300000)
        assert in_use(result), (context, result)


@test("the same on the port of a service that is down between crash and restart", needs=("moat", "ports"), timeout=60)
def down_service(session):
    for context in CONTEXTS:
        result = session.exec("nc", "-l", str(BROKEN_PORT), context=context, timeoutMs=300000)
        assert in_use(result), (context, result)
        result = session.exec(places.PYTHON, "-c", GRAB, str(BROKEN_PORT), "0.2", context=context)
        assert set(grabbed(result.out)) == {"EADDRINUSE"}, (context, result)


@test("while the real server is killed and comes back nobody gets its port, not with SO_REUSEPORT either",
      needs=("moat", "ports", "http"), timeout=90)
def restart_gap(session):
    before = session.agent.service("http")
    grabbers = [session.api.start(places.PYTHON, "-c", GRAB, str(HTTP_PORT), "inf", context=context) for context in CONTEXTS]
    for identifier in grabbers:
        procs.wait_until(lambda identifier=identifier: session.api.process(identifier)["stdout"] == "begun\n", 20, "it tries")
    gaps = 0
    while gaps < 2:
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


@test("what tries to take a port in that gap takes one that nobody guards, without moat and as user code", needs=("moat",))
def gap_without_moat(session):
    alone = subprocess.run([places.PYTHON, "-c", GRAB, str(FREE_PORT), "0.1"], check=True, capture_output=True, text=True)
    assert grabbed(alone.stdout).get("taken"), alone
    for context in CONTEXTS:
        result = session.exec(places.PYTHON, "-c", GRAB, str(FREE_PORT), "0.1", context=context)
        assert grabbed(result.out).get("taken"), (context, result)


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


@test("the kernel does not give a guarded port away by itself", needs=("moat", "ports"))
def reserved(session):
    with open("/proc/sys/net/ipv4/ip_local_reserved_ports", encoding="ascii") as file:
        ranges = [part.split("-") for part in file.read().strip().split(",") if part]
    reserved_ports = {port for each in ranges for port in range(int(each[0]), int(each[-1]) + 1)}
    assert {SPARE_PORT, BROKEN_PORT} <= reserved_ports, reserved_ports


@test("who is not user code may bind a guarded port: the service itself, and the rest of the machine", needs=("moat", "ports"))
def others_may(session):
    with socket.socket() as each:
        each.bind(("127.0.0.1", SPARE_PORT))
    assert session.agent.service("spare")["state"] == "ready"


CONNECT = """
import errno, socket, sys
for word in sys.argv[1:]:
    family, kind, host, port = word.split(",")
    with socket.socket(int(family), int(kind)) as each:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        each.settimeout(5)
        try:
            each.connect((host, int(port)))
            print("ok")
        except OSError as error:
            print(errno.errorcode.get(error.errno, error))
"""


@contextlib.contextmanager
def addresses(session):
    """Of this machine in ways of their own: a net on the loopback device, a broadcast address, an anycast address, local routes."""
    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)
    if subprocess.run(["ip", "link", "add", "moat0", "type", "dummy"], check=False, capture_output=True).returncode:
        session.missing("this kernel has no dummy interfaces")
    forwarding = "/proc/sys/net/ipv6/conf/moat0/forwarding"
    try:
        ip("address", "add", "10.77.0.1/24", "dev", "lo")
        with open(forwarding, "w", encoding="ascii") as file:
            file.write("1")
        ip("address", "add", "10.78.0.1/24", "broadcast", "+", "dev", "moat0")
        ip("link", "set", "moat0", "up")
        ip("address", "add", "fd77::1/64", "dev", "moat0", "nodad")
        ip("route", "add", "local", "192.0.2.0/24", "dev", "lo")
        ip("-6", "route", "add", "local", "2001:db8:1::/48", "dev", "lo")
        yield
    finally:
        subprocess.run(["ip", "link", "delete", "moat0"], check=False, capture_output=True)
        ip("address", "delete", "10.77.0.1/24", "dev", "lo")
        for words in (("route", "delete", "local", "192.0.2.0/24", "dev", "lo"), ("-6", "route", "delete", "local", "2001:db8:1::/48", "dev", "lo")):
            subprocess.run(["ip", *words], check=False, capture_output=True)


@test("a guarded port is out of reach by every address of this machine: a net on the loopback device, broadcast, anycast, local routes", needs=("moat", "ports", "http"))
def other_addresses(session):
    tcp, udp = (f"{socket.AF_INET:d},{kind:d},{{}},{HTTP_PORT}" for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
    anycast = f"{socket.AF_INET6:d},{socket.SOCK_DGRAM:d},fd77::,{HTTP_PORT}"
    ours = [tcp.format("10.77.0.1"), tcp.format("10.77.0.99"), udp.format("10.78.0.1"), udp.format("10.78.0.255"), anycast,
            tcp.format("192.0.2.7"), udp.format("192.0.2.200"), anycast.replace("fd77::", "2001:db8:1:2::3"),
            anycast.replace("fd77::", "::ffff:192.0.2.9")]
    others = [udp.format("10.78.0.2"), anycast.replace("fd77::", "fd77::2")]
    with addresses(session):
        alone = subprocess.run([places.PYTHON, "-c", CONNECT, *ours, *others], check=True, capture_output=True, text=True)
        assert set(alone.stdout.split()) == {"ok"}, alone
        for context in ("full", "shared"):
            result = session.exec(places.PYTHON, "-c", CONNECT, *ours, *others, context=context)
            assert result.out.split() == ["ECONNREFUSED"] * len(ours) + ["ok"] * len(others), (context, result)
