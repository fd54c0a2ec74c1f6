# SPDX-License-Identifier: Apache-2.0
"""The end of the common agent. No module that needs it runs after this one."""

import os
import select
import signal
import socket
import subprocess
import threading
import time

from lib import moatd, places, procs
from lib.session import SPARE_PORT
from lib.tap import test


@test("signals that would end a process by themselves stop the agent in order, whatever it was started by", timeout=60)
def other_signals(session):
    session.require(not session.vm, "the agent's own affair")
    for number in (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPOLL, signal.SIGPWR, signal.SIGXCPU, signal.SIGRTMIN + 3):
        agent = moatd.Moatd(session.build, f"itest-signal-{os.getpid()}", "[service spare]\ncommand = /bin/sleep 1000\n", "best-effort")
        try:
            agent.start(30)
            service = agent.wait_ready("spare", 10)["pid"]
            started = procs.start_time(service)
            agent.process.send_signal(number)
            status, left = agent.stop()
            assert status == 0 and not left and not procs.alive(service, started), (number, status, left, agent.log())
        finally:
            agent.kill()
            agent.remove_files()


class Ends:
    """When processes end, from now on."""

    def __init__(self, pids):
        self.at = {}
        self.thread = threading.Thread(target=self.run, args=({os.pidfd_open(pid): pid for pid in pids},))
        self.thread.start()

    def run(self, pidfds):
        poll = select.poll()
        for each in pidfds:
            poll.register(each, select.POLLIN)
        while pidfds:
            for fd, _ in poll.poll():
                self.at[pidfds.pop(fd)] = time.monotonic()
                poll.unregister(fd)
                os.close(fd)


@test("who follows a command learns of its end when the agent stops, also while a service takes its time", timeout=60)
def followed(session):
    session.require(not session.vm, "the agent's own affair")
    slow = f"{places.PYTHON} -c 'import signal, time; signal.signal(15, lambda *_: (time.sleep(1), exit(0))); print(1, flush=True); time.sleep(1000)'"
    agent = moatd.Moatd(session.build, f"itest-followed-{os.getpid()}", f"[service slow]\ncommand = {slow}\n[context other]\n", "best-effort")
    clients = []
    try:
        agent.start(30).wait_ready("slow", 10)
        for options in ((), ("--secure",), ("-c", "other"), ("-c", "other", "--secure")):
            clients.append(subprocess.Popen([os.path.join(session.build, "moat"), "exec", *options, "--", "/bin/sh", "-c", "echo begun; exec sleep 1000"],
                                            env={"MOAT_SOCKET": agent.socket}, stdout=subprocess.PIPE, text=True))
            assert clients[-1].stdout.readline() == "begun\n", agent.log()
        agent.process.send_signal(signal.SIGTERM)
        ends = [client.wait(30) for client in clients]
        status, left = agent.stop()
        assert (status, ends) == (0, [128 + signal.SIGKILL] * len(ends)) and not left, (status, ends, left, agent.log())
    finally:
        for client in clients:
            client.kill()
            client.wait()
            client.stdout.close()
        agent.kill()
        agent.remove_files()


@test("SIGTERM ends services, commands and namespaces, and leaves no process, mount, cgroup, socket or pin", needs=("moat",), timeout=60)
def stops(session):
    running = [session.api.process(session.api.start("/bin/sleep", "86450", context=context)) for context in ("default", "shared")]
    assert all(each["state"] == "running" for each in running), running
    # The process of "broken" comes and goes: it may be there now, and no more a moment later.
    services = [(s["pid"], procs.start_time(s["pid"])) for s in session.api.get("/v1/services")["services"] if s["pid"] and s["name"] != "broken"]
    assert len(services) >= 3, services
    agent, ends = session.agent.pid, Ends([session.agent.pid, *(pid for pid, _ in services)])
    session.memory["enforced when stopped"] = session.enforced
    status, left = session.stop()
    ends.thread.join()
    session.memory["stop_seconds"] = ends.at[agent] - max(ends.at[pid] for pid, _ in services)
    assert status == 0, f"exit status {status}"
    assert not left, "\n".join(left)
    assert not any(procs.alive(*each) for each in services), services


@test("after that its ports are anybody's and no program of it is loaded", needs=())
def released(session):
    session.require(session.agent is None and session.agent_error == "moatd has been stopped", "no agent has been stopped")
    with socket.socket() as each:
        each.bind(("127.0.0.1", SPARE_PORT))
    assert not os.path.exists(f"/sys/fs/bpf/moat/{session.instance}")


# Before 6.5 a link is detached where its last pin or descriptor goes, each after a grace period of its own (a tenth of a second, for
# some 90), in which the kernel holds a lock of all (unregister_ftrace_direct_multi() and synchronize_rcu_tasks_rude() beneath it), so
# that doing it from several processes is no faster. Later it does that by itself, for many at a time.
SECONDS = 1 if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (6, 5) else 20 / 3


@test("it is gone within a second of the last service's end, although each of its programs is detached (seven before Linux 6.5)", needs=())
def soon(session):
    session.require("stop_seconds" in session.memory, "no agent has been stopped")
    detached = "with its programs" if session.memory["enforced when stopped"] else "without a program to detach"
    print(f"# {session.memory['stop_seconds']:.2f} s after the last service, {detached}", flush=True)
    assert session.memory["stop_seconds"] < SECONDS * (3 if session.vm else procs.SLACK), session.memory["stop_seconds"]
