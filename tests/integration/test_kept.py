# SPDX-License-Identifier: Apache-2.0
"""Contexts outlive the agent that made them: one that is killed, and one that is stopped."""

import json
import os
import signal
import stat
import subprocess
import time
from urllib.parse import quote

from lib import moatd, procs
from lib.tap import test

CONFIGURED = """
[context named]
env = A=configured
env = B=configured
directory = /usr
"""


class Lives:
    """An agent that is started more than once."""

    def __init__(self, session, name, sections=CONFIGURED):
        self.agent = moatd.Moatd(session.build, f"itest-kept-{name}-{os.getpid()}", sections, "best-effort")
        self.file = f"{self.agent.state_dir}/contexts"
        self.agent.alias = f"{self.agent.state_dir}/alias"  # on the same file system

    def __enter__(self):
        os.makedirs(self.agent.state_dir)
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "mode=0700,size=64m", "tmpfs", self.agent.state_dir], check=True)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.agent.kill()
        subprocess.run(["/bin/umount", self.agent.state_dir], check=True)
        self.agent.remove_files()

    def start(self):
        if os.path.exists(self.agent.alias):
            os.unlink(self.agent.alias)
        self.agent.start(60 * procs.SLACK)
        self.api = self.agent.api()

    def end(self, how=signal.SIGKILL):
        self.agent.process.send_signal(how)
        self.agent.process.wait(60)

    def again(self, how=signal.SIGKILL):
        """Ends the agent and starts another one."""
        self.end(how)
        self.start()

    def run(self, command, **fields):
        reply = self.api.request("POST", "/v1/exec", {"command": command, **fields})
        assert reply.status == 200, reply
        return reply.json

    def make(self, name, **settings):
        reply = self.api.request("POST", "/v1/contexts", {"name": name, **settings})
        assert reply.status == 201, reply

    def contexts(self):
        """All of them, without what is of one agent."""
        listed = [self.api.get(f"/v1/contexts/{quote(name, safe='')}") for name in self.names()]
        own = {name: ("number", "running", "usage", *(["createdAt"] if name in ("default", "named") else [])) for name in self.names()}
        return {each["name"]: {key: value for key, value in each.items() if key not in own[each["name"]]} for each in listed}

    def names(self):
        return [each["name"] for each in self.api.get("/v1/contexts")["contexts"]]


def change(lives):
    """Contexts of every kind, and what can be left in them."""
    lives.make("made", env={"X": "1", "TOKEN": "s3cr3t"}, directory="/usr", shell="fallback", cpu_max=0.5, capabilities="none", tmp="private", seccomp="off")
    lives.make("bytes", env={"RAW": {"base64": "/w=="}}, memory_max="infinity")
    lives.make("removed")
    lives.make("place", workspace=f"{lives.agent.directory}/workspace", preset=["python"])
    assert lives.api.request("PATCH", "/v1/contexts/named", {"env": {"A": None, "C": "patched"}, "directory": "/opt"}).status == 200
    assert lives.api.request("DELETE", "/v1/contexts/removed").status == 200
    assert lives.run("cd /tmp && export WHERE=here && LOCAL=1; unset LANG; export LATER", session="a/b ü")["created"]
    lives.run("cd /var; export FROM=default")
    lives.run("cd /etc", context="made")
    assert lives.api.request("PATCH", "/v1/contexts/made", {"env": {"X": "2"}}).status == 200


@test("contexts are after a kill what they were before it: settings, state, sessions, and what was changed of those of the configuration",
      timeout=90)
