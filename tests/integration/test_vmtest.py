# SPDX-License-Identifier: Apache-2.0
"""
The kernels that these tests run on are fetched from suites that move on: then another one stands in, and that is said. Their
machines share the processors, and what they print is judged as TAP.
"""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import io
import os
import re
import subprocess
import sys
import tempfile

from lib import kernels, places, procs, tap
from lib.tap import test

VMTEST = os.path.join(places.SOURCE, "vmtest")


@contextlib.contextmanager
def importing():
    sys.path.insert(0, os.path.join(VMTEST, "lib"))
    try:
        yield
    finally:
        sys.path.remove(os.path.join(VMTEST, "lib"))


def load():
    """(vmtest/fetch, vmtest/lib/cache.py) as modules."""
    with importing():
        loader = importlib.machinery.SourceFileLoader("vmtest_fetch", os.path.join(VMTEST, "fetch"))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        loader.exec_module(module)
        return module, module.cache


class Suites:
    """Those of an archive with these packages: suite -> names. A suite that is not there cannot be read."""

    def __init__(self, failure, packages):
        self.failure, self.packages, self.name = failure, packages, None

    def get(self, name):
        if name not in self.packages:
            raise self.failure(f"{name} cannot be read")
        self.name = name
        return self

    def releases(self, package, pattern):
        before, after = package.split("{release}")
        wanted = re.compile(re.escape(before) + f"({pattern})" + re.escape(after))
        return sorted(match[1] for match in map(wanted.fullmatch, self.packages[self.name]) if match)


def chosen(name, packages):
    """(suite, release) that would be fetched, what is said behind it; None when nothing would."""
    fetch, cache = load()
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            suite, release = fetch.first_that_works(name, cache.table()["kernels"][name], Suites(cache.Failure, packages),
                                                    lambda _name, row, _suite, release: (row["suite"], release))
        except cache.Failure:
            return None
    return suite, release, cache.stands_in(name, release)


@test("a kernel whose series its suite no longer has is replaced by the next best, visibly; one that is there is taken silently")
def moved_on(_session):
    def split(version):
        return [f"linux-{part}-{version}-amd64" for part in ("image", "binary", "modules", "base")]

    old, left_over = ["linux-image-6.18.15+deb13-amd64"], ["linux-binary-7.9.1+deb13-amd64"]
    backports = split("7.2.9+deb13") + split("7.3.4+deb13") + left_over
    assert chosen("6.18", {"trixie-backports": old + backports}) == ("trixie-backports", "6.18.15+deb13-amd64", "")
    suite, release, said = chosen("6.18", {"trixie-backports": backports})
    assert (suite, release) == ("trixie-backports", "7.3.4+deb13-amd64") and "6.18" in said, (suite, release, said)
    moved, there = split("7.4.1+deb14"), split("7.2.13+deb14")
    assert chosen("7.2", {"trixie-backports": backports, "sid": there}) == ("sid", "7.2.13+deb14-amd64", "")
    assert chosen("7.2", {"trixie-backports": backports, "sid": moved}) == ("trixie-backports", "7.2.9+deb13-amd64", "")
    suite, release, said = chosen("7.2", {"sid": moved})
    assert (suite, release) == ("sid", "7.4.1+deb14-amd64") and "7.2" in said, (suite, release, said)
    assert chosen("7.2", {"sid": moved[:1] + left_over}) is None
    assert chosen("6.12", {"trixie": split("6.13.1+deb13")}) is None


# Waits for a slot, says so, and holds it as long as its standard input is open.
HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
import cache
with cache.take_slot(sys.argv[2], 2, "waits"):
    print("has one", flush=True)
    sys.stdin.read()
"""


@test("two of two slots for machines are taken, a third waits and says so, and gets the first that is given back")
def slots(_session):
    with tempfile.TemporaryDirectory(prefix="moat-test-") as directory, contextlib.ExitStack() as ended:
        holders = []
        for _ in range(3):
            holders.append(subprocess.Popen([places.PYTHON, "-c", HOLDER, os.path.join(VMTEST, "lib"), f"{directory}/slots"], text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
            ended.callback(holders[-1].wait)
            ended.callback(holders[-1].kill)
            said = (holders[-1].stdout if len(holders) < 3 else holders[-1].stderr).readline()
            assert said == ("has one\n" if len(holders) < 3 else "waits\n"), said
        holders[1].stdin.close()
        assert holders[2].stdout.readline() == "has one\n" and holders[0].poll() is None
        procs.wait_until(lambda: holders[1].poll() == 0, 10, "the second has ended")


def judged(*lines):
    """(passed, skipped, failures, complaints) of a TAP stream whose program exited with 0."""
    with importing():
        read = importlib.import_module("tap").Tap()
    for line in lines:
        read.line(line)
    return read.passed, read.skipped, read.failures, read.complaints(0)


@test("a result's time is no part of its name, and what does not match the plan is no success")
def tap_judged(_session):
    assert judged("ok 1 - a: b (c) # time=1.20s", "ok 2 - d # SKIP not here # time=0.01s", "not ok 3 - e # time=2.00s", "1..3") == (
        ["a: b (c)"], ["d"], ["e"], [])
    assert judged("ok 1 - a", "1..2")[3] == ["2 tests planned, 1 ran"]
    assert judged("ok 1 - a", "ok 1 - a", "1..2")[3] == ["test numbers are not 1, 2, 3..."]
    assert judged("ok 1 - a")[3] and judged("1..0")[3] == ["no tests"]


@test("the table of kernels names tests and kernels that there are, gives a reason each, and takes no test that needs the kernel "
      "programs by a mere *")
def shares(_session):
    with importing():
        known = importlib.import_module("cache").kernel_names()
    for module, functions, given, reason in kernels.TABLE:
        there = {each.function.__name__ for each in tap.registered if each.module == module}
        assert set(given) <= set(known) and reason, (module, functions)
        assert there and (functions == "*" or set(functions.split()) <= there), f"{module}: {functions} of {sorted(there)}"
    for module, functions in kernels.ONLY.items():
        there = {each.function.__name__ for each in tap.registered if each.module == module}
        assert there and (functions == "*" or set(functions.split()) <= there), (module, functions)
    assert {each for each in known if kernels.without_bpf(each)} == {f"{each}{kernels.WITHOUT_BPF}" for each in known if not kernels.without_bpf(each)}, known
    taken = [each for each in tap.registered if "lsm" in each.needs and any(row[1] == "*" for row in kernels.rows(each))]
    assert not taken, [each.name for each in taken]
    for each in tap.registered:
        if "lsm" in each.needs:
            assert any(kernels.here(each, kernel) for kernel in known if not kernels.without_bpf(kernel)), f"{each.name} runs nowhere"
