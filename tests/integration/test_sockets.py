# SPDX-License-Identifier: Apache-2.0
"""
Sockets that no configuration lists. The control plane's are closed to user code from the moment it binds them, those of a secure
exec to everybody else's, unix sockets of the rest of the machine unless `reach` names them; between plain contexts nothing is.
"""

import contextlib
import errno
import json
import os
import socket
import subprocess

from lib import places, procs
from lib.principals import A, OTHER, SAME, SECURE, SECURE_TOO, answer, process
from lib.tap import test

CONTEXTS = ("default", "full", "shared", "sealed-shared")

# WORD...: how each ended. connect,PORT  send,PORT  join,PORT  join-udp,PORT  any,PORT  share,PORT  unix,NAME  unlink,PATH  rename,PATH  replace,PATH
TRY = """
import errno, os, socket, sys

def unix(name):
    with socket.socket(socket.AF_UNIX) as each:
        each.connect(name.replace("@", chr(0)))

def inet(kind, port, act):
    with socket.socket(socket.AF_INET, kind) as each:
        each.settimeout(20)
        act(each, ("127.0.0.1", int(port)))

def share(each, address):
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    each.sendto(b"x", address)

def replace(path):
    with open(path + ".mine", "w"):
        os.rename(path + ".mine", path)

def listen(each, address):
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    each.bind(address)
    if each.type == socket.SOCK_STREAM:
        each.listen()

ways = {
    "connect": lambda port: inet(socket.SOCK_STREAM, port, lambda each, address: each.connect(address)),
    "send": lambda port: inet(socket.SOCK_DGRAM, port, lambda each, address: each.sendto(b"x", address)),
    "join": lambda port: inet(socket.SOCK_STREAM, port, listen),
    "join-udp": lambda port: inet(socket.SOCK_DGRAM, port, listen),
    "any": lambda port: inet(socket.SOCK_DGRAM, port, lambda each, address: each.bind(address)),
    "share": lambda port: inet(socket.SOCK_DGRAM, port, share),
    "unix": unix, "unlink": os.unlink, "rename": lambda path: os.rename(path, path + ".moved"), "replace": replace,
}
for word in sys.argv[1:]:
    way, what = word.split(",")
    try:
        ways[way](what)
        print("ok")
    except OSError as error:
        print(errno.errorcode.get(error.errno, error))
"""


def tried(session, context, *words):
    """What user code of the context gets; None: a process that moat does not judge."""
    if context:
        return session.exec(places.PYTHON, "-c", TRY, *words, context=context).out.split()
    return subprocess.run([places.PYTHON, "-c", TRY, *words], check=True, capture_output=True, text=True).stdout.split()


def service_path(session):
    path = f"{session.scratch}/listening/service.socket"
    procs.wait_until(lambda: os.path.exists(path + ".json"), 60, "the service listens")
    return path


def unlisted(session):
    with open(service_path(session) + ".json", encoding="ascii") as file:
        return json.load(file)


@test("a port that a service uses without listing it is closed as those are that it lists: to connect and send to, and to join",
      needs=("moat", "lsm"), timeout=120)
def unlisted_ports(session):
    ports = unlisted(session)
    reach = [f"connect,{ports['bound']}", f"connect,{ports['unbound']}", f"send,{ports['udp']}"]
    join = [f"join,{ports['bound']}", f"join,{ports['unbound']}", f"join-udp,{ports['udp']}"]
    for context in CONTEXTS:
        got = tried(session, context, *reach, *join)
        assert got == ["ECONNREFUSED"] * 3 + ["EADDRINUSE"] * 3, (context, got)
    got = tried(session, None, *reach, f"join,{ports['bound']}", f"join-udp,{ports['udp']}")
    assert got == ["ok"] * 5, got


@test("where a service shares the port of a datagram socket, user code is not given that port by chance", needs=("moat", "lsm"), timeout=120)
def shared_by_chance(session):
    unlisted(session)
    for context in CONTEXTS:
        got = tried(session, context, "join-udp,0", "share,9", "any,0", "send,9")
        assert got == ["EADDRINUSE", "EADDRINUSE", "ok", "ok"], (context, got)
    assert tried(session, None, "join-udp,0", "share,9") == ["ok", "ok"]


@test("a unix socket of a service is closed, with a file or without, unless the service says reachable; its file stays where it is",
      needs=("moat", "lsm"), timeout=120)