def killed(session):
    with Lives(session, "killed") as lives:
        change(lives)
        before, instance = lives.contexts(), lives.api.get("/v1/health")["instance"]
        for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            lives.again(how)
            assert lives.contexts() == before, (how, lives.contexts(), before)
        assert [*before] == ["default", "named", "made", "bytes", "place", "session-a/b ü"]
        assert lives.api.get("/v1/health")["instance"] != instance
        answer = lives.run("pwd; echo $WHERE $LOCAL; command -v no-such || echo $LANG.", session="a/b ü")
        assert answer["stdout"] == "/tmp\nhere 1\n.\n" and answer["created"] is False, answer
        assert lives.run("pwd; printenv A B C", context="named")["stdout"] == "/opt\nconfigured\npatched\n"
        assert lives.run("pwd; printenv X TOKEN", context="made")["stdout"] == "/etc\n2\ns3cr3t\n"
        assert lives.api.get("/v1/status")["contexts"] == {"count": 6, "kept": True, "reason": None}


@test("what a secure command has seen is in no file, and what is kept is the agent's alone and on a tmpfs", timeout=60)
def secrets(session):
    with Lives(session, "secrets") as lives:
        assert lives.api.request("POST", "/v1/exec", {"argv": ["/bin/true"], "env": {"KEY": "s3cr3t-of-one"}, "session": "x"}).status == 200
        lives.make("more", env={"KEY": "s3cr3t-of-all"})
        with open(lives.file, encoding="utf-8") as file:
            text = file.read()
        assert "s3cr3t-of-all" in text and "s3cr3t-of-one" not in text, text
        found = os.stat(lives.file)
        assert stat.S_IMODE(found.st_mode) == 0o600 and found.st_uid == 0
        for line in text.splitlines():
            json.loads(line)
        shown = lives.api.request("POST", "/v1/exec", {"argv": ["/bin/cat", lives.file]}).json
        assert shown["exitCode"] != 0 and "s3cr3t" not in shown["stdout"], shown


@test("a session that an agent before has made is not made again, and one that is not there is refused where the request says so", timeout=60)
def sessions(session):
    with Lives(session, "sessions") as lives:
        reply = lives.api.request("POST", "/v1/exec", {"argv": ["/bin/true"], "session": "one", "create": False})
        assert reply.status == 404 and reply.json["code"] == "NO_SUCH_CONTEXT", reply
        assert "session-one" not in lives.names()
        assert lives.run("true", session="one")["created"]
        lives.again()
        assert lives.run("true", session="one", create=False)["created"] is False
        instance = lives.api.get("/v1/health")["instance"]
        lives.again()
        reply = lives.api.request("POST", "/v1/exec", {"argv": ["/bin/true"], "session": "one", "instance": instance})
        assert reply.status == 409 and reply.json["code"] == "AGENT_RESTARTED", reply


@test("nothing is left when nothing is to be kept: a context that is gone, a state that was reset", timeout=60)
def nothing(session):
    with Lives(session, "nothing") as lives:
        change(lives)
        for name in ("made", "bytes", "place", "session-a%2Fb%20%C3%BC"):
            assert lives.api.request("DELETE", f"/v1/contexts/{name}").status == 200
        assert lives.api.request("DELETE", "/v1/contexts/default/state").json["reset"]
        assert lives.api.request("PATCH", "/v1/contexts/named", {"env": {"A": "configured", "C": None}, "directory": "/usr"}).status == 200
        before = lives.contexts()
        lives.again()
        assert lives.contexts() == before
        lives.agent.stop()
        assert not os.path.exists(lives.file)


@test("a line that was cut off when the agent died is not read, one that makes no sense is said, and all others count", timeout=60)
def broken(session):
    with Lives(session, "broken") as lives:
        lives.make("whole")
        lives.end()
        with open(lives.file, "a", encoding="utf-8") as file:
            file.write('nonsense\n{"name":"strange","session":false,"createdAt":1,"settings":77}\n{"name":"named","change":{"pid":"shared"}}\n{"name":"cut","set')
        lives.start()
        assert lives.names() == ["default", "named", "whole"], lives.contexts()
        log = lives.agent.log()
        assert "1 lines cannot be read" in log and "context named is not as the agent before has left it: pid can be given" in log, log


