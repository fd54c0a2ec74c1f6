# SPDX-License-Identifier: Apache-2.0
"""
moatd --dev: an ordinary user, without root and cgroups, has the same API, with what the machine lets him have: a user namespace, or
as in a container without privileges none, or hardly a file system that can be written.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from lib import moatd, places, procs, unixhttp
from lib.session import ports
from lib.tap import test

USER = "games"  # not nobody, who is the overflow user: in a user namespace without a map that is everybody's number
HTTP, TAKEN = ports(45481, 45483)
AS_USER = ["/usr/bin/setpriv", "--reuid", USER, "--regid", str(pwd.getpwnam(USER).pw_gid), "--clear-groups"]
CONFINED = [places.PYTHON, os.path.join(places.SOURCE, "tests/integration/lib/confined.py")]
# All that can be written is the directory in which the agent has everything. It does not come off: only root made it.
READ_ONLY = ["/usr/bin/unshare", "-m", "/bin/sh", "-c",
             'mount --make-rprivate / && mount --bind "$1" "$1" && for at in / /tmp /var /run /dev/shm; do '
             'mountpoint -q $at && mount -o remount,bind,ro $at; done; shift; exec "$@"', "sh"]
WORLDS = {"as he is": lambda place: [*AS_USER], "in a container without privileges": lambda place: [*AS_USER, *CONFINED],
          "where all is read-only but his own directory": lambda place: [*READ_ONLY, place, *AS_USER]}


class Agent:
    """One moatd --dev of the user's, in a directory of his."""

    def __init__(self, session, world, above):
        self.build, self.place = session.build, tempfile.mkdtemp(prefix="moat-test-", dir=above)
        os.chmod(self.place, 0o755)
        shutil.chown(self.place, USER)
        self.command, self.socket = WORLDS[world](self.place), f"{self.place}/moat/moat.sock"
        self.config, self.log_path, self.process = f"{self.place}/moat.conf", f"{self.place}/log", None
        pathlib.Path(self.config).write_text(
            f"[service handed]\ncommand = {places.PYTHON} {places.SOURCE}/tests/integration/control-plane/handed/server.py\nport = {TAKEN}\n"
            f"ready = tcp:{TAKEN}\n\n[service plain]\ncommand = {places.PYTHON} -m http.server {HTTP} --bind 127.0.0.1 --directory /usr/share/doc\n"
            f"port = {HTTP}\nlisten = no\nready = tcp:{HTTP}\n", encoding="ascii")

    def start(self):
        environment = moatd.clean_environment(HOME=self.place, XDG_RUNTIME_DIR=self.place, USER=USER)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([*self.command, os.path.join(self.build, "moatd"), "--dev", "-c", self.config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True, cwd="/")

        def answers():
            assert self.process.poll() is None, self.log()
            with contextlib.suppress(OSError):
                return self.api().get("/v1/health")["status"] == "ok"
        procs.wait_until(answers, 20, "the agent answers")
        return self

    def api(self):
        return unixhttp.Client(self.socket, 60)

    def exec(self, *argv, **fields):
        return self.api().exec(*argv, **fields)

    def log(self):
        return pathlib.Path(self.log_path).read_text(encoding="utf-8", errors="replace")

    def service(self, name):
        return next(each for each in self.api().get("/v1/services")["services"] if each["name"] == name)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self):
        if self.process and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)


@contextlib.contextmanager
def running(session, world, above=None):
    program = os.path.join(session.build, "moatd")
    session.require(subprocess.run([*AS_USER, "/usr/bin/test", "-x", program], check=False).returncode == 0, f"{USER} cannot execute {program}")
    agent = Agent(session, world, above)
    try:
        yield agent.start()
    finally:
        agent.close()


def processes_of(user):
    uid = pwd.getpwnam(user).pw_uid
    return {int(each) for each in os.listdir("/proc") if each.isdigit() and procs.state(each) not in (None, "Z") and os.stat(f"/proc/{each}").st_uid == uid}


def makes_user_namespaces(world):
    return world != "in a container without privileges" and subprocess.run(
        [*AS_USER, "/usr/bin/unshare", "-Um", "/bin/true"], check=False, capture_output=True).returncode == 0


def python(agent, code, **fields):
    return agent.exec(places.PYTHON, "-c", code, **fields)


