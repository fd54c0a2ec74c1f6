# SPDX-License-Identifier: Apache-2.0
"""tests/check-includes holds the rules of the house: it finds what breaks them, and nothing in this tree does."""

import os
import subprocess
import tempfile

from lib import places
from lib.tap import test

PROGRAM = os.path.join(places.SOURCE, "tests/check-includes")


def said(files=None):
    """(exit status, lines) of a tree of such files: path below userspace/ -> what it includes; of this tree when none are given."""
    if files is None:
        done = subprocess.run([PROGRAM], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()
    with tempfile.TemporaryDirectory(prefix="moat-test-") as directory:
        for path, included in files.items():
            path = os.path.join(directory, "userspace", path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="ascii") as file:
                file.writelines(f'#include "{each}"\n' for each in included)
        done = subprocess.run([PROGRAM, directory], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()


@test("no file of this tree includes upwards or in a circle, and every exception is still needed")
def this_tree(_session):
    assert said() == (0, []), said()


@test("includes that go down, to one's own folder, or to what two programs say to each other are in order")
def in_order(_session):
    tree = {"base/base.h": [], "init/protocol.h": [], "agent/config/config.h": ["base/base.h"], "agent/config/internal.h": ["config.h"],
            "agent/config/load.c": ["internal.h", "agent/config/config.h"], "agent/exec/exec.c": ["init/protocol.h", "base/base.h"],
            "agent/agent.h": ["agent/config/config.h"], "agent/main.c": ["agent/agent.h"], "cli/main.c": ["base/base.h", "stdio.h"]}
    assert said(tree) == (0, []), said(tree)


WRONG = {
    "an include that goes up": ({"base/a.c": ["json/json.h"], "json/json.h": []}, "base/a.c includes json/json.h: base stands below json"),
    "a file of the agent's that includes main's": ({"agent/agent.c": ["agent/main.c"], "agent/main.c": []},
                                                   "agent/agent.c includes agent/main.c: agent stands below agent/main.c"),
    "neighbours that know each other": ({"agent/service/a.c": ["agent/namespace/namespace.h"], "agent/namespace/namespace.h": []},
                                        "agent/service/a.c includes agent/namespace/namespace.h: they share a floor"),
    "another folder's internal.h": ({"agent/api/a.c": ["agent/exec/internal.h"], "agent/exec/internal.h": []},
                                    "agent/api/a.c includes agent/exec/internal.h: agent/exec/internal.h is for the files of agent/exec alone"),
    "one program that includes another's": ({"agent/exec/a.c": ["init/spawn.h"], "init/spawn.h": []},
                                            "agent/exec/a.c includes init/spawn.h: agent/exec and init are of different programs"),
    "a folder without a floor": ({"attic/a.c": ["base/base.h"], "base/base.h": []},
                                 "attic/a.c includes base/base.h: attic stands on no floor: give it one in tests/check-includes"),
    "a circle": ({"base/a.h": ["b.h"], "base/b.h": ["base/c.h"], "base/c.h": ["a.h"]},
                 "a circle: base/a.h -> base/b.h -> base/c.h -> base/a.h"),
}


def check_wrong(what, files, line):
    @test(f"{what} is found and named")
    def found(_session):
        assert said(files) == (1, [line]), said(files)


for _what, _case in WRONG.items():
    check_wrong(_what, *_case)
