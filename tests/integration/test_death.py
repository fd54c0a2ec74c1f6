# SPDX-License-Identifier: Apache-2.0
"""
The agent is killed with SIGKILL: its programs go on deciding, its services keep their labels, and the next agent takes over
labels, ports and counters without a moment in between. What becomes of running execs: moat-init ends with the agent and takes
its PID namespace along; where the PID namespace is shared, what had left the command's process group lives until the next
agent clears the cgroups. Each test here has an agent of its own, after the common one has stopped.
"""

import contextlib
import ctypes
import http.client
import json
import os
import re
import shutil
import signal
import struct
import tempfile
import time

from lib import attempts, labels, leaks, moatd, places, procs, unixhttp
from lib.labels import CONTROL, INIT, USER
from lib.session import FREE_PORT
from lib.tap import test
from test_bpf import bpftool

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


def check_enforced(agent, session):
    """Of the service as it is now, from the PID namespace that both are in; mounting a procfs of one's own is no attack."""
    pid = agent.wait_ready("spare", 20)["pid"]
    assert labels.label(agent, pid) == labels.label(agent, agent.pid) == (CONTROL, 0, 0)
    result = agent.api().exec(places.attempt(session.build), "--pid", str(pid), "--port", str(PORT), "--enforced",
                              "kill_kill", "bind_tcp4", "mount_proc_own", context="shared")
    got = attempts.parse(result.out, result.err)
    assert got == {"kill_kill": "EPERM", "bind_tcp4": "EADDRINUSE", "mount_proc_own": "ok"}, got


def denied(agent, hook):
    return next(each["denied"] for each in agent.api().get("/v1/status")["hooks"] if each["hook"] == hook)


def pins(agent):
    return f"/sys/fs/bpf/moat/{agent.instance}"


def map_number(agent, name):
    return bpftool("map", "show", "pinned", f"{pins(agent)}/maps/{name}")["id"]


def pin_other_layout(path):
    """As another version of moat would have left it: an array of three."""
    os.unlink(path)
    created = labels.bpf(labels.MAP_CREATE, struct.pack("<IIII", 2, 4, 8, 3))
    name = ctypes.create_string_buffer(path.encode())
    labels.bpf(labels.OBJ_PIN, struct.pack("<QI", ctypes.addressof(name), created))
    os.close(created)


@contextlib.contextmanager
def agent_of_its_own(session, name, sections=""):
    """Started, with the service `spare`, which never listens on its port and has a file to protect."""
    session.require(session.vm, "needs BPF LSM")
    directory = tempfile.mkdtemp(prefix="moat-death-")
    code = os.path.join(directory, "code")
    open(code, "w", encoding="ascii").close()
    agent = moatd.Moatd(session.build, f"{name}-{os.getpid()}",
                        f"[service spare]\ncommand = /bin/sleep 1000000\nport = {PORT}\nprotect = {code}\n"
                        f"[context shared]\npid = shared\ncapabilities = all\n{sections}", scratch=directory)
    try:
        yield start(session, agent)
    finally:
        agent.kill()
        agent.remove_files()
        shutil.rmtree(directory)


def start(session, agent):
    return agent.start(60 * session.patience)


def kill(agent):
    """SIGKILL, and no more: what it leaves is left. Returns when."""
    agent.unlink_alias()
    os.kill(agent.pid, signal.SIGKILL)
    agent.process.wait()
    return time.monotonic()


def check_stop(agent):
    status, left = agent.stop()
    assert status == 0 and not left, (status, left)


class Attacker:
    """Of the service as it is now. It lives until the next agent clears the cgroups."""

    REFUSED = ("EPERM", "EADDRINUSE", "ENOENT", "EPERM")

    def __init__(self, agent):
        self.path = os.path.join(agent.scratch, "answers")
        self.service = agent.wait_ready("spare", 20)["pid"]
        self.started = procs.start_time(self.service)
        agent.api().exec(places.PYTHON, "-c", ATTACKER, str(self.service), str(PORT), self.path, f"{agent.scratch}/code",
                         context="shared")
        procs.wait_until(lambda: os.path.exists(self.path) and len(self.answers()) > 5, 20, "the attacker attacks")

    def answers(self, after=0.0):
        with open(self.path, encoding="utf-8") as file:
            lines = [line.split() for line in file.read().splitlines() if line.count(" ") == 4]
        return [tuple(each[1:]) for each in lines if float(each[0]) > after]

    def check_goes_on(self, after):
        """Without an agent: it attacks, is refused, and the service lives."""
        procs.wait_until(lambda: len(self.answers(after)) > 20, 20, "the attacker goes on without the agent")
        assert procs.alive(self.service, self.started), "the service died with the agent"
        self.check_always_refused()

    def check_always_refused(self):
        assert set(self.answers()) == {self.REFUSED}, set(self.answers())


@test("enforcement outlives the agent, and the next one takes it over without a gap", needs=(), timeout=120)
def taken_over(session):
    with agent_of_its_own(session, "death") as agent:
        attacker = Attacker(agent)
        before = denied(agent, "task_kill")
        attacker.check_goes_on(kill(agent))
        assert labels.label(agent, attacker.service) == (CONTROL, 0, 0), "the service lost its label"
        assert os.path.exists(f"{pins(agent)}/links/moat_task_kill")
        pin_other_layout(f"{pins(agent)}/maps/drops")
        numbers = {name: map_number(agent, name) for name in ("tasks", "moat_bpf_rodata")}

        start(session, agent)
        assert map_number(agent, "tasks") == numbers["tasks"], "its labels began anew"
        assert map_number(agent, "moat_bpf_rodata") != numbers["moat_bpf_rodata"], "it has the constants of other programs"
        assert "taking over" in agent.log() and "maps/drops is another version's" in agent.log(), agent.log()
        assert denied(agent, "task_kill") > before, "the counters began anew"
        check_enforced(agent, session)
        attacker.check_always_refused()
        check_stop(agent)