def unix_sockets(session):
    path = service_path(session)
    words = [f"unix,{path}", f"unlink,{path}", f"rename,{path}", f"replace,{path}", f"rename,{session.scratch}/listening", f"unix,@{session.instance}",
             f"unix,@{session.instance}.open"]
    for context in CONTEXTS:
        got = tried(session, context, *words)
        assert got == ["EPERM"] * 6 + ["ok"], (context, got)
    assert tried(session, None, words[0], words[5], words[6]) == ["ok"] * 3


@contextlib.contextmanager
def listener(address):
    with socket.socket(socket.AF_UNIX) as each:
        each.bind(address)
        each.listen()
        try:
            yield
        finally:
            if address[0] != "\0":
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(address)


@test("unix sockets of the rest of the machine are closed to user code, unless reach names them; it may still remove their files",
      needs=("moat", "lsm"), timeout=120)
def machine_sockets(session):
    path, name = f"{session.scratch}/machine.socket", f"@{session.instance}.machine"
    words = [f"unix,{path}", f"unix,{name}", f"unix,@{session.instance}.reach"]
    with listener(path), listener(name.replace("@", "\0")), listener(f"\0{session.instance}.reach"):
        for context in CONTEXTS:
            got = tried(session, context, *words)
            assert got == ["EPERM", "EPERM", "ok"], (context, got)
        assert tried(session, None, *words) == ["ok"] * 3
        assert tried(session, "full", f"unlink,{path}") == ["ok"]


@test("user code of one plain context reaches the servers of another", needs=("moat", "lsm"), timeout=120)
def between_contexts(session):
    serve = ("import socket, time; tcp = socket.create_server(('127.0.0.1', 0)); unix = socket.socket(socket.AF_UNIX); "
             "unix.bind('\\0' + str(tcp.getsockname()[1])); unix.listen(); print(tcp.getsockname()[1], flush=True); time.sleep(600)")
    identifier = session.api.start(places.PYTHON, "-c", serve, context="other")
    port = int(procs.wait_until(lambda: session.api.process(identifier)["stdout"], 60, "it listens"))
    for context in ("default", "shared", "other"):
        got = tried(session, context, f"connect,{port}", f"unix,@{port}")
        assert got == ["ok", "ok"], (context, got)
    got = tried(session, "sealed-shared", f"connect,{port}", f"unix,@{port}")  # a secure exec hands its secret to no stranger
    assert got == ["ECONNREFUSED", "EPERM"], got
    session.api.request("POST", f"/v1/processes/{identifier}/signal", {"signal": "SIGKILL"})


def serve():
    global kept  # pylint: disable=global-statement
    unix, datagrams = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.create_server(("127.0.0.1", 0), reuse_port=True)
    port = tcp.getsockname()[1]
    datagrams.bind(("127.0.0.1", port))
    unix.bind(f"\0moat-test-{port}")
    unix.listen()
    kept = tcp, unix, datagrams
    return str(port)


def each_way(port):
    """TCP, UDP, unix; and joining TCP."""
    def inner():
        said = []
        for way in (lambda: socket.create_connection(("127.0.0.1", port), 20).close(),
                    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)),
                    lambda: socket.socket(socket.AF_UNIX).connect(f"\0moat-test-{port}"),
                    lambda: socket.create_server(("127.0.0.1", port), reuse_port=True).close()):
            try:
                way()
                said.append("ok")
            except OSError as error:
                said.append(errno.errorcode[error.errno])
        return " ".join(said)
    return inner


@test("what a secure exec listens on is its own; of others' it reaches what its own context has", needs=("moat", "lsm"), timeout=120)
def secure_execs(session):
    free, closed = "ok ok ok ok", "ECONNREFUSED ECONNREFUSED EPERM EADDRINUSE"
    with process(session, SECURE, serve) as port:
        got = [answer(session, label, each_way(int(port))) for label in (None, SECURE, SECURE_TOO, SAME, OTHER)]
        assert got == [free, free, closed, closed, closed], got
    with process(session, A, serve) as port:
        got = [answer(session, label, each_way(int(port))) for label in (A, SAME, SECURE_TOO, OTHER, {**OTHER, "secure": True})]
        assert got == [free, free, free, free, closed], got


@test("a port is free again when the socket that had it is gone, also where the service ends", needs=("moat", "lsm"), timeout=120)
def released(session):
    with process(session, SECURE, serve) as port:
        port = int(port)
        assert answer(session, OTHER, each_way(port)).startswith("ECONNREFUSED"), port
    procs.wait_until(lambda: answer(session, OTHER, serve_at(port)) == "ok", 30, "the port is free")


def serve_at(port):
    def inner():
        socket.create_server(("127.0.0.1", port)).close()
        return "ok"
    return inner
