# SPDX-License-Identifier: Apache-2.0
"""The end of the common agent. No module that needs it runs after this one."""

import os
import signal
import socket

from lib import moatd, procs
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


@test("SIGTERM ends services, commands and namespaces, and leaves no process, mount, cgroup, socket or pin", needs=("moat",), timeout=60)
def stops(session):
    running = [session.api.process(session.api.start("/bin/sleep", "86450", context=context)) for context in ("default", "shared")]
    assert all(each["state"] == "running" for each in running)
    services = [(s["pid"], procs.start_time(s["pid"])) for s in session.api.get("/v1/services")["services"] if s["pid"]]
    status, left = session.stop()
    assert status == 0, f"exit status {status}"
    assert not left, "\n".join(left)
    assert not any(procs.alive(*each) for each in services), services


@test("after that its ports are anybody's and no program of it is loaded", needs=())
def released(session):
    session.require(session.agent is None and session.agent_error == "moatd has been stopped", "no agent has been stopped")
    with socket.socket() as each:
        each.bind(("127.0.0.1", SPARE_PORT))
    assert not os.path.exists(f"/sys/fs/bpf/moat/{session.instance}")
