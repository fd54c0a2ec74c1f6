# SPDX-License-Identifier: Apache-2.0
"""An agent beside another one, after one that died, in a /proc that is not its own, and with a loop that fails."""

import contextlib
import os
import subprocess

from lib import moatd, places, procs
from lib.session import HTTP_PORT
from lib.tap import test

STATUS = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"GET /v1/status HTTP/1.1\\r\\nHost: m\\r\\nConnection: close\\r\\n\\r\\n")
print(s.recv(4096).decode().split("\\r\\n")[0])
"""
CONNECT = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20); print('connected')"


@contextlib.contextmanager
def agent(session, name, sections=""):
    each = moatd.Moatd(session.build, f"{name}-{os.getpid()}", sections, "best-effort")
    try:
        yield each.start(60)
    finally:
        each.kill()
        each.remove_files()


@test("user code of one instance is refused by the socket of another, whatever leads there, and sees none of its processes; its ports it reaches",
      needs=("moat", "http"), timeout=60)
def two(session):
    with agent(session, "second", "[context all]\ncapabilities = all\n[context beside]\npid = shared\n") as second:
        for path in (session.agent.socket, session.agent.alias):
            own = subprocess.run([places.PYTHON, "-c", STATUS, path], capture_output=True, text=True, check=False, timeout=60)
            assert own.stdout == "HTTP/1.1 200 OK\n", own
            for fields in ({}, {"context": "all"}, {"context": "beside"}, {"env": {"A": "b"}}):
                result = second.api().exec(places.PYTHON, "-c", STATUS, path, **fields)
                assert result.out == "HTTP/1.1 403 Forbidden\n" or "Permission" in result.err, (path, fields, result)
        service = session.agent.service("http")["pid"]
        assert second.api().exec("/bin/kill", "-0", str(service)).exit == 1
        result = second.api().exec(places.PYTHON, "-c", CONNECT, str(HTTP_PORT))
        assert result.out == "connected\n", result  # THREATS.md, What is left


@test("an id of an agent that is gone names nothing of the next one: its output is not told, and nothing of it ends", needs=(), timeout=60)
def stale_ids(session):
    moat = os.path.join(session.build, "moat")
    with agent(session, "stale") as first:
        old = first.api().start("/bin/sleep", "86471")
        first.process.kill()
        first.process.wait()
        first.unlink_alias()
        first.start(60)
        new = first.api().start("/bin/sh", "-c", "echo secret; exec sleep 86472")
        assert new.split("-")[0] == old.split("-")[0] and new != old, (old, new)  # the same number
        for arguments in (("logs", old), ("kill", old), ("wait", old)):
            done = subprocess.run([moat, *arguments], capture_output=True, text=True, check=False, timeout=60,
                                  env={"MOAT_SOCKET": first.socket})
            assert done.returncode == 125 and "(NO_SUCH_PROCESS)" in done.stderr and "secret" not in done.stdout, (arguments, done)
        for method, suffix in (("GET", ""), ("GET", "/events"), ("DELETE", ""), ("POST", "/signal")):
            reply = first.api().request(method, f"/v1/processes/{old}{suffix}", {"signal": "SIGKILL"} if method == "POST" else None)
            assert (reply.status, reply.json["code"]) == (404, "NO_SUCH_PROCESS"), (method, suffix, reply)
        assert first.api().process(new)["state"] == "running"
        assert first.stop() == (0, [])


@test("where /proc is of another PID namespace the start is refused, and says so", needs=(), timeout=60)
def foreign_proc(session):
    text = f"[moat]\ninstance = foreign-{os.getpid()}\nstate_dir = /run/foreign-{os.getpid()}\nenforce = best-effort\n"
    status, said, _ = moatd.refuse(session.build, text, inside=("unshare", "--pid", "--fork", "--kill-child"), seconds=60)
    assert status == 1 and "/proc" in said and "PID namespace" in said, (status, said)
    assert not os.path.exists(f"/run/foreign-{os.getpid()}")


@test("a loop that fails ends the agent as a stop does: services and commands end, nothing is left, and the status says that it failed",
      needs=(), timeout=60)
def loop_fails(session):
    each = moatd.Moatd(session.build, f"loop-{os.getpid()}", "[service one]\ncommand = /bin/sleep 1000\n", "best-effort")
    try:
        each.start(60)
        service = each.wait_ready("one", 10)["pid"]
        each.api().start("/bin/sleep", "86473")
        command = procs.wait_until(lambda: procs.with_argument("86473"), 10, "the command")[0]
        started = [(pid, procs.start_time(pid)) for pid in (service, command)]
        with subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-p", str(each.pid), "-e", "inject=epoll_wait:error=EBADF"]) as tracer:
            with contextlib.suppress(OSError):
                while each.running():
                    each.api(5).get("/v1/health")  # something happens, so that it waits anew
            status = each.process.wait(60)
            tracer.wait(20)
        assert status == 1 and "the event loop failed: Bad file descriptor" in each.log(), (status, each.log())
        assert not any(procs.alive(*one) for one in started), started
        each.before.reserved = None  # other agents come and go meanwhile
        left = each.before.wait_for_none(set(), each.socket, each.pid)
        assert not left, left
    finally:
        each.kill()
        each.remove_files()