def check_commands(agent):
    """What clients do every day."""
    who = agent.exec("/bin/sh", "-c", "id -un; echo $HOME; pwd; echo text >&2; exit 7")
    assert (who.exit, who.err) == (7, "text\n") and who.out.splitlines()[:2] == [USER, agent.place], who
    made = agent.api().request("POST", "/v1/contexts", {"name": "work", "env": {"GREETING": "hello"}})
    assert made.status in (200, 201), made
    answer = agent.api().request("POST", "/v1/exec", {"command": "cd /usr/share && export MORE=$GREETING; echo one two | tr a-z A-Z", "context": "work"})
    assert answer.json["stdout"] == "ONE TWO\n", answer
    answer = agent.api().request("POST", "/v1/exec", {"command": "echo $MORE; pwd", "context": "work"})
    assert answer.json["stdout"] == "hello\n/usr/share\n", answer
    for field, value in (("pid", "private"), ("no_new_privs", False)):
        refused = agent.api().request("POST", "/v1/contexts", {"name": "other", field: value})
        assert (refused.status, refused.json["code"], refused.json["details"]["field"]) == (400, "BAD_VALUE", field), refused
    refused = agent.api().request("POST", "/v1/contexts", {"name": "other", "capabilities": "cap_net_raw"})
    assert refused.status == 409 and refused.json["code"] == "CAPABILITIES_UNAVAILABLE", refused


def check_trees(agent):
    """Background processes are seen by later commands, and end with their command's tree."""
    api = agent.api()
    left = agent.exec("/bin/sh", "-c", "sleep 600 & echo $!")
    pid = int(left.out)
    assert procs.state(pid) in "SRD" and agent.exec("/bin/kill", "-0", str(pid)).exit == 0
    assert agent.exec("/bin/kill", "-9", str(pid)).exit == 0
    procs.wait_until(lambda: procs.state(pid) in (None, "Z"), 10, "it is killed")
    began = time.monotonic()
    late = agent.exec("/bin/sh", "-c", "sleep 600 & echo $!; sleep 600", timeoutMs=300)
    assert late.timed_out and time.monotonic() - began < 20 * procs.SLACK, late
    procs.wait_until(lambda: procs.state(int(late.out)) in (None, "Z"), 10, "what the command left is killed with it")
    started = api.start("/bin/sh", "-c", "sleep 600 & wait")
    tree = procs.wait_until(lambda: [each for each in processes_of(USER) if procs.parent(each) == api.process(started)["pid"]], 10, "it has a child")
    assert api.request("DELETE", f"/v1/processes/{started}").status in (200, 204)
    procs.wait_until(lambda: all(procs.state(each) in (None, "Z") for each in tree), 10, "its tree is killed")


def check_apart(agent, landlock):
    """What one secure command is given the next one does not read; nobody signals what is not his context's, or calls the API."""
    api, service = agent.api(), agent.service("plain")["pid"]
    started = api.start("/bin/sleep", "600", env={"SECRET": "given"})
    pid = api.process(started)["pid"]
    try:
        for call, answer in ((f"open('/proc/{pid}/environ').read()", "EACCES"), (f"open('/proc/{service}/environ').read()", "EACCES"),
                             (f"__import__('os').kill({service}, 0)", "EPERM"), ("open('/proc/self/environ').read()", "ok")):
            code = f"import errno\ntry:\n    {call}\n    print('ok')\nexcept OSError as e:\n    print(errno.errorcode[e.errno])"
            for fields in ({}, {"env": {"A": "b"}}):
                assert not landlock or python(agent, code, **fields).out == f"{answer}\n", (call, fields)
    finally:
        api.request("DELETE", f"/v1/processes/{started}")
    asked = agent.exec(os.path.join(agent.build, "moat"), "--socket", agent.socket, "status")
    assert asked.exit != 0 and ("AGENT_UNREACHABLE" in asked.err or "FORBIDDEN" in asked.err), asked
    mine = subprocess.run([*AS_USER, os.path.join(agent.build, "moat"), "--socket", agent.socket, "health"], capture_output=True, text=True, check=False)
    assert (mine.stdout, mine.returncode) == ("ok\n", 0), mine


# Lets go of who might name it, waits until the moat-init above it has ended, and asks the agent: the answer, or why there is none.
STRAGGLER = r"""
import os, socket, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
for fd in range(3): os.dup2(os.open("/dev/null", os.O_RDWR), fd)
while not os.path.exists(sys.argv[2] + ".go"): time.sleep(0.02)
try:
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(b"GET /v1/health HTTP/1.0\r\n\r\n")
    answer = s.recv(64).split(b"\r\n")[0].decode()
except OSError as e:
    answer = str(e)
with open(sys.argv[2] + ".new", "w") as f: f.write(answer)
os.rename(sys.argv[2] + ".new", sys.argv[2])
"""


def check_stragglers(agent):
    """Who was left by its moat-init does not become a client of the API."""
    api, told = agent.api(), pathlib.Path(agent.place, "told")
    assert api.request("POST", "/v1/contexts", {"name": "left"}).status in (200, 201)
    assert agent.exec(places.PYTHON, "-c", STRAGGLER, agent.socket, str(told), context="left").exit == 0
    inits = [each for each in processes_of(USER) if procs.name(each) == "moat-init"]
    assert api.request("DELETE", "/v1/contexts/left").status in (200, 204)
    procs.wait_until(lambda: any(procs.state(each) in (None, "Z") for each in inits), 10, "its moat-init has ended")
    pathlib.Path(agent.place, "told.go").touch()
    procs.wait_until(told.exists, 10, "it has asked")
    answer = told.read_text(encoding="utf-8")
    assert "403" in answer or "No such file" in answer or "denied" in answer, answer
    for name in ("told", "told.go"):
        pathlib.Path(agent.place, name).unlink()


