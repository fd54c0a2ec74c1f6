# SPDX-License-Identifier: Apache-2.0
"""Completion: bash and zsh, with what make install has put there, on a terminal; and what moat tells them, against its help."""

import os
import pty
import re
import select
import shutil
import subprocess
import time

from lib import installed, procs
from lib.tap import test

PROMPT = "ready> "


def moat(session, *words):
    """(candidate, description)"""
    done = subprocess.run([f"{session.build}/moat", "completion", "--", *words], check=False, capture_output=True, text=True, timeout=60,
                          env={"MOAT_SOCKET": session.agent.socket if session.agent else "/nonexistent", "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done
    return [tuple(line.split("\t")) for line in done.stdout.splitlines()]


def candidates(session, *words):
    return [word for word, _ in moat(session, *words)]


def usage(session, *words):
    return subprocess.run([f"{session.build}/moat", *words, "--help"], check=True, capture_output=True, text=True).stdout


class Shell:
    """An interactive one, on a terminal."""

    def __init__(self, session, argv, setup):
        root = installed.root(session)
        home = f"{session.scratch}/completion"
        os.makedirs(home, exist_ok=True)
        with open(f"{home}/only-a-file", "wb"):
            pass
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execve(argv[0], argv, {"PATH": f"{root}{installed.PREFIX}/bin:/usr/bin:/bin", "HOME": home, "TERM": "dumb", "LC_ALL": "C.UTF-8",
                                      "ZDOTDIR": home, "MOAT_SOCKET": session.agent.socket, "PS1": PROMPT})
        self.said = ""
        self.type(setup.format(share=f"{root}{installed.PREFIX}/share") + "\n")
        self.type("printf '<%s>' begin\n")
        self.wait_for("<begin>")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def wait_for(self, text):
        deadline = time.monotonic() + 20 * procs.SLACK
        while text not in self.said:
            ready, _, _ = select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))
            assert ready, (text, self.said)
            self.said += os.read(self.terminal, 65536).decode(errors="replace")

    def completes(self, typed, *becomes):
        """What the line is after a tab: it is not executed, but its words are printed."""
        self.said = ""
        self.type(f"{typed}\t\x01printf '<%s>' \n")
        self.wait_for("".join(f"<{each}>" for each in becomes))

    def close(self):
        os.close(self.terminal)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def completes(session, argv, setup):
    identifier = f"{os.path.basename(argv[0])}-is-completed"
    session.api.start("/bin/sleep", "1000", id=identifier)
    shell = Shell(session, argv, setup)
    try:
        shell.completes("moat ki", "moat", "kill")
        shell.completes("moat exec --no-i", "moat", "exec", "--no-isolation")
        shell.completes("moat run --shell=f", "moat", "run", "--shell=fallback")
        shell.completes("moat context sh", "moat", "context", "show")
        shell.completes("moat context show pla", "moat", "context", "show", "plain")
        shell.completes("moat mode enf", "moat", "mode", "enforce")
        shell.completes("moat exec -c mode", "moat", "exec", "-c", "modest")
        shell.completes(f"moat logs -f {identifier[:-4]}", "moat", "logs", "-f", identifier)
        shell.completes("moat kill -s TER", "moat", "kill", "-s", "TERM")
        shell.completes("moat exec -- only", "moat", "exec", "--", "only-a-file")
    finally:
        shell.close()
        session.api.kill(identifier)


@test("bash completes commands, options, operands and what the agent knows of, and leaves files to itself", needs=("moat",), timeout=60)
def bash(session):
    completes(session, ["/bin/bash", "--norc", "--noprofile", "-i"], "source {share}/bash-completion/completions/moat")


@test("zsh completes commands, options, operands and what the agent knows of, and leaves files to itself", needs=("moat",), timeout=60)
def zsh(session):
    path = shutil.which("zsh")
    session.require(path, "zsh is not installed: make deps-test")
    completes(session, [path, "-f", "-i"], "fpath=({share}/zsh/site-functions $fpath); autoload -Uz compinit && compinit -u -D")


@test("every command, and every option that its help names, is completed; and the command takes every one of them")
def whole(session):
    listed = re.findall(r"^  ([a-z-]+) +\S", usage(session).partition("commands:")[2].partition("options")[0], re.M)
    assert candidates(session, "") == listed and "completion" in listed, listed
    for command in listed:
        text = usage(session, command)
        named = {*re.findall(r"^ +(?:-\w, )?(--[a-z-]+(?:=[a-z]+)?)", text, re.M), *re.findall(r"\[(--[a-z-]+)", text)}
        offered = candidates(session, command, "--")
        completed = {*offered}
        assert named <= completed and "--help" in completed, (command, named - completed)
        assert len(offered) == len(completed), (command, "something is offered twice", offered)
        for option in completed - {"--help"}:
            done = subprocess.run([f"{session.build}/moat", command, option, "1"], check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                                  env={"MOAT_SOCKET": "/nonexistent"})
            assert "no such option" not in done.stderr, (command, option, done.stderr)


@test("what takes a value is followed by values alone, and what is behind -- is not completed", needs=("moat",))
def values(session):
    assert {"plain", "default"} <= {*candidates(session, "exec", "--context", "")} and not candidates(session, "exec", "--session", "")
    assert not candidates(session, "exec", "-e", "") and not candidates(session, "exec", "--", "--no")
    assert {"http", "spare"} <= {*candidates(session, "health", "")} and candidates(session, "kill", "-s", "KI") == ["KILL"]
    assert ("enforce", "") in moat(session, "mode", "") and not candidates(session, "context", "no-such", "x")
    assert not candidates(session, "no-such-command", "")
    assert candidates(session, "--socket", "/nonexistent", "exec", "-c", "") == [] != candidates(session, "--socket", session.agent.socket, "exec", "-c", "")
