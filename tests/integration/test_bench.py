# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the hooks runs, on the common agent. What it measures is not judged here: times vary."""

import json
import os
import subprocess
import sys

from lib import places
from lib.tap import test
from test_bpf import bpftool, pins

HOOKS = os.path.join(places.SOURCE, "tests/bench/hooks")
STATES = {"off", "unlabelled", "again", "labelled", "user"}


@test("the benchmark of the layers without LSM programs has its figures, from agents with them and without", needs=("moat",), timeout=60)
def layers(session):
    session.require(not session.vm and not session.enforced, "it is of the machine that it runs on, where there are no LSM programs")
    session.require(session.status()["layers"]["landlock"]["state"] == "active", "this kernel has no Landlock")
    done = subprocess.run([sys.executable, os.path.join(places.SOURCE, "tests/bench/layers"), "--build", session.build, "--rounds", "1", "--commands", "2",
                           "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    found = json.loads(done.stdout)
    assert set(found["us"]) == {"with", "without", "again"} and found["ratio"] > 0 and found["noise"] > 0, found


@test("the benchmark of the hooks has a number for every operation in every state, and leaves the agent enforcing",
      needs=("moat", "lsm"), timeout=60)
def hooks(session):
    done = subprocess.run([sys.executable, HOOKS, "--build", session.build, "--socket", session.agent.socket,
                           "--instance", session.instance, "--context", "shared", "--rounds", "1", "--slice", "0.1",
                           "--programs", "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    result = json.loads(done.stdout)
    assert len(result["operations"]) >= 10, result
    for each in result["operations"]:
        assert set(each["medianUs"]) == STATES and all(value > 0 for value in each["medianUs"].values()), each
    runs = result["programs"]["kill(self, 0)"]["moat_task_kill"]["unlabelled"]["runs"]  # beside those of its own socket
    assert 0.9 < runs < 1.1, result["programs"]["kill(self, 0)"]
    settings = bpftool("map", "dump", "pinned", pins(session, "maps") + "/settings")[0]["formatted"]["value"]
    assert settings["mode"] in (2, "MOAT_MODE_ENFORCE"), settings