@test("a file that others could have written is not read: the agent does not start", timeout=60)
def foreign(session):
    with Lives(session, "foreign") as lives:
        lives.make("one")
        lives.end()
        os.chmod(lives.file, 0o644)
        try:
            lives.start()
            raise AssertionError("it has started")
        except moatd.DidNotStart as error:
            assert "is not the agent's alone" in str(error), error
        os.chmod(lives.file, 0o600)
        lives.start()
        assert "one" in lives.names()


@test("a context whose name the configuration has taken is the configuration's, and one that it has given up is gone", timeout=60)
def reconfigured(session):
    with Lives(session, "reconfigured") as lives:
        lives.make("taken", env={"X": "1"})
        assert lives.api.request("PATCH", "/v1/contexts/named", {"env": {"C": "patched"}}).status == 200
        with open(lives.agent.config, encoding="utf-8") as file:
            text = file.read()
        with open(lives.agent.config, "w", encoding="utf-8") as file:
            file.write(text.replace("[context named]", "[context taken]"))
        lives.again()
        found = lives.contexts()
        assert [*found] == ["default", "taken"] and found["taken"]["settings"]["env"] == {"A": "configured", "B": "configured"}, found
        assert lives.agent.log().count("is not as the agent before has left it") == 2, lives.agent.log()


@test("the file does not grow with what is changed again and again, and a thousand contexts are there again", timeout=120)
def many(session):
    with Lives(session, "many") as lives:
        value = "x" * 10000
        for number in range(400):
            assert lives.api.request("PATCH", "/v1/contexts/named", {"env": {"V": f"{number}{value}"}}).status == 200
        assert os.path.getsize(lives.file) < 3 << 20, os.path.getsize(lives.file)
        for number in range(1000):
            lives.make(f"c{number}")
        size = os.path.getsize(lives.file)
        assert size < 3 << 20, size
        lives.again()
        assert len(lives.names()) == 1002
        assert lives.api.get("/v1/contexts/named")["settings"]["env"]["V"] == f"399{value}"


@test("where the state directory is on a disk nothing is kept, and the status says so", timeout=60)
def on_disk(session):
    kind = subprocess.run(["stat", "-f", "-c", "%T", "/var/tmp"], check=True, capture_output=True, text=True).stdout.strip()
    session.require(kind != "tmpfs", "no disk is known here")
    agent = moatd.Moatd(session.build, f"itest-kept-disk-{os.getpid()}", "", "best-effort")
    with open(agent.config, encoding="utf-8") as file:
        text = file.read()
    with open(agent.config, "w", encoding="utf-8") as file:
        agent.state_dir = f"/var/tmp/{agent.instance}"
        file.write(text.replace(f"/run/{agent.instance}", agent.state_dir))
    agent.socket, agent.alias = f"{agent.state_dir}/moat.sock", f"/var/tmp/{agent.instance}.alias"
    try:
        agent.start(60 * procs.SLACK)
        assert agent.api().request("POST", "/v1/contexts", {"name": "one", "env": {"TOKEN": "s3cr3t"}}).status == 201
        said = agent.api().get("/v1/status")["contexts"]
        assert said == {"count": 2, "kept": False, "reason": "state_dir is on no tmpfs, and variables are not written to a disk"}, said
        assert not os.path.exists(f"{agent.state_dir}/contexts")
    finally:
        agent.kill()
        agent.remove_files()


@test("where the state directory is full the agent works on, says that nothing is kept, and keeps all again when there is room", timeout=90)
def full(session):
    with Lives(session, "full") as lives:
        lives.make("early")
        blocker = f"{lives.agent.state_dir}/blocker"
        with open(blocker, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 65536)
            except OSError:
                pass
        for number in range(400):
            lives.make(f"c{number}", env={"V": "x" * 1000})
        said = lives.api.get("/v1/status")["contexts"]
        assert said["count"] == 403 and not said["kept"] and not os.path.exists(lives.file), said
        os.unlink(blocker)
        time.sleep(1.1)  # it tries again with the next change, so long after
        lives.make("late")
        assert lives.api.get("/v1/status")["contexts"] == {"count": 404, "kept": True, "reason": None}
        lives.again()
        assert len(lives.names()) == 404
