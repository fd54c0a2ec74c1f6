# SPDX-License-Identifier: Apache-2.0
"""What containers are like: how the hierarchy of cgroups is mounted in them, which capabilities and devices they have."""

import os
import re
import resource
import signal
import socket

from lib import moatd, places, procs, unixhttp
from lib.tap import test

READ_ONLY = "awk '$3 == \"cgroup2\" { print $2 }' /proc/self/mounts | while read -r at; do mount -o remount,bind,ro \"$at\"; done"


def inside(script):
    """The agent with mounts of its own, after what a container engine would do."""
    return ("unshare", "-m", "/bin/sh", "-ec", f'{script}; exec "$@"', "sh")


def run_one(session, name, where, sections="", check=lambda agent: None):
    agent = moatd.Moatd(session.build, f"itest-{name}-{os.getpid()}", sections, "require" if session.vm else "best-effort",
                        inside=where)
    try:
        agent.start(60 * session.patience)
        for context in ("default", "other"):
            result = agent.api().exec("/bin/sh", "-c", "sleep 1000 & echo here", context=context)
            assert result.exit == 0 and result.out == "here\n", result
        check(agent)
        status, left = agent.stop()
        assert status == 0 and not left, (status, left, agent.log())
    finally:
        agent.kill()
        agent.remove_files()


@test("with cgroup2 mounted read-only, as in containers that are not privileged, commands run, and with their cgroup they end",
      timeout=100)
def read_only(session):
    def check(agent):
        identifier = agent.api().start("/bin/sh", "-c", "(sleep 1000 & sleep 1000 &) ; sleep 1000")
        procs.wait_until(lambda: agent.api().process(identifier)["state"] == "running", 10, "it runs")
        agent.api().kill(identifier)
        procs.wait_until(lambda: agent.api().process(identifier)["state"] == "ended", 10, "its end")
    run_one(session, "cg-ro", inside(READ_ONLY), "[context other]\n", check)


NODES = """
import os, stat
for name in ("moat-test-0", "moat-test/1", "moat-test-2", "null"):
    try:
        st = os.stat("/dev/" + name)
        try:
            what = len(os.read(os.open("/dev/" + name, os.O_RDWR), 3))
        except OSError as error:
            what = error.strerror
        try:
            os.chmod("/dev/" + name, 0o777)
            what = "changed"
        except OSError:
            pass
        print(name, oct(st.st_mode), st.st_uid, what)
    except FileNotFoundError:
        print(name, None)
"""


@test("each device that is given to user code is in its /dev, with owner and mode, by number and by path, also for who may mount",
      timeout=100)
def devices(session):
    # the numbers of what is there in every container, for what nodes of others would be
    made = "mount -t tmpfs none /mnt; for each in null zero full random urandom tty; do cp -a /dev/$each /mnt/; done; " \
           "mkdir /mnt/pts /mnt/shm /mnt/moat-test; mknod -m 0640 /mnt/moat-test-0 c 1 5; mknod -m 0666 /mnt/moat-test/1 c 1 9; " \
           "mknod /mnt/moat-test-2 b 7 0; chown 7:8 /mnt/moat-test-0; ln -s pts/ptmx /mnt/ptmx; mount --move /mnt /dev; " \
           "mount -t devpts -o ptmxmode=0666 none /dev/pts"

    def check(agent):
        for fields in ({}, {"isolated": True}, {"context": "other"}, {"context": "full"}, {"context": "full", "isolated": True}):
            result = agent.api().exec(places.PYTHON, "-c", NODES, **fields)
            assert result.out == "moat-test-0 0o20640 7 3\nmoat-test/1 0o20666 0 3\nmoat-test-2 None\nnull 0o20666 0 0\n", (fields, result)
    run_one(session, "devices", inside(made), "device = 1:5\ndevice = /dev/moat-test/1\n"
            "[context other]\n[context full]\ncapabilities = all\n", check)


def with_files(number):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def needed_files(session):
    """What an agent with one service asks for, of the refusal of one that has too few."""
    text = f"[moat]\ninstance = itest-nofile-{os.getpid()}\nstate_dir = /run/itest-nofile-{os.getpid()}\nenforce = best-effort\n" \
           "[service spare]\ncommand = /bin/sleep 1000\n"
    status, said, _ = moatd.refuse(session.build, text, seconds=60 * session.patience, inside=("prlimit", "--nofile=40:40"))
    assert status == 1 and not os.path.exists(f"/run/itest-nofile-{os.getpid()}"), (status, said)
    found = re.search(r"40 descriptors are not enough for this configuration, which needs (\d+)", said)
    assert found, said
    return int(found[1])


@test("with too few descriptors the start is refused, with the number that is needed; with that number all can be done", timeout=60)
def few_descriptors(session):
    session.require(not session.vm, "RLIMIT_NOFILE is the agent's own affair; the kernel programs take some more")
    number = needed_files(session)
    agent = moatd.Moatd(session.build, f"itest-few-{os.getpid()}", "[context other]\n[service spare]\ncommand = /bin/sleep 1000\n",
                        "best-effort")
    try:
        agent.start(30, preexec_fn=with_files(number))
        running = [agent.api().start("/bin/sleep", "1000") for _ in range(3)]
        for fields in ({}, {"isolated": True}, {"context": "other"}, {"context": "other", "isolated": True}):
            assert agent.api().exec("/bin/echo", "here", **{**fields, "env": {}}).out == "here\n", fields
        refused = None
        try:
            for _ in range(1000):
                running.append(agent.api().start("/bin/sleep", "1000"))
        except unixhttp.Refused as error:
            refused = error.code
        assert refused == "TOO_MANY_PROCESSES", (refused, len(running))
        for each in running:
            agent.api().kill(each)
        status, left = agent.stop()
        assert status == 0 and not left and "Too many open files" not in agent.log(), (status, left, agent.log())
    finally:
        agent.kill()
        agent.remove_files()


@test("silent connections keep neither a service from being started again nor a caller from being answered", timeout=60)
def silent_connections(session):
    session.require(not session.vm, "RLIMIT_NOFILE is the agent's own affair")
    agent = moatd.Moatd(session.build, f"itest-silent-{os.getpid()}", "[service spare]\ncommand = /bin/sleep 1000\n", "best-effort")
    silent = []
    try:
        agent.start(30, preexec_fn=with_files(256))
        before = agent.wait_ready("spare", 10)["pid"]
        for _ in range(300):
            silent.append(socket.socket(socket.AF_UNIX))
            silent[-1].connect(agent.socket)
        os.kill(before, signal.SIGKILL)
        # the first back-off is a second
        procs.wait_until(lambda: agent.service("spare")["pid"] not in (None, before), 5, "the service is there again")
        assert agent.api().exec("/bin/echo", "here").out == "here\n"
        assert "Too many open files" not in agent.log(), agent.log()
    finally:
        for each in silent:
            each.close()
        agent.kill()
        agent.remove_files()
