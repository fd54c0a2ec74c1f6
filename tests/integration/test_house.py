# SPDX-License-Identifier: Apache-2.0
"""
tests/check-includes holds the rules of the house: it finds what breaks them, and nothing in this tree does. tests/check knows how
long it will still take. What is built is what was meant.
"""

import importlib
import io
import os
import shutil
import subprocess
import sys
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


class Recorded:
    """Two kernels and the native run, as the last run left them: 100 s, 40 s and 30 s."""

    KNOWN = {"a": {"seconds": 100, "tests": {"one": 60, "two": 30}}, "b": {"seconds": 40, "tests": {"one": 40}},
             "native": {"seconds": 30, "tests": {"one": 10, "three": 20}}}

    def __init__(self, progress, slots):
        lanes = {name: progress.Lane(name, list(each["tests"]), self.KNOWN) for name, each in self.KNOWN.items()}
        self.progress = progress.Progress([[lanes["a"]], [lanes["b"]], [lanes["native"]]], slots, io.StringIO())


@test("the time that is left is that of the last run of what has not been run, shared out to the processors")
def time_left(_session):
    module = load_progress()
    assert Recorded(module, 1).progress.left() == 170 and Recorded(module, 2).progress.left() == 100
    some = Recorded(module, 2).progress
    some.begin("a")
    some.line("a", "ok 1 - one # time=60.00s")
    some.line("a", "# ok 2 - two # time=30.00s")
    assert some.left() == 60, some.left()  # b on the other processor, native where a will have ended
    some.line("a", "not ok 2 - two # time=60.00s")
    some.end("a")
    some.line("b", "ok 1 - one # SKIP not here # time=0.50s")
    assert [each[:2] for each in some.slowest()] == [(60, "two"), (60, "one"), (0.5, "one")], some.slowest()
    new = module.Lane("new", ["one", "four"], Recorded.KNOWN)  # what is known of elsewhere, and a guess
    assert new.left(0) == 10 + module.GUESS + module.STARTUP, new.left(0)


def load_progress():
    sys.path.insert(0, os.path.join(places.SOURCE, "tests/lib"))
    try:
        return importlib.import_module("progress")
    finally:
        sys.path.pop(0)

@test("the same bytes come of the same source in another folder: kernel programs with their types and lines, objects, archives", timeout=120)
def same_bytes(_session):
    made = []
    with tempfile.TemporaryDirectory(prefix="moat-test-") as parent:
        for name in ("a", "another-folder"):
            folder = os.path.join(parent, name)
            for each in ("bpf", "include", "userspace"):
                shutil.copytree(os.path.join(places.SOURCE, each), os.path.join(folder, each))
            shutil.copy(os.path.join(places.SOURCE, "Makefile"), folder)
            objects = [f"build/{each}" for each in ("bpf/label.bpf.o", "userspace/base/log.o", "userspace/lib/http.o")]
            done = subprocess.run(["make", "-C", folder, *objects], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done
            contents = {}
            for each in objects:
                with open(os.path.join(folder, each), "rb") as file:
                    contents[each] = file.read()
                assert parent.encode() not in contents[each], each
            made.append(contents)
    assert made[0] == made[1], [each for each in made[0] if made[0][each] != made[1][each]]
    assert b"userspace/base/log.c" in made[0]["build/userspace/base/log.o"]  # which it does name, from where it is built


@test("moat, moat-init and moat-run are static, and at random addresses all the same")
def static_pie(session):
    for name in ("moat", "moat-init", "moat-run"):
        done = subprocess.run(["readelf", "-hldW", os.path.join(session.build, name)], capture_output=True, text=True, check=True)
        assert "DYN (Position-Independent Executable" in done.stdout, (name, done.stdout)
        assert "INTERP" not in done.stdout and "NEEDED" not in done.stdout and "GNU_RELRO" in done.stdout, (name, done.stdout)
