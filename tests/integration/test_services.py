# SPDX-License-Identifier: Apache-2.0
"""Services live and come back as what they were: labelled, guarded, ready."""

import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time

from lib import moatd, places, procs
from lib.session import FREE_PORT, SECRET
from lib.tap import test


@test("a service has the agent's environment and its own, its own session, and no descriptor of the agent's", needs=("moat", "http"))
def surroundings(session):
    pid = session.agent.service("spare")["pid"]
    assert procs.pgid(pid) == pid, procs.describe(pid)
    assert f"CONTROL_PLANE_SECRET={SECRET}".encode() in procs.environ(session.agent.service("http")["pid"]).split(b"\0")
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"], os.listdir(f"/proc/{pid}/fd")


@test("a service that is killed from outside comes back: another pid, one restart more, the reason said, ready again",
      needs=("moat", "http"), timeout=60)
def restart(session):
    before = session.agent.service("spare")
    os.kill(before["pid"], signal.SIGKILL)
    after = procs.wait_until(
        lambda: (s := session.agent.service("spare"))["state"] == "ready" and s["pid"] != before["pid"] and s, 20, "it is back")
    assert after["restarts"] == before["restarts"] + 1 and after["lastExit"]["signal"] == "SIGKILL", after


@test("a service that came back is protected like the first one", needs=("moat", "lsm", "http"), timeout=60)
def protected_again(session):
    pid = session.agent.service("spare")["pid"]
    answers = session.attempts("shared", session.target_arguments(pid), "kill_kill", "ptrace_attach", "proc_stat", "bind_tcp4")
    assert answers == {"kill_kill": "EPERM", "ptrace_attach": "EPERM", "proc_stat": "ENOENT", "bind_tcp4": "EADDRINUSE"}, answers
    assert session.agent.service("spare")["pid"] == pid


@test("services are listed with state, ports and restarts", needs=("moat", "http"))
def listing(session):
    service = session.agent.service("http")
    assert service["state"] == "ready" and service["ports"][0]["protocol"] == "tcp", service
    assert session.health()["pid"] == service["pid"]


def health(build, socket, *arguments):
    done = subprocess.run([os.path.join(build, "moat"), "health", "--socket", socket, *arguments], capture_output=True, text=True,
                          check=False, env=moatd.clean_environment(), timeout=120)
    return done.returncode, done.stdout, done.stderr


@test("moat health ends with 0 while the agent and, with --ready, its services are well, and else with 1 and a line that says why", needs=(),
      timeout=60)
def healthy(session):
    sections = "[service up]\ncommand = sleep 86451\n[service slow]\ncommand = sleep 86452\nport = 18097\nready = tcp:18097\n"
    agent = moatd.Moatd(session.build, "health", sections, enforce="best-effort")
    try:
        agent.start(60)
        agent.wait_ready("up", 30)
        for arguments in ((), ("up",), ("--ready", "up")):
            assert health(session.build, agent.socket, *arguments) == (0, "ok\n", ""), arguments
        for arguments in (("--ready",), ("slow",)):
            status, out, err = health(session.build, agent.socket, *arguments)
            assert (status, out) == (1, "") and "service slow is starting" in err and err.count("\n") == 1, (status, out, err)
        reply = agent.api().request("GET", "/v1/health?ready")
        assert (reply.status, reply.json["code"]) == (503, "NOT_READY"), reply
        assert agent.api().request("GET", "/v1/health?service=nobody").json["code"] == "NO_SUCH_SERVICE"
        assert health(session.build, agent.socket, "nobody")[0] == 1
        status, left = agent.stop()
        assert (status, left) == (0, []), (status, left)
        assert health(session.build, agent.socket)[0] == 1
    finally:
        agent.kill()
        agent.remove_files()


def adverse():
    """As what wraps moatd may start it: nohup and the like ignore and block signals."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))


WAITS = "import os, socket, sys, time; [time.sleep(0.05) for _ in iter(lambda: os.path.exists(sys.argv[1]), True)]; " \
        "s = socket.create_server((str(), int(sys.argv[2]))); time.sleep(1000)"


@test("a moatd that was started with SIGCHLD ignored and everything blocked tells exit statuses and stops on SIGTERM; READY=1 is said when every "
      "service has been ready, not while one has yet to listen", timeout=90)
def started_adversely(session):
    with tempfile.TemporaryDirectory(prefix="moat-test-") as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{directory}/notify")
        manager.settimeout(60 * session.patience)
        agent = moatd.Moatd(session.build, f"itest-adverse-{os.getpid()}", f"""
