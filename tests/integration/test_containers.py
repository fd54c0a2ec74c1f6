# SPDX-License-Identifier: Apache-2.0
"""What containers are like: how the hierarchy of cgroups is mounted in them, which capabilities and devices they have."""

import os

from lib import moatd, procs
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