LISTENS = "import socket, time; time.sleep(0.3); s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"


def check_ports(agent):
    """What a command listens on can be waited for, and is listed with whose it is, and no more when it has ended."""
    def listed(identifier):
        return [(each["port"], each["context"]) for each in agent.api().get("/v1/ports")["ports"] if each.get("id") == identifier]

    api = agent.api()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    other = api.start("/bin/sleep", "600")
    identifier = api.start("/bin/sh", "-c", f"{places.PYTHON} -c \"{LISTENS.format(port=port)}\" & wait")
    assert not listed(identifier) and api.get(f"/v1/ports/{port}?state=listening&timeoutMs=30000")["listening"] is True
    assert listed(identifier) == [(port, "default")] and not listed(other), api.get("/v1/ports")
    socket.create_connection(("127.0.0.1", port)).close()
    for each in (identifier, other):
        api.kill(each)
    procs.wait_until(lambda: not listed(identifier), 10, "the end of the port")


def check_status(agent, namespace):
    status = agent.api().get("/v1/status")
    guards = {each["id"]: "default" not in each["notFor"] for each in status["requirements"]}
    layers = {name: each["state"] == "active" for name, each in status["layers"].items()}
    assert layers["mounts"] == namespace and layers["seccomp"] and not layers["lsm"] and not layers["cgroup"], status["layers"]
    scopes = "from signals" in status["layers"]["landlock"]["checks"][0]["detail"]
    assert guards == {"A1": scopes, "A2": False, "A3": False, "A4": False, "A5": False, "A6": namespace, "A7": False, "A8": False, "A9": False,
                      "C3": layers["landlock"]}, guards
    return scopes


def check_world(world):
    @test(f"moatd --dev: an ordinary user {world} starts services, runs commands, strings and background processes, which end with their tree; "
          "says in status what is guarded, warns once, and leaves nothing", timeout=60)
    def dev(session):
        session.require(not session.vm, "of the kernel it asks namespaces, Landlock and seccomp, as the native run's has them")
        before = processes_of(USER)
        with running(session, world) as agent:
            for name in ("handed", "plain"):
                procs.wait_until(lambda each=name: agent.service(each)["state"] == "ready", 20, f"{name} is ready: {agent.log()}")
            scopes = check_status(agent, makes_user_namespaces(world))
            check_commands(agent)
            check_trees(agent)
            check_apart(agent, scopes)
            check_stragglers(agent)
            check_ports(agent)
            daemon = int(agent.exec("/bin/sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!").out)
            assert procs.state(daemon) in "SRD"
            assert agent.stop() == 0, agent.log()
            log = agent.log()
            assert log.count("warning: ") == 1 and "error: " not in log, log
            assert sorted(os.listdir(agent.place)) == ["log", "moat.conf"], os.listdir(agent.place)
        assert processes_of(USER) <= before, "a process is left"


for _world in WORLDS:
    check_world(_world)


@test("moatd --dev: where user code reaches the state directory, no agent believes what contexts it says the one before has left")
def planted(session):
    session.require(not session.vm, "as above")
    line = '{"name":"default","change":{"env":{"PLANTED":"by user code"}}}'
    with running(session, "in a container without privileges", "/dev/shm") as agent:
        assert agent.api().request("POST", "/v1/contexts", {"name": "kept"}).status in (200, 201)
        written = agent.exec("/bin/sh", "-c", f"umask 077; echo '{line}' >> {agent.place}/moat/contexts")
        assert written.exit == 0, written
        assert agent.stop() == 0, agent.log()
        agent.start()
        assert "PLANTED" not in agent.exec("/usr/bin/env", env={"SECRET": "given"}).out


@test("moatd --dev takes no option of enforcement, and moatd without it still refuses an ordinary user")
def options(session):
    program = os.path.join(session.build, "moatd")
    done = subprocess.run([program, "--dev", "--enforce", "audit", "--port", str(HTTP), "--", "/bin/true"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--dev takes no --enforce" in done.stderr, done
    session.require(subprocess.run([*AS_USER, "/usr/bin/test", "-x", program], check=False).returncode == 0, f"{USER} cannot execute {program}")
    done = subprocess.run([*AS_USER, program, "--enforce", "best-effort", "--port", str(HTTP), "--", "/bin/true"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "moat cannot run here; nothing was started (moatd --dev is for ordinary users)" in done.stderr, done
    done = subprocess.run([*AS_USER, program, "--cleanup"], capture_output=True, text=True, check=False)
    assert "not on a bpffs" not in done.stderr, done  # he is told that he may not look, where he may not
    done = subprocess.run([*AS_USER, program, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout.endswith("moatd --dev runs without.\n"), done
