# SPDX-License-Identifier: Apache-2.0
"""
The agent is killed with SIGKILL: its programs go on deciding, its services keep their labels, and the next agent takes over
labels, ports and counters without a moment in between. What becomes of running execs: moat-init ends with the agent and takes
its PID namespace along; where the PID namespace is shared, what had left the command's process group lives until the next
agent clears the cgroups. This module has an agent of its own, after the common one has stopped.
"""

import ctypes
import os
import signal
import struct
import tempfile
import time

from lib import attempts, labels, moatd, places, procs
from lib.session import FREE_PORT
from lib.tap import test

PORT = FREE_PORT + 10

# Out of its process group, so that it outlives moat-init; tries all the time and writes down what is new, with the time.
ATTACKER = """
import errno, os, socket, sys, time
pid, port, path, code = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
if os.fork() or os.setsid() and os.fork():
    os._exit(0)
def answer(call):
    try:
        call()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
def bind():
    with socket.socket() as each:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        each.bind(("127.0.0.1", port))
with open(path, "a", buffering=1) as out:
    while True:
        print(time.monotonic(), answer(lambda: os.kill(pid, 0)), answer(bind), answer(lambda: os.listdir(f"/proc/{pid}")),
              answer(lambda: os.close(os.open(code, os.O_WRONLY))), file=out)
        time.sleep(0.01)
"""


def techniques(agent, session, pid):
    result = agent.api().exec(places.attempt(session.build), "--pid", str(pid), "--port", str(PORT), "--enforced",
                              "kill_kill", "bind_tcp4", "mount_proc_own", context="shared")
    return attempts.parse(result.out, result.err)


def answers(path, after=0.0):
    with open(path, encoding="utf-8") as file:
        lines = [line.split() for line in file.read().splitlines() if line.count(" ") == 4]
    return [tuple(each[1:]) for each in lines if float(each[0]) > after]


def denied(agent, hook):
    return next(each["denied"] for each in agent.api().get("/v1/status")["hooks"] if each["hook"] == hook)


def pin_other_layout(path):
    """As another version of moat would have left it: an array of three."""
    os.unlink(path)
    created = labels.bpf(labels.MAP_CREATE, struct.pack("<IIII", 2, 4, 8, 3))
    name = ctypes.create_string_buffer(path.encode())
    labels.bpf(labels.OBJ_PIN, struct.pack("<QI", ctypes.addressof(name), created))
    os.close(created)


@test("enforcement outlives the agent, and the next one takes it over without a gap", needs=(), timeout=120)
def taken_over(session):
    session.require(session.vm, "needs BPF LSM")
    instance = f"death-{os.getpid()}"
    directory = tempfile.mkdtemp(prefix="moat-death-")
    path, code = os.path.join(directory, "answers"), os.path.join(directory, "code")
    open(code, "w", encoding="ascii").close()
    sections = (f"[service spare]\ncommand = /bin/sleep 1000000\nport = {PORT}\nprotect = {code}\n"
                "[context shared]\npid = shared\ncapabilities = all\n")
    agent = moatd.Moatd(session.build, instance, sections)
    try:
        agent.start(60 * session.patience)
        service = agent.wait_ready("spare", 20)["pid"]
        started = procs.start_time(service)
        agent.api().exec(places.PYTHON, "-c", ATTACKER, str(service), str(PORT), path, code, context="shared")
        procs.wait_until(lambda: os.path.exists(path) and len(answers(path)) > 5, 20, "the attacker attacks")
        before = denied(agent, "task_kill")

        agent.unlink_alias()
        os.kill(agent.pid, signal.SIGKILL)
        agent.process.wait()
        killed = time.monotonic()
        procs.wait_until(lambda: len(answers(path, killed)) > 20, 20, "the attacker goes on without the agent")
        assert procs.alive(service, started), "the service died with the agent"
        assert os.path.exists(f"/sys/fs/bpf/moat/{instance}/links/moat_task_kill")
        pin_other_layout(f"/sys/fs/bpf/moat/{instance}/maps/drops")

        agent.start(60 * session.patience)
        assert "taking over" in agent.log() and "maps/drops is another version's" in agent.log(), agent.log()
        assert denied(agent, "task_kill") > before, "the counters began anew"
        after = agent.wait_ready("spare", 20)["pid"]
        got = techniques(agent, session, after)
        assert got == {"kill_kill": "EPERM", "bind_tcp4": "EADDRINUSE", "mount_proc_own": "ok"}, got
        assert set(answers(path)) == {("EPERM", "EADDRINUSE", "ENOENT", "EPERM")}, set(answers(path))
        status, left = agent.stop()
        assert status == 0 and not left, (status, left)
    finally:
        agent.kill()
        agent.remove_files()

