# SPDX-License-Identifier: Apache-2.0
"""
Ports that are never free: services whose sockets moatd has bound before anything runs, and hands over to each of their lives. The
recipes of moat.conf(5), each with its real program; and what is done without being asked where nothing in the kernel guards ports.
"""

import json
import os
import re
import shutil
import signal
import socket

from lib import moatd, places, procs
from lib.session import ports
from lib.tap import Skip, test
from test_ports import GRAB, grabbed

HANDED = os.path.join(places.CONTROL_PLANE, "handed")
PORT, OTHER_PORT = ports(45481, 45483)


def recipes(session, scratch, port):
    """name -> (program that has to be there, lines of its section, the file that the manual shows)."""
    bun, nginx = places.bun(session.build), places.unpacked("usr/sbin/nginx")
    with open(f"{HANDED}/nginx.conf", encoding="ascii") as file, open(f"{scratch}/nginx.conf", "w", encoding="ascii") as made:
        # its package, which is not installed, has made directories for these
        temporary = "".join(f"{each}_temp_path {each};\n" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        made.write(file.read().replace("PORT", str(port)).replace("http {\n", f"http {{\n{temporary}"))
    return {
        "bun": (bun, f"command = {bun} run {HANDED}/bun.ts", "bun.ts"),
        "node": (shutil.which("node"), f"command = /usr/bin/env node {HANDED}/node.js", "node.js"),
        "python": (places.PYTHON, f"command = {places.PYTHON} {HANDED}/server.py", "server.py"),
        "uvicorn": (shutil.which("uvicorn", path="/usr/bin"), f"command = /usr/bin/uvicorn --fd 3 --app-dir {HANDED} app:app", None),
        "nginx": (nginx, f"command = {nginx} -e stderr -p . -c {scratch}/nginx.conf\nenv = NGINX=3;", "nginx.conf"),
        "jupyter": (places.jupyter(), f"command = {places.jupyter()} --allow-root --no-browser --config={HANDED}/jupyter_server_config.py",
                    "jupyter_server_config.py"),
    }


def ask(port, seconds=60):
    """The status line of an answer, however long it takes until there is somebody who gives it."""
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return connection.makefile("rb").readline().split()[1].decode()


def agent_of_its_own(session, name, sections):
    return moatd.Moatd(session.build, f"{name}-{os.getpid()}", sections, "require" if session.vm and session.enforced else "best-effort")


def check_recipe(name):
    @test(f"{name} takes the socket that it is handed, as moat.conf(5) says: between two of its lives a connection waits, and is answered by the next",
          needs=("moat",), timeout=90)
    def recipe(session):
        program, lines, _ = recipes(session, session.scratch, PORT)[name]
        if not program or not os.path.exists(program):
            raise Skip(f"{name} is not installed: make deps-test")
        agent = agent_of_its_own(session, f"handed-{name}", f"[service web]\n{lines}\nport = {PORT}\nlisten = yes\nready = tcp:{PORT}\n")
        try:
            agent.start(60 * session.patience)
            first = agent.wait_ready("web", 60)
            assert first["listen"] is True and ask(PORT) in ("200", "302"), first
            os.kill(first["pid"], signal.SIGKILL)
            assert ask(PORT) in ("200", "302")
            # that may have been a process of the first life, which the main one has left for a moment
            second = procs.wait_until(lambda: (s := agent.service("web"))["pid"] != first["pid"] and s["state"] == "ready" and s, 60, "the next life")
            assert second["restarts"] == 1 and ask(PORT) in ("200", "302"), second
            status, left = agent.stop()
            assert (status, left) == (0, []), (status, left)
        finally:
            agent.kill()
            agent.remove_files()


for _name in ("bun", "node", "python", "uvicorn", "nginx", "jupyter"):
    check_recipe(_name)


@test("the recipes are those of moat.conf(5)")
def manual(session):
    with open(os.path.join(places.SOURCE, "userspace/man/moat.conf.5"), encoding="utf-8") as file:
        text = {line.strip().replace("\\e", "\\") for line in file}
    for _, lines, shown in recipes(session, session.scratch, PORT).values():
        if shown:
            with open(f"{HANDED}/{shown}", encoding="ascii") as file:
                missing = [line.strip() for line in file if line.strip() and line.strip().replace("PORT", "8080") not in text]
            assert missing == [], (shown, missing)
        assert re.search(r"^(env = NGINX=3;|command)", lines, re.M)


DEFAULT = """pin_dir = {directory}/no-bpffs
[service web]
command = {python} {handed}/server.py
port = {port}
ready = tcp:{port}
[service own]
command = {python} -m http.server --bind 127.0.0.1 {other}
port = {other}
ready = tcp:{other}
[context shared]
pid = shared
capabilities = all
"""


@test("where nothing in the kernel guards ports, a service that takes sockets has its port from moatd unasked: nobody gets it while it is down, not with "
      "SO_REUSEPORT either, and connections wait; one that does not binds its own from the second start on, and the log says so", needs=("moat",), timeout=120)
def default(session):
    session.require(not session.enforced, "LSM programs guard ports here")
    os.makedirs(f"{session.scratch}/no-bpffs", exist_ok=True)
    agent = agent_of_its_own(session, "handed-default", DEFAULT.format(directory=session.scratch, python=places.PYTHON, handed=HANDED, port=PORT,
                                                                      other=OTHER_PORT))
    try:
        agent.start(60 * session.patience)
        status = agent.api().get("/v1/status")
        assert status["layers"]["cgroup"]["state"] != "active" and "bpffs" in status["layers"]["cgroup"]["reason"], status["layers"]["cgroup"]
        assert "ports" in status["notEnforced"]
        first = agent.wait_ready("web", 30)
        assert first["listen"] is True, first
        grabbers = [agent.api().start(places.PYTHON, "-c", GRAB, str(PORT), "inf", context=context) for context in ("default", "shared")]
        for identifier in grabbers:
            procs.wait_until(lambda identifier=identifier: agent.api().process(identifier)["stdout"] == "begun\n", 20, "it tries")
        for _ in range(3):
            os.kill(agent.wait_ready("web", 30)["pid"], signal.SIGKILL)
            assert ask(PORT) == "200"
        for identifier in grabbers:
            assert agent.api().request("POST", f"/v1/processes/{identifier}/signal", {"signal": "SIGTERM"}).status == 200
            ended = procs.wait_until(
                lambda identifier=identifier: (p := agent.api().process(identifier))["state"] == "ended" and p, 30, "it ended")
            assert set(grabbed(ended["stdout"])) == {"EADDRINUSE"}, ended["stdout"]
        own = agent.wait_ready("own", 60)
        assert own["listen"] is False and ask(OTHER_PORT) == "200", own
        assert "service own does not take the sockets of its ports" in agent.log()
    finally:
        agent.kill()
        agent.remove_files()


@test("a port of a service that somebody else has is an error that names the process and its context: in the log, in the status of the service, as a "
      "record and in moat events; when it is free the service gets it", needs=("moat",), timeout=90)
def held(session):
    session.require(not session.enforced, "nobody gets such a port here")
    os.makedirs(f"{session.scratch}/no-bpffs", exist_ok=True)
    sections = DEFAULT.format(directory=session.scratch, python=places.PYTHON, handed=HANDED, port=PORT, other=OTHER_PORT)
    sections = sections.replace("[service own]", "listen = no\nstart_timeout = 0\n[service own]").replace(
        f"{places.PYTHON} {HANDED}/server.py", f"{places.PYTHON} -c 'import time; time.sleep(1000)'")
    agent = agent_of_its_own(session, "handed-held", sections)
    thief = f"import socket, time; s = socket.create_server(('127.0.0.1', {PORT})); time.sleep(1000)"
    try:
        agent.start(60 * session.patience)
        identifier = agent.api().start(places.PYTHON, "-c", thief, context="shared")
        said = procs.wait_until(lambda: (s := agent.service("web"))["lastError"] and s, 30, "it is noticed")
        found = re.fullmatch(rf"port {PORT} is held by (process \d+ \(python3[.\d]*\) of user code, context shared)", said["lastError"])
        assert found and said["state"] == "starting", said
        assert f"error: service web: {said['lastError']}" in agent.log(), agent.log()
        events = [json.loads(line) for line in agent.api().request("GET", "/v1/events").body.decode().splitlines()]
        records = [each for each in events if each["type"] == "port-held" and each["service"] == "web"]
        assert [(each["port"], each["holder"]) for each in records] == [(PORT, found[1])], events
        assert agent.api().request("DELETE", f"/v1/processes/{identifier}").status == 200
        procs.wait_until(lambda: not agent.service("web")["lastError"], 30, "the port is free")
    finally:
        agent.kill()
        agent.remove_files()
