# SPDX-License-Identifier: Apache-2.0
"""A configuration that is wrong starts nothing and says where and why."""

import os
import subprocess

from lib import leaks, moatd
from lib.tap import test

HEAD = "[moat]\ninstance = itest-config\nstate_dir = /run/itest-config\n"
SERVICE = "[service web]\ncommand = /usr/bin/touch {marker}\nport = 8080\n"

# claim, the lines behind HEAD and a service that would leave a marker, line that must be named, words that must be said
WRONG = [
    ("an unknown key", "[service two]\ncommand = /bin/true\nprot = 8081\n", 3, "prot"),
    ("a key outside its section", "[context a]\nport = 8081\n", 2, "port"),
    ("an unknown section", "[sandbox a]\n", 1, "unknown section"),
    ("a port that is no number", "[service two]\ncommand = /bin/true\nport = http\n", 3, "port"),
    ("port 0", "[service two]\ncommand = /bin/true\nport = 0\n", 3, "65535"),
    ("port 65536", "[service two]\ncommand = /bin/true\nport = 65536\n", 3, "65535"),
    ("two services on one port", "[service two]\ncommand = /bin/true\nport = 8080\n", 3, "web"),
    ("one port for TCP and another service's UDP", "[service two]\ncommand = /bin/true\nport = 8080/udp\n", 3, "web"),
    ("a service without a command", "[service two]\nport = 8081\n", 1, "command"),
    ("two services of one name", "[service web]\ncommand = /bin/true\n", 1, "web"),
    ("an unknown capability", "[context a]\ncapabilities = cap_everything\n", 2, "cap"),
    ("a second section of one name", "[context a]\n[context a]\n", 2, "already"),
    ("a relative directory", "[context a]\ndirectory = tmp\n", 2, "absolute"),
    ("a line that is no setting", "[context a]\nthis is nonsense\n", 2, ""),
]


def check_refused(claim, text, line, words):
    @test(f"{claim} is refused with file, line and reason, and starts nothing")
    def refused(session):
        marker = f"/tmp/itest-config-{os.getpid()}"
        head = HEAD + SERVICE.format(marker=marker)
        status, err, path = moatd.refuse(session.build, head + text)
        where = f"{path}:{head.count(chr(10)) + line}: "
        assert status not in (0, None) and status > 0, f"exit status {status}: {err}"
        assert where in err, f"{where!r} is not in {err!r}"
        assert words in err.split(where)[1], f"{words!r} is not in {err!r}"
        assert not os.path.exists(marker), "the service was started"
        assert not os.path.exists("/run/itest-config/moat.sock"), "the socket was made"
        assert not leaks.cgroups("moat-itest-config"), "a cgroup is left"


for _case in WRONG:
    check_refused(*_case)


@test("an enforce mode that does not exist is refused with file, line and the modes there are")
def no_such_mode(session):
    status, err, path = moatd.refuse(session.build, "[moat]\nenforce = perhaps\n")
    assert status > 0 and f"{path}:2: " in err and "best-effort" in err, (status, err)


@test("a configuration file that does not exist is named")
def no_file(session):
    done = subprocess.run([os.path.join(session.build, "moatd"), "-c", "/nonexistent/moat.conf"], capture_output=True, text=True,
                          check=False, timeout=120)
    assert done.returncode > 0 and "/nonexistent/moat.conf" in done.stderr, (done.returncode, done.stderr)


@test("-h and -V print help and version")
def short_options(session):
    for option, word in (("-h", "usage: moatd"), ("--help", "usage: moatd"), ("-V", "moatd 0."), ("--version", "moatd 0.")):
        done = subprocess.run([os.path.join(session.build, "moatd"), option], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0 and done.stdout.startswith(word) and not done.stderr, done


@test("--config-test names every error of the file, and every path in it that is not there")
def config_test(session):
    def run(text):
        done = moatd.refuse(session.build, text, "--config-test")
        return done[0], done[1].replace(done[2], "FILE").splitlines()
    head = "[moat]\ninstance = x\nstate_dir = /run/x\n"
    status, said = run(head + "hide = /etc/hostname\ndevice = /dev/null\n[service s]\ncommand = /bin/true\nprotect = /etc\nprotect = @resolver\n"
                       "directory = /usr\n[context c]\ndirectory = /srv\n")
    assert (status, said) == (0, []), said
    status, said = run(head + "color = red\n[service s]\ncommand = /bin/true\nport = x\n")
    assert status == 2 and len(said) == 1 and "FILE:4: unknown key color; line 7: port " in said[0], said
    status, said = run(head + "hide = /nowhere/1\ndevice = /nowhere/2\ndevice = /etc/passwd\n[service s]\ncommand = /nowhere/3 secret\n"
                       "protect = /nowhere/4\ndirectory = /etc/passwd\n[context c]\ndirectory = /nowhere/6\n")
    assert status == 2 and len(said) == 7, said
    for word in ("hide /nowhere/1", "device /nowhere/2", "device /etc/passwd: not a character", "command /nowhere/3:", "protect /nowhere/4",
                 "directory /etc/passwd: not a directory", "context c: directory /nowhere/6"):
        assert [line for line in said if word in line], (word, said)


@test("the short form without a command is refused")
def no_command(session):
    done = subprocess.run([os.path.join(session.build, "moatd"), "--port", "8080", "--"], capture_output=True, text=True,
                          check=False, timeout=120)
    assert done.returncode > 0 and "command" in done.stderr, (done.returncode, done.stderr)


@test("moat check prints every layer, and its status says whether enforcement is possible", timeout=60)
def check_prints(session):
    done = subprocess.run([os.path.join(session.build, "moat"), "check"], capture_output=True, text=True, check=False, timeout=120)
    for word in ("lsm", "namespaces", "caps", "cgroup"):
        assert word in done.stdout, (word, done.stdout, done.stderr)
    expected = 0 if session.vm else done.returncode
    assert done.returncode == expected and done.returncode in (0, 1), (done.returncode, done.stdout)


@test("where BPF LSM does not work, enforce = require refuses to start and says what is missing", timeout=60)
def require_refuses(session):
    session.require(not session.vm, "this kernel enforces")
    marker = f"/tmp/itest-config-{os.getpid()}"
    before = leaks.Snapshot("itest-config", False)
    status, err, _ = moatd.refuse(session.build, HEAD + "enforce = require\n" + SERVICE.format(marker=marker))
    assert status > 0, f"moatd went on: {err}"
    assert "LSM" in err or "lsm" in err, f"the reason is not named: {err}"
    assert "best-effort" in err, f"the way out is not named: {err}"
    assert not os.path.exists(marker), "the service was started"
    left = before.leaks(set(), "/run/itest-config/moat.sock", 0)
    assert not left, left

