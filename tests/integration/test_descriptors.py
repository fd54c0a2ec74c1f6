# SPDX-License-Identifier: Apache-2.0
"""Programs that are started with descriptor 0, 1 or 2 closed: what a command prints never becomes a request."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from lib import moatd, procs
from lib.tap import test

COMBINATIONS = [set(each) for n in range(4) for each in itertools.combinations((0, 1, 2), n)]


def popen(argv, closed, **more):
    """With these of 0, 1 and 2 closed; the others are pipes."""
    def close():
        for fd in closed:
            os.close(fd)
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=close, **more)


def run(argv, closed, **more):
    with popen(argv, closed, **more) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def request(method, path, body):
    return f"{method} {path} HTTP/1.1\r\nHost: moat\r\nContent-Length: {len(body)}\r\n\r\n{body}"


def links(pid):
    found = {}
    for fd in (0, 1, 2):
        try:
            found[fd] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            found[fd] = None
    return found


def only_closed_are_null(pid, closed):
    return all((where == "/dev/null") == (fd in closed) and where and "socket" not in where for fd, where in links(pid).items())


@test("what a command prints is no request, whatever moat's descriptors are", needs=("moat",), timeout=60)
def output_is_no_request(session):
    environment = {"PATH": "/usr/bin:/bin", "MOAT_SOCKET": session.agent.socket}
    moat = os.path.join(session.build, "moat")
    mark = f"/nonexistent/{os.getpid()}"
    script = os.path.join(session.scratch, "requests")
    with open(script, "w", encoding="ascii", newline="") as file:
        file.write("cat <<'END'\n" + request("POST", "/v1/exec", '{"argv":["/bin/false","%s"],"context":"full"}' % mark) + "\nEND\n")
        file.write("cat >&2 <<'END'\n" + request("PUT", "/v1/mode", '{"mode":"audit"}') + "\nEND\n")
    mode = session.api.get("/v1/mode")
    logged = session.api.start("/bin/sh", script)
    procs.wait_until(lambda: session.api.process(logged)["state"] == "ended", 10, "its end")
    commands = ["exec", "--", "/bin/sh", script], ["--json", "exec", "--", "/bin/sh", script], ["logs", logged]
    for closed, command in itertools.product(COMBINATIONS, commands):
        status, out, err = run([moat, *command], closed, env=environment)
        assert status == 0, (closed, command, status, out, err)
        assert bool(out) == (1 not in closed), (closed, command, out)
    requested = [each for each in session.api.get("/v1/processes")["processes"] if mark in str(each)]
    assert not requested, requested
    assert session.api.get("/v1/mode") == mode, (mode, session.api.get("/v1/mode"))


@test("the connection of a stream is never asked a second time", needs=("moat",))
def stream_is_the_last(session):
    body = b'{"argv":["/bin/echo","first"]}'
    started = session.api.get("/v1/status")["execs"]["started"]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(120)
        connection.connect(session.agent.socket)
        head = b"POST /v1/exec HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall((head + body) * 2)
        text = b""
        while part := connection.recv(65536):
            text += part
    assert text.count(b"HTTP/1.1 200") == 1 and text.count(b'"exit"') == 1 and text.endswith(b"0\r\n\r\n"), text
    assert session.api.get("/v1/status")["execs"]["started"] == started + 1


@test("moat-init opens what is closed before anything else")
def moat_init(session):
    for closed in COMBINATIONS:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def prepare(its=its, closed=closed):
            os.dup2(its.fileno(), 3)
            for fd in closed:
                os.close(fd)
        process = subprocess.Popen([os.path.join(session.build, "moat-init")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, pass_fds=(3,), preexec_fn=prepare)
        its.close()
        try:
            procs.wait_until(lambda pid=process.pid, closed=closed: only_closed_are_null(pid, closed), 10, f"null for {closed}")
        finally:
            ours.close()
            process.communicate(timeout=60)


@test("moatd opens what is closed before anything else", timeout=60)
def moatd_itself(session):
    session.require(not session.vm, "starts eight agents; nothing of it is the kernel's")
    for closed in COMBINATIONS:
        agent = moatd.Moatd(session.build, f"itest-{os.getpid()}-fds", "", "best-effort")
        agent.process = popen([os.path.join(session.build, "moatd"), "-c", agent.config], closed, env=moatd.clean_environment())
        try:
            procs.wait_until(agent.healthy, 20, f"moatd without {closed} to answer")
            assert only_closed_are_null(agent.pid, closed), (closed, links(agent.pid))
            agent.process.send_signal(signal.SIGTERM)
            _, err = agent.process.communicate(timeout=120)
            assert agent.process.returncode == 0 and bool(err) == (2 not in closed), (closed, agent.process.returncode, err)
        finally:
            agent.kill()
            agent.remove_files()


@test("where /dev/null is missing, nothing is started with a closed descriptor")
def no_null(session):
    with tempfile.TemporaryDirectory(prefix="moat-test-") as root:
        for name in ("moat", "moat-init"):
            shutil.copy(os.path.join(session.build, name), root)

        def status(closed, *argv):
            def prepare():
                os.chroot(root)
                for fd in closed:
                    os.close(fd)
            return subprocess.run(argv, cwd="/", preexec_fn=prepare, check=False, capture_output=True, timeout=60).returncode
        assert status((), "/moat", "--version") == 0
        for closed in COMBINATIONS[1:]:
            assert status(closed, "/moat", "--version") == 125, closed
            assert status(closed, "/moat-init") == 1, closed


@test("without /dev/null a program whose descriptors are closed says so, and ends")
def no_null(session):
    for name, arguments in (("moatd", "--config-test"), ("moat", "status")):
        script = f"mount -t tmpfs none /dev; exec {os.path.join(session.build, name)} {arguments} <&-"
        done = subprocess.run(["unshare", "-m", "/bin/sh", "-c", script], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode not in (0, 127) and "/dev/null cannot be opened" in done.stderr, (name, done)
