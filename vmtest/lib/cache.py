# SPDX-License-Identifier: Apache-2.0
"""Where fetched things lie, the table of kernels, and locks.

  <cache>/kernels/<name>/   kernel.json, vmlinuz, config, initramfs, lib/modules/<release>/
  <cache>/tools/            busybox, python/ (virtme-ng)
  <cache>/acceleration.json what this boot of this machine was found to be able to do
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Failure(Exception):
    """Something the user can act on; the text says how."""


def root():
    base = os.environ.get("MOAT_CACHE")
    if not base:
        xdg = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        base = os.path.join(xdg, "moat")
    path = os.path.join(os.path.abspath(base), "vmtest")
    os.makedirs(path, exist_ok=True)
    return path


def table():
    with open(os.path.join(HERE, "kernels.json"), encoding="utf-8") as file:
        return json.load(file)


def kernel_names():
    return list(table()["kernels"])


def check_names(names):
    """Those, or else every one but those that are booted on request alone."""
    known = table()["kernels"]
    for name in names:
        if name not in known:
            raise Failure(f"unknown kernel {name!r}; known: {', '.join(known)} (vmtest/kernels.json)")
    return names or [name for name, row in known.items() if not row.get("on_request")]


def fetched_as(name):
    """The row of the table that a kernel is fetched by: its own, or the one that it is `of`, booted with other parameters."""
    return table()["kernels"][name].get("of", name)


def kernel_dir(name):
    return os.path.join(root(), "kernels", fetched_as(name))


def tools_dir():
    return os.path.join(root(), "tools")


def kernel(name):
    """The facts about a cached kernel, or None."""
    try:
        with open(os.path.join(kernel_dir(name), "kernel.json"), encoding="utf-8") as file:
            facts = json.load(file)
    except FileNotFoundError:
        return None
    facts["dir"] = kernel_dir(name)
    facts["append"] = table()["kernels"][name].get("append", "")
    return facts


def stands_in(name, release):
    """What to say behind the release of a kernel that is not of the series it is named for; else nothing."""
    name = fetched_as(name)
    return "" if release.startswith(name + ".") else f" (for {name}, which Debian no longer has)"


def require(programs):
    """programs: {program: Debian package}. Names everything that is missing, not only the first."""
    missing = {package for program, package in programs.items() if not shutil.which(program, path=search_path())}
    if missing:
        raise Failure(f"missing: {' '.join(sorted(missing))}; install with: apt-get install {' '.join(sorted(missing))}")


def search_path():
    """depmod and modprobe lie in sbin, which a user's PATH often lacks."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


@contextlib.contextmanager
def lock(path, waiting):
    """Holds an exclusive lock on path; says `waiting` once when another holds it."""
    with open(path, "a", encoding="utf-8") as file:
        if not _locked(file):
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def take_slot(path, count, waiting):
    """One of `count` exclusive locks beside path, as a file to close; says `waiting` (unless it is empty) once when none is
    free. First come, first served. It waits where a signal can interrupt it: in the main thread."""
    with open(path, "a", encoding="utf-8") as queue:
        if not _locked(queue):
            _say(waiting)
            waiting = ""
            fcntl.flock(queue, fcntl.LOCK_EX)
        while True:
            for number in range(count):
                file = open(f"{path}.{number}", "a", encoding="utf-8")
                if _locked(file):
                    return file
                file.close()
            _say(waiting)
            waiting = ""
            time.sleep(0.2)


def _say(text):
    if text:
        print(text, file=sys.stderr, flush=True)


def _locked(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def processor_slot(waiting):
    """As many virtual machines as this machine has processors, whoever runs the tests: each computes on one."""
    directory = "/run/lock" if os.access("/run/lock", os.W_OK) else "/tmp"
    return take_slot(os.path.join(directory, "moat-vmtest.slots"), os.cpu_count(), waiting)


@contextlib.contextmanager
def replaced(path):
    """A temporary directory that takes path's place when the block succeeds, and vanishes when it does not."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    work = tempfile.mkdtemp(prefix=".new-", dir=os.path.dirname(path))
    try:
        os.chmod(work, 0o755)
        yield work
        if os.path.exists(path):
            old = tempfile.mkdtemp(prefix=".old-", dir=os.path.dirname(path))
            os.rename(path, os.path.join(old, "it"))
            os.rename(work, path)
            shutil.rmtree(old)
        else:
            os.rename(work, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)
