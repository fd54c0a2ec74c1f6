# SPDX-License-Identifier: Apache-2.0
"""What is guarded although no configuration names it: secrets that a container engine mounts, what resolves names; and @system."""

import os
import shutil
import subprocess

from lib import moatd, places
from lib.tap import test

SECRETS = "/run/secrets"
RESOLVER = ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/ld.so.preload")


def alone(session, name, sections):
    return moatd.Moatd(session.build, f"{name}-{os.getpid()}", sections, "require" if session.vm else "best-effort")


@test("what a container engine puts into /run/secrets is out of sight of user code from the start; services read it, and a context with show",
      needs=(), timeout=120)
def secrets(session):
    session.require(not os.path.exists(SECRETS), "there are secrets here already")
    out = f"{session.scratch}/token-of-service"
    service = f"[service reader]\ncommand = /bin/sh -c 'cat {SECRETS}/cluster/token > {out}; exec sleep 1000'\n"
    agent = alone(session, "secrets", f"{service}[context given]\nshow = {SECRETS}\n[context all]\ncapabilities = all\n")
    token = f"{SECRETS}/cluster/token"
    os.makedirs(os.path.dirname(token))
    try:
        with open(token, "w", encoding="ascii") as file:
            file.write("t0ken\n")
        agent.start(60 * session.patience)
        agent.wait_ready("reader", 20)
        for path in (token, f"/var{token}"):  # /var/run is /run
            for fields in ({}, {"context": "all"}, {"env": {"A": "b"}}):
                result = agent.api().exec("/bin/cat", path, **fields)
                assert result.exit == 1 and "No such file" in result.err and not result.out, (path, fields, result)
            for fields in ({}, {"env": {"A": "b"}}):
                assert agent.api().exec("/bin/cat", path, context="given", **fields).out == "t0ken\n", (path, fields)
        with open(out, encoding="ascii") as file:
            assert file.read() == "t0ken\n"
        assert agent.stop()[0] == 0
    finally:
        agent.kill()
        agent.remove_files()
        shutil.rmtree(SECRETS)


def package(session):
    """One that runs a script when it is installed, as most do. Returns its path."""
    tree = f"{session.scratch}/package"
    os.makedirs(f"{tree}/DEBIAN")
    os.makedirs(f"{tree}/etc")
    with open(f"{tree}/DEBIAN/control", "w", encoding="ascii") as file:
        file.write("Package: moat-test\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: a test\n")
    with open(f"{tree}/DEBIAN/postinst", "w", encoding="ascii") as file:
        file.write("#!/bin/sh\necho configured >> /etc/moat-test-package\n")
    os.chmod(f"{tree}/DEBIAN/postinst", 0o755)
    with open(f"{tree}/etc/moat-test-package", "w", encoding="ascii") as file:
        file.write("installed\n")
    subprocess.run(["/usr/bin/dpkg-deb", "--root-owner-group", "-b", tree, f"{session.scratch}/moat-test.deb"], check=True, capture_output=True)
    return f"{session.scratch}/moat-test.deb"


CHANGE = """
import errno, os, sys
for path in sys.argv[1:]:
    try:
        if os.path.exists(path):
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            os.unlink(path)
        print("ok")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@test("what resolves names is written by no user code, also where it is not there yet; a package is installed by it all the same",
      needs=("moat", "lsm"), timeout=120)
def resolver(session):
    session.require(session.vm, "a package is installed, and removed")
    for context in ("default", "full"):
        assert not os.path.exists(RESOLVER[-1])
        result = session.exec(places.PYTHON, "-c", CHANGE, *RESOLVER, "/etc/moat-test-beside", context=context)
        assert result.out.split() == ["EPERM"] * len(RESOLVER) + ["ok"], (context, result)
    result = session.exec("/usr/bin/dpkg", "-i", package(session))
    assert result.exit == 0, result
    with open("/etc/moat-test-package", encoding="ascii") as file:
        assert file.read() == "installed\nconfigured\n"
    assert session.exec("/usr/bin/dpkg", "-P", "moat-test").exit == 0


@test("with protect = @system user code changes nothing in /usr and /etc, and installs no package; without it what resolves names is kept",
      needs=(), timeout=120)
def system(session):
    session.require(not session.vm, "what LSM programs protect, test_protect asks on each kernel")
    deb = package(session)
    paths = ["/usr/moat-test", "/bin/true", "/etc/passwd", "/etc/moat-test"]
    for name, key, answers, installed in (("system", "protect = @system\n", ["EROFS"] * len(paths), False), ("resolver", "", ["ok"] * len(paths), True)):
        agent = alone(session, name, f"[service one]\ncommand = /bin/sleep 1000\n{key}")
        try:
            agent.start(60)
            result = agent.api().exec(places.PYTHON, "-c", CHANGE, *(each for each in RESOLVER if os.path.exists(each)), *paths, "/tmp/moat-test")
            expected = ["EROFS"] * sum(map(os.path.exists, RESOLVER)) + answers + ["ok"]
            assert result.out.split() == expected, (name, result)
            result = agent.api().exec("/usr/bin/dpkg", "--dry-run" if installed else "--install", *(["-i"] if installed else []), deb)
            assert (result.exit == 0) == installed, result
            assert agent.stop() == (0, [])
        finally:
            agent.kill()
            agent.remove_files()
