# SPDX-License-Identifier: Apache-2.0
"""What an agent says about itself once it runs."""

import os
import stat
import subprocess
import tempfile
import time

from lib import leaks, moatd, procs
from lib.session import SECRET
from lib.tap import test

LAYERS = {"lsm", "namespaces", "caps", "cgroup"}


@test("the agent starts, answers /v1/health and names its kernel and instance", needs=("moat",))
def starts(session):
    status = session.status()
    assert session.api.get("/v1/health")["status"] == "ok"
    assert status["kernel"] == os.uname().release and status["instance"] == session.instance, status
    assert status["pid"] == session.agent.pid, status["pid"]


@test("every layer is reported with its state, and each check with what was found", needs=("moat",))
def layers(session):
    found = session.status()["layers"]
    assert LAYERS <= set(found), set(found)
    for name in LAYERS:
        assert found[name]["state"] in ("active", "available", "partial", "missing", "inactive", "audit"), (name, found[name])
        assert found[name]["checks"] and all(each["detail"] for each in found[name]["checks"]), (name, found[name])


@test("with enforcement nothing is reported as not enforced", needs=("moat", "lsm"))
def enforced(session):
    status = session.status()
    assert status["enforcement"]["mode"] == "enforce" and status["enforcement"]["reason"] == "", status["enforcement"]
    assert status["notEnforced"] == [], status["notEnforced"]
    assert status["layers"]["lsm"]["state"] == "active", status["layers"]["lsm"]


@test("with best-effort and no BPF LSM the status says what is not enforced and why, and the log warns", needs=("moat",))
def degraded(session):
    session.require(not session.enforced, "this kernel enforces")
    status = session.status()
    guarded = {"ports"} if status["layers"]["cgroup"]["state"] == "active" else set()
    assert {"signals", "control", "proc", "ports"} - guarded <= set(status["notEnforced"]), status["notEnforced"]
    assert not guarded & set(status["notEnforced"]), status["notEnforced"]
    assert status["enforcement"]["mode"] == "off" and status["enforcement"]["reason"], status["enforcement"]
    assert status["layers"]["lsm"]["state"] in ("partial", "missing"), status["layers"]["lsm"]
    assert "warning" in session.agent.log() and "not enforced" in session.agent.log(), session.agent.log()


@test("the kernel's types are read for the agent and for its programs, once each, and not where the kernel takes none", needs=("moat",),
      timeout=300)
def types_once(session):
    with tempfile.NamedTemporaryFile() as trace:
        agent = moatd.Moatd(session.build, f"types-{os.getpid()}", "[service one]\ncommand = /bin/sleep 1000\n", enforce="best-effort",
                            inside=("strace", "-D", "-qq", "-e", "trace=openat", "-o", trace.name))
        try:
            agent.start(100 * session.patience)
            reads = trace.read().count(b'"/sys/kernel/btf/vmlinux"')
            status = agent.api().get("/v1/status")
            enforced, guards = status["enforcement"]["mode"] == "enforce", status["layers"]["cgroup"]["state"] == "active"
        finally:
            agent.kill()
            agent.remove_files()
    assert enforced == session.enforced and reads == (2 if enforced else 1 if guards else 0), (enforced, guards, reads)


@test("moat status says whether the kernel enforces", needs=("moat",))
def command_line_status(session):
    done = subprocess.run([os.path.join(session.build, "moat"), "status"], capture_output=True, text=True, check=False,
                          env={"MOAT_SOCKET": session.agent.socket, "PATH": "/usr/bin"}, timeout=120)
    assert done.returncode == 0, done.stderr
    assert ("not enforced" in done.stdout.lower() or "off" in done.stdout.lower()) != session.enforced, done.stdout


@test("the self-test of enforcement has left its denial in the counters", needs=("moat", "lsm"))
def self_test(session):
    kill = next(each for each in session.api.get("/v1/status")["hooks"] if each["hook"] == "task_kill")
    assert kill["denied"] >= 1, kill


@test("a second agent of the same instance, with another state directory, is refused and changes nothing", needs=("moat", "lsm"), timeout=100)
def second_agent(session):
    pins = f"{leaks.BPFFS}/{session.instance}/links"
    before = os.stat(pins).st_ino
    for enforce in ("require", "best-effort"):
        with tempfile.TemporaryDirectory(prefix="moat-test-") as directory:
            status, text, _ = moatd.refuse(
                session.build, f"[moat]\ninstance = {session.instance}\nstate_dir = {directory}/state\nenforce = {enforce}\n"
                "[service spare]\ncommand = /bin/sleep 100\n", seconds=60 * session.patience)
        assert status == 1 and f"another moatd runs as instance {session.instance}" in text, (status, text)
    assert os.stat(pins).st_ino == before and session.api.get("/v1/status")["enforcement"]["mode"] == "enforce"


@test("the socket is root's alone, in a directory that is root's alone", needs=("moat",))
def socket_modes(session):
    directory, socket = os.stat(session.agent.state_dir), os.stat(session.agent.socket)
    assert stat.S_ISSOCK(socket.st_mode) and stat.S_IMODE(socket.st_mode) == 0o600, oct(socket.st_mode)
    assert stat.S_IMODE(directory.st_mode) == 0o700 and directory.st_uid == 0, oct(directory.st_mode)


@test("everything that runs is a child of the agent, in cgroups of its own", needs=("moat",))
def tree(session):
    for _, pid in session.targets()[2:]:
        assert procs.parent(pid) == session.agent.pid, procs.describe(pid)
    members = {pid for pid, _ in leaks.cgroup_members("moat-" + session.instance)}
    assert session.agent.service("spare")["pid"] in members, members
    for space in session.api.get("/v1/status")["namespaces"]:
        assert space["pid"] in members, (space, members)


@test("a service that cannot start says why, and the agent lives", needs=("moat",))
def broken_service(session):
    # between two tries: for a moment of each it has a process, which finds out
    service = procs.wait_until(lambda: (s := session.agent.service("broken"))["state"] == "backoff" and s, 20, "back-off")
    assert "No such file or directory" in service["lastError"] and service["pid"] is None, service
    assert "broken" in session.agent.log(), session.agent.log()
    assert session.api.get("/v1/health")["status"] == "ok"


@test("arguments and environment of services are in no log line", needs=("moat",))
def no_secrets_in_log(session):
    assert SECRET not in session.agent.log()
    assert SECRET not in session.api.request("GET", "/v1/services").body.decode()
    assert SECRET not in session.api.request("GET", "/v1/status").body.decode()


@test("uptime and time limits go by a clock that nobody sets", needs=("moat",))
def clock_step(session):
    session.require(session.vm, "sets the clock of the machine")
    identifier = session.api.start("/bin/sleep", "86462", timeoutMs=600000)
    begun, uptime = time.monotonic(), session.api.get("/v1/status")["uptimeMs"]
    for hours in (7, -7):
        time.clock_settime(time.CLOCK_REALTIME, time.time() + hours * 3600)
        passed = session.api.get("/v1/status")["uptimeMs"] - uptime
        assert 0 <= passed <= (time.monotonic() - begun) * 1000 + 1, (hours, passed)
        assert session.exec("/bin/sleep", "0.1", timeoutMs=600000).exit == 0
        assert session.api.process(identifier)["state"] == "running", hours
    session.api.kill(identifier)
