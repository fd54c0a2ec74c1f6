# SPDX-License-Identifier: Apache-2.0
"""The kernels that these tests run on are fetched from suites that move on: then another one stands in, and that is said."""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import re
import sys

from lib import places
from lib.tap import test

VMTEST = os.path.join(places.SOURCE, "vmtest")


def load():
    """(vmtest/fetch, vmtest/lib/cache.py) as modules."""
    sys.path.insert(0, os.path.join(VMTEST, "lib"))
    try:
        loader = importlib.machinery.SourceFileLoader("vmtest_fetch", os.path.join(VMTEST, "fetch"))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        loader.exec_module(module)
        return module, module.cache
    finally:
        sys.path.remove(os.path.join(VMTEST, "lib"))


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
