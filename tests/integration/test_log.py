# SPDX-License-Identifier: Apache-2.0
"""moatd's own log, signals before it is ready, and what it does without. What is tested here does not depend on the kernel."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from lib import moatd, procs
from lib.tap import test

INSTANCE = "log"


def fill(pipe):
    """Leaves no room in a pipe."""
    fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_NONBLOCK)
    for size in (4096, 1):
        try:
            while True:
                os.write(pipe, b"x" * size)
        except BlockingIOError:
            pass
    fcntl.fcntl(pipe, fcntl.F_SETFL, 0)


def child_of(pid, program):
    """The child of pid that runs program, or None."""
    for child in procs.children(pid):
        try:
            if os.path.samefile(f"/proc/{child}/exe", program):
                return child
        except OSError:
            pass
    return None


@test("a log pipe that is full and that nobody reads stops neither the agent's start nor its answers, and what is lost is counted",
      needs=(), timeout=60)
def full_pipe(session):
    service = "[service idle]\ncommand = /bin/sleep 1000\n"  # so that there is something to say
    agent = moatd.Moatd(session.build, INSTANCE, service, enforce="best-effort")
    reader, writer = os.pipe()
    try:
        fill(writer)
        agent.process = subprocess.Popen([os.path.join(session.build, "moatd"), "-c", agent.config], stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=writer, env=moatd.clean_environment())
        procs.wait_until(agent.healthy, 60, "an answer of the agent")
        done = agent.api().exec("/bin/echo", "there")
        assert done.out == "there\n", done
        text = agent.api().request("GET", "/metrics").body.decode()
        assert "moat_log_drops_total 0\n" not in text and "moat_log_drops_total " in text, text
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(60) == 0
    finally:
        agent.kill()
        agent.remove_files()
        os.close(reader)
        os.close(writer)


@test("a SIGTERM that comes while moatd, as PID 1, still finds out what the kernel offers ends it", needs=(), timeout=60)
def early_signal(session):
    agent = moatd.Moatd(session.build, INSTANCE, "", enforce="best-effort")
    program = os.path.join(session.build, "moatd")
    try:
        for delay in (0.005, 0.015, 0.025):
            with open(agent.log_path, "wb") as log:
                outer = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", program, "-c", agent.config],
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=moatd.clean_environment())
            inner = procs.wait_until(lambda outer=outer: child_of(outer.pid, program), 20, "moatd as PID 1")
            time.sleep(delay)
            os.kill(inner, signal.SIGTERM)
            try:
                status = outer.wait(40)
            except subprocess.TimeoutExpired as error:
                outer.kill()
                outer.wait()
                raise AssertionError(f"SIGTERM after {delay} s is lost: {agent.log()}") from error
            assert status in (0, 1), (status, agent.log())  # 1: of a start that it has cut short
    finally:
        agent.kill()
        agent.remove_files()


@test("without CAP_NET_ADMIN, as in rootless containers, moatd starts best-effort and runs the largest command there is", needs=(), timeout=60)
def no_net_admin(session):
    agent = moatd.Moatd(session.build, INSTANCE, "", enforce="best-effort")
    try:
        with open(agent.log_path, "wb") as log:
            agent.process = subprocess.Popen(["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin",
                                              os.path.join(session.build, "moatd"), "-c", agent.config], stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=log, env=moatd.clean_environment())
        procs.wait_until(agent.healthy, 60, "an answer of the agent")
        done = agent.api().exec("/bin/sh", "-c", "printf %s \"$A$B\" | wc -c", env={"A": "a" * 120000, "B": "b" * 120000})
        assert done.out.strip() == "240000", done
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(60) == 0
    finally:
        agent.kill()
        agent.remove_files()


@test("installed elsewhere than it was built for, moatd finds its moat-init", needs=(), timeout=60)
def another_prefix(session):
    with tempfile.TemporaryDirectory(prefix="moat-test-") as prefix:
        for program, place in (("moatd", "sbin"), ("moat-init", "libexec/moat")):
            os.makedirs(f"{prefix}/{place}", exist_ok=True)
            shutil.copy(os.path.join(session.build, program), f"{prefix}/{place}/{program}")
        agent = moatd.Moatd(session.build, INSTANCE, "", enforce="best-effort")
        agent.build = f"{prefix}/sbin"
        try:
            agent.start(60)
            assert agent.api().exec("/bin/echo", "there").out == "there\n"
            refused = agent.api().request("POST", "/v1/exec", {"command": "echo there"})  # moat-run is not there
            assert (refused.status, refused.json["code"]) == (500, "INTERNAL"), refused.json
            agent.stop()
        finally:
            agent.kill()
            agent.remove_files()


@test("a variable of the configuration that looks like a secret is named in the log and in a record, without its value", needs=(),
      timeout=60)
def secret_names(session):
    agent = moatd.Moatd(session.build, INSTANCE, "[context default]\nenv = DB_PASSWORD=hunter2\nenv = PORT=1\n", enforce="best-effort")
    try:
        agent.start(60)
        assert agent.api().exec("/bin/sh", "-c", "echo $DB_PASSWORD").out == "hunter2\n"
        found = [json.loads(line) for line in agent.api().request("GET", "/v1/events").body.splitlines()]
        named = [(each["context"], each["variable"]) for each in found if each["type"] == "secret-name"]  # not the self-test's denial
        assert named == [("default", "DB_PASSWORD")], found
        assert agent.stop()[0] == 0
        assert "DB_PASSWORD" in agent.log() and "hunter2" not in agent.log(), agent.log()
    finally:
        agent.kill()
        agent.remove_files()