# What each kind of exec does without its agent: whether what has left its process group lives on.
KINDS = {
    "the common PID namespace": ({"context": "default"}, False),
    "namespaces of the context's own": ({"context": "own"}, False),
    "secure": ({"context": "default", "isolated": True}, False),
    "the agent's PID namespace": ({"context": "shared"}, True),
    "secure, in the agent's PID namespace": ({"context": "apart"}, True),
}


class Running:
    """An exec of two processes: the command itself, and one that has left its process group."""

    def __init__(self, agent, fields):
        identifier = agent.api().start("/bin/sh", "-c", "setsid sleep 86490 & exec sleep 86491", **fields)
        both = procs.wait_until(lambda: self.both(agent, identifier), 5, "its child has left the process group")
        self.leader, self.left = ((pid, procs.start_time(pid)) for pid in both)
        self.label = labels.label(agent, both[1])
        assert self.label == labels.label(agent, both[0]) and self.label[0] == USER, self.label

    @staticmethod
    def both(agent, identifier):
        found = [pid for pid in labels.of_exec(agent, identifier) if procs.name(pid) == "sleep" and procs.pgid(pid) == pid]
        if len(found) < 2:
            return None
        one, other = found
        return (one, other) if procs.parent(other) == one else (other, one)


def check_without_agent(agent, execs):
    for kind, each in execs.items():
        procs.wait_until(lambda pid=each.leader: not procs.alive(*pid), 20, f"{kind}: the command ends with the agent")
        if KINDS[kind][1]:
            assert procs.alive(*each.left), f"{kind}: what left the process group did not live on"
            assert labels.label(agent, each.left[0]) == each.label, f"{kind}: it is not what it was"
        else:
            procs.wait_until(lambda pid=each.left: not procs.alive(*pid), 20, f"{kind}: what left the process group ends, too")


def wait_for_exec(agent):
    """A connection that waits for a command that runs."""
    def running():
        return agent.api().get("/v1/status")["execs"]["running"]
    before, connection = running(), unixhttp.Connection(agent.socket, 600)
    connection.request("POST", "/v1/exec", json.dumps({"argv": ["/bin/sleep", "86492"]}), {"Content-Type": "application/json"})
    procs.wait_until(lambda: running() > before, 20, "the command runs")
    return connection


@test("running execs end with the agent, except what left its process group where the PID namespace is shared: that lives, "
      "labelled, until the next agent; nobody who waits is told, and the next agent knows none of them", needs=(), timeout=120)
def execs_end(session):
    sections = "[context own]\nnamespace = private\n[context apart]\nnamespace = secure\npid = shared\n"
    with agent_of_its_own(session, "death-exec", sections) as agent:
        execs = {kind: Running(agent, fields) for kind, (fields, _) in KINDS.items()}
        inits = [(each["pid"], procs.start_time(each["pid"])) for each in agent.api().get("/v1/status")["namespaces"]]
        assert len(inits) == 6 and all(labels.label(agent, pid)[0] == INIT for pid, _ in inits), inits
        waiting = wait_for_exec(agent)
        kill(agent)
        try:
            raise AssertionError(f"the connection that waited was answered: {waiting.getresponse().status}")
        except (http.client.RemoteDisconnected, ConnectionResetError):
            pass
        check_without_agent(agent, execs)
        procs.wait_until(lambda: not any(procs.alive(*each) for each in inits), 20, "each moat-init ends with the agent")

        start(session, agent)
        alive = [kind for kind, each in execs.items() if procs.alive(*each.left)]
        assert not alive, f"the next agent let live what it does not know: {alive}"
        assert agent.api().get("/v1/processes")["processes"] == []
        assert agent.api().get("/v1/status")["execs"]["running"] == 0
        check_stop(agent)


def left(agent):
    """What a dead agent has left that a start which is refused must not take away."""
    return [sorted(os.listdir(f"{pins(agent)}/{kind}")) for kind in ("links", "programs", "maps")], leaks.read(leaks.RESERVED)


@test("a map of another layout that cannot begin anew: the start is refused and names the pin, nothing is lost, and removing "
      "what it says lets it start", needs=(), timeout=180)
def refused(session):
    with agent_of_its_own(session, "death-layout") as agent:
        attacker = Attacker(agent)
        kill(agent)
        pin_other_layout(f"{pins(agent)}/maps/ports")
        before = left(agent)
        try:
            start(session, agent)
            raise RuntimeError("it started with a map that it does not know")
        except moatd.DidNotStart as error:
            said = re.search(r"ended with status 1: .*?(/\S+) was left by a version of moat with another layout; "
                             "remove its directory to start without its labels", str(error), re.S)
            assert said and said[1] == f"{pins(agent)}/maps/ports", error
        assert left(agent) == before, (before, left(agent))
        attacker.check_goes_on(time.monotonic())
        assert labels.label(agent, attacker.service) == (CONTROL, 0, 0), "the service lost its label"

        shutil.rmtree(os.path.dirname(said[1]))
        attacker.check_goes_on(time.monotonic())
        start(session, agent)
        check_enforced(agent, session)
        check_stop(agent)
