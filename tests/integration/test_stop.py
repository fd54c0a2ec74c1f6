# SPDX-License-Identifier: Apache-2.0
"""The end of the common agent. No module that needs it runs after this one."""

import os
import socket

from lib import procs
from lib.session import SPARE_PORT
from lib.tap import test


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
