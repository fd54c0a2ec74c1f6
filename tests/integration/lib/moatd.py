# SPDX-License-Identifier: Apache-2.0
"""One running agent: its files, its configuration, its end."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from lib import leaks, procs, unixhttp


def clean_environment(**more):
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", **more}


class DidNotStart(AssertionError):
    pass


class Spent:
    """Seconds in which all agents of this run started, or ended and were gone."""

    def __init__(self):
        self.times, self.seconds = 0, 0.0

    @contextlib.contextmanager
    def clock(self):
        begin = time.monotonic()
        try:
            yield
        finally:
            self.times, self.seconds = self.times + 1, self.seconds + time.monotonic() - begin

    def __str__(self):
        return f"{self.times} in {self.seconds:.0f} s"


starts, stops = Spent(), Spent()


def ports_of(config):
    with open(config, encoding="utf-8") as file:
        return {each for line in re.findall(r"^port = (.*)", file.read(), re.M) for each in re.findall(r"\d+", line)}


class Moatd:
    """Starts with start() or not at all; stop() returns what was left behind."""

    def __init__(self, build, instance, sections, enforce="require", whole_machine=False, scratch=None, inside=()):
        """scratch: another directory of the tests that use this agent; inside: the command that runs it."""
        self.build, self.instance, self.inside = build, instance, inside
        self.whole_machine, self.scratch = whole_machine, scratch
        self.directory = tempfile.mkdtemp(prefix="moat-test-")
        self.state_dir = f"/run/{instance}"
        self.socket = f"{self.state_dir}/moat.sock"
        self.alias = f"/run/{instance}.alias"  # another hard link of the socket, in sight of user code
        self.config = os.path.join(self.directory, "moat.conf")
        self.log_path = os.path.join(self.directory, "log")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"[moat]\ninstance = {instance}\nstate_dir = {self.state_dir}\nenforce = {enforce}\n{sections}")
        self.process = self.before = None
        self.members = set()

    @starts.clock()
    def start(self, seconds, preexec_fn=None, **environment):
        first, self.before = self.before, leaks.Snapshot(self.instance, self.whole_machine, self.directory, self.scratch)
        if first:  # what an agent that was killed had reserved is taken back by the next
            self.before.reserved = first.reserved
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*self.inside, os.path.join(self.build, "moatd"), "-c", self.config], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, env=clean_environment(**environment), start_new_session=True,
                preexec_fn=preexec_fn)
        deadline = time.monotonic() + seconds
        while not self.healthy():
            status = self.process.poll()
            if status is not None:
                raise DidNotStart(f"moatd ended with status {status}: {self.log()}")
            if time.monotonic() > deadline:
                self.kill()
                raise DidNotStart(f"moatd did not answer within {seconds} s: {self.log()}")
            time.sleep(0.05)
        os.link(self.socket, self.alias)
        return self

    def healthy(self):
        try:
            return self.api(timeout=10).get("/v1/health")["status"] == "ok"
        except OSError:
            return False

    def api(self, timeout=600):
        return unixhttp.Client(self.socket, timeout)

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def service(self, name):
        for each in self.api().get("/v1/services")["services"]:
            if each["name"] == name:
                return each
        raise AssertionError(f"the agent knows no service {name}")

    def wait_ready(self, name, seconds):
        return procs.wait_until(lambda: (s := self.service(name))["state"] == "ready" and s, seconds, f"service {name} ready")

    def unlink_alias(self):
        if os.path.exists(self.alias):
            os.unlink(self.alias)

    @stops.clock()
    def stop(self, seconds=120):
        """SIGTERM. Returns (exit status, what is left behind)."""
        self.members = leaks.cgroup_members("moat-" + self.instance)
        self.unlink_alias()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise AssertionError(f"moatd did not end within {seconds} s of SIGTERM: {self.log()}") from error
        return status, self.before.wait_for_none(self.members, self.socket, self.process.pid)

    def kill(self):
        """For when stop() is out of the question: ends the agent and clears away what it then leaves."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self.before.free_ports(ports_of(self.config))
        self.unlink_alias()
        leaks.clear(self.instance)
        shutil.rmtree(self.state_dir, ignore_errors=True)

    def remove_files(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(self.state_dir, ignore_errors=True)


# Runs what follows where all of /proc/sys is read-only, as in most containers.
READ_ONLY_SYSCTLS = ("unshare", "-m", "/bin/sh", "-c",
                     'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"', "sh")


def refuse(build, text, *arguments, seconds=300, inside=()):
    """Runs moatd, by the command inside, with a configuration that it must refuse. Returns (exit status, stderr, file name)."""
    with tempfile.TemporaryDirectory(prefix="moat-test-") as directory:
        os.chmod(directory, 0o755)  # whoever runs it
        path = os.path.join(directory, "moat.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        done = subprocess.run([*inside, os.path.join(build, "moatd"), "-c", path, *arguments], stdin=subprocess.DEVNULL, check=False,
                              capture_output=True, text=True, timeout=seconds, env=clean_environment())
        return done.returncode, done.stderr, path