[service ends]
command = /bin/sh -c "sleep 0.2; exit 3"
restart = no
[service waits]
command = {places.PYTHON} -c '{WAITS}' {directory}/go {FREE_PORT}
port = {FREE_PORT}
ready = tcp:{FREE_PORT}
""", "best-effort")
        try:
            agent.start(60 * procs.SLACK, preexec_fn=adverse, NOTIFY_SOCKET=f"{directory}/notify")
            ended = procs.wait_until(lambda: (s := agent.service("ends"))["state"] == "exited" and s, 20, "it has ended")
            assert ended["lastExit"] == {"exitCode": 3, "signal": None}, ended
            assert agent.service("waits")["state"] == "starting" and not select.select([manager], [], [], 0.5)[0]
            with open(f"{directory}/go", "w", encoding="ascii"):
                pass
            assert manager.recv(64) == b"READY=1" and agent.service("waits")["state"] == "ready"
            assert agent.stop()[0] == 0 and manager.recv(64) == b"STOPPING=1"
        finally:
            agent.kill()
            agent.remove_files()


@test("a service is not ready because somebody else listens on its port: it says who does, and is ready when it listens itself", timeout=90)
def held_port(session):
    with tempfile.TemporaryDirectory(prefix="moat-test-") as directory:
        agent = moatd.Moatd(session.build, f"itest-held-{os.getpid()}", f"""
[service waits]
command = {places.PYTHON} -c '{WAITS}' {directory}/go {FREE_PORT}
port = {FREE_PORT}
ready = tcp:{FREE_PORT}
start_timeout = 0
""", "best-effort")
        try:
            with socket.create_server(("127.0.0.1", FREE_PORT)):
                agent.start(60 * procs.SLACK)
                said = procs.wait_until(lambda: agent.service("waits")["lastError"], 20, "a reason")
                assert re.fullmatch(rf"port {FREE_PORT} is held by process {os.getpid()} \(.*\) outside of moat", said), said
                time.sleep(0.3)
                assert agent.service("waits")["state"] == "starting"
            with open(f"{directory}/go", "w", encoding="ascii"):
                pass
            assert agent.wait_ready("waits", 20)["lastError"] is None
        finally:
            agent.stop()
            agent.remove_files()


LISTENER = """
import os, socket, time
held = []
for kind, where in ((socket.SOCK_STREAM, ("127.0.0.1", {0})), (socket.SOCK_STREAM, ("127.0.0.1", {1})), (socket.SOCK_DGRAM, ("127.0.0.1", {2}))):
    held.append(socket.socket(socket.AF_INET, kind))
    held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held[-1].bind(where)
held += [socket.socket(socket.AF_INET6), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
held[3].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
held[3].bind(("::1", {0}))
held[4].bind("{3}")
held[5].bind(chr(0) + "{4}")
for each in held[:2] + held[3:]:
    each.listen()
other = socket.create_connection(("127.0.0.1", {0}))
if os.fork() == 0:
    time.sleep(1000)
time.sleep(1000)
"""


@test("status lists on what each service listens, listed or not, over every protocol, once, and what of it user code may reach",
      needs=("moat",), timeout=60)
def listening(session):
    first, path, name = 9871, f"/run/itest-listen-{os.getpid()}.sock", f"itest-listen-{os.getpid()}"
    script = os.path.join(session.scratch, "listener.py")
    with open(script, "w", encoding="ascii") as file:
        file.write(LISTENER.format(first, first + 1, first + 2, path, name))
    agent = moatd.Moatd(session.build, f"itest-listen-{os.getpid()}", f"[service idle]\ncommand = /bin/sleep 1000\n[service web]\n"
                        f"command = {places.PYTHON} {script}\nport = {first}\nreachable = {first + 1}\nreachable = @{name}\n",
                        "require" if session.vm else "best-effort")
    closed = "guarded" if session.enforced else "not guarded"
    listed = "guarded" if session.guarded_by_cgroup else closed
    expected = [("tcp", "127.0.0.1", first, listed), ("tcp", "127.0.0.1", first + 1, "reachable"), ("tcp", "::1", first, listed),
                ("udp", "127.0.0.1", first + 2, closed), ("unix", path, None, closed), ("unix", "@" + name, None, "reachable")]
    try:
        agent.start(60 * session.patience)

        def found():
            return [(each["service"], each["protocol"], each["address"], each.get("port"), each["access"])
                    for each in agent.api().get("/v1/status")["listening"]]
        procs.wait_until(lambda: len(found()) == len(expected), 20, lambda: f"{found()}")
        assert sorted(found(), key=str) == sorted((("web", *each) for each in expected), key=str), found()
        said = subprocess.run([os.path.join(session.build, "moat"), "status"], capture_output=True, text=True, check=False,
                              env={"MOAT_SOCKET": agent.socket, "PATH": "/usr/bin"}, timeout=60)
        assert any(line.split() == ["web", "unix", "@" + name, "-", "reachable"] for line in said.stdout.splitlines()), said
        assert any(line.split() == ["web", "tcp", "127.0.0.1", str(first), *listed.split()] for line in said.stdout.splitlines()), said
    finally:
        agent.stop()
        agent.remove_files()
        if os.path.exists(path):
            os.unlink(path)
