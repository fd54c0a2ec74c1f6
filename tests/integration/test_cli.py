# SPDX-License-Identifier: Apache-2.0
"""The moat command: its exit status is the command's, its output nothing but the command's."""

import json
import os
import signal
import subprocess
import urllib.parse

from lib import procs
from lib.tap import test


def moat(session, *arguments, stdin=None, timeout=300):
    environment = {"PATH": "/usr/bin:/bin", "MOAT_SOCKET": session.agent.socket if session.agent else "/nonexistent"}
    return subprocess.run([os.path.join(session.build, "moat"), *arguments], capture_output=True, text=True, check=False, env=environment,
                          input=stdin, timeout=timeout)


@test("moat exec passes output and exit status on", needs=("moat",))
def exec_status(session):
    done = moat(session, "exec", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n"), done


@test("a command that does not exist is 127", needs=("moat",))
def not_found(session):
    done = moat(session, "exec", "--", "no-such-command")
    assert done.returncode == 127 and "no-such-command" in done.stderr and done.stdout == "", done


@test("a file that is no program is 126", needs=("moat",))
def not_executable(session):
    done = moat(session, "exec", "--", "/etc/passwd")
    assert done.returncode == 126 and done.stderr, done


@test("a timeout is 124", needs=("moat",))
def timed_out(session):
    done = moat(session, "exec", "--timeout", "1", "--", "/bin/sleep", "100")
    assert done.returncode == 124, done


@test("--output-limit ends what writes more, says so, and passes on what it allows", needs=("moat",))
def output_limited(session):
    ran = moat(session, "exec", "--output-limit", "4", "--", "yes")
    assert (ran.returncode, ran.stdout) == (137, "y\ny\n") and "OUTPUT_LIMITED" in ran.stderr, ran
    ran = moat(session, "exec", "--output-limit", "4", "--", "printf", "1234")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1234", ""), ran
    for wrong in ("0", "x", "1k", "-1", ""):
        assert moat(session, "exec", "--output-limit", wrong, "--", "yes").returncode == 125, wrong


@test("an end by a signal is 128 and its number", needs=("moat",))
def by_signal(session):
    done = moat(session, "exec", "--", "/bin/sh", "-c", "kill -KILL $$")
    assert done.returncode == 128 + signal.SIGKILL, done


@test("an agent that is not there is 125 and says where it was looked for", needs=("moat",))
def no_agent(session):
    done = subprocess.run([os.path.join(session.build, "moat"), "exec", "--", "/bin/true"], capture_output=True, text=True, check=False,
                          env={"PATH": "/usr/bin:/bin", "MOAT_SOCKET": "/nonexistent/moat.sock"}, timeout=120)
    assert done.returncode == 125 and "/nonexistent/moat.sock" in done.stderr, done


@test("-c chooses the context, -e sets the environment of that exec", needs=("moat",))
def context_and_env(session):
    assert moat(session, "exec", "-c", "plain", "--", "/bin/pwd").stdout == "/usr\n"
    done = moat(session, "exec", "-c", "plain", "-e", "TOKEN=abc", "--", "/usr/bin/env")
    assert "TOKEN=abc" in done.stdout.splitlines() and "GREETING=hello" in done.stdout.splitlines(), done


@test("moat ps lists what runs, moat kill ends it", needs=("moat",))
def ps_and_kill(session):
    identifier = session.api.start("/bin/sleep", "86406")
    listed = moat(session, "ps")
    assert listed.returncode == 0 and identifier in listed.stdout.split() and "86406" in listed.stdout, listed
    assert moat(session, "kill", identifier).returncode == 0
    assert session.api.process(identifier)["state"] in ("ended", "running")
    assert moat(session, "kill", "x999999").returncode != 0


@test("every command prints JSON with --json, and its errors too; what has none says so in its help", needs=("moat",))
def as_json(session):
    ended, runs = session.exec("/bin/true").id, session.api.start("/bin/sleep", "1000")
    examples = ["exec -- true", "run true", "context list", "context create json-made", "context show json-made", "context set json-made -e A=B",
                "context reset-state json-made", "context rm json-made", "files stat /etc/passwd", "files ls /etc", "files mkdir /tmp", "ps", f"logs {ended}",
                "ports", "ports 9", f"wait {ended}", f"kill {runs}", "status", "health", "services", "mode", "check"]
    for line in examples:
        done = moat(session, *line.replace(" ", " --json ", 1).split() if " " in line else (line, "--json"))
        assert isinstance(json.loads(done.stdout), dict) and not done.stderr, (line, done)
    assert all(isinstance(json.loads(line), dict) for line in moat(session, "events", "--json").stdout.splitlines())
    refused = moat(session, "wait", "--json", "x999999")
    assert json.loads(refused.stderr)["code"] == "NO_SUCH_PROCESS" and not refused.stdout, refused
    listed = moat(session, "--help").stdout.partition("commands:")[2].partition("options")[0]
    without = {line.split()[0] for line in listed.splitlines() if line.strip()} - {line.split()[0] for line in examples} - {"events", "jupyter-kernelspec"}
    assert without == {"attach", "metrics", "completion"}, without


# Clears the screen in one character of a terminal of eight bits, turns the text behind it round, begins a line.
NASTY = "\x1b[2J\u009b2J\u202etxt\u2066\u2028"


@test("names and arguments that user code has chosen command no terminal, whatever lists them: ESC, U+009B, marks of direction",
      needs=("moat",))
def commands_no_terminal(session):
    text = NASTY[4:].replace("\u009b", "")  # in the id of a session controls are refused
    directory = f"{session.scratch}/nasty"
    os.mkdir(directory)
    with open(f"{directory}/{NASTY}", "w", encoding="ascii"):
        pass
    identifier = session.api.start("/bin/sleep", "86461", NASTY, session=text)  # sleep refuses it, which it says
    running = session.api.start("/bin/sh", "-c", "exec sleep 86461", NASTY, session=text)
    done = session.api.request("POST", "/v1/exec", {"command": f"export NASTY='{NASTY}'", "session": text})
    assert done.status == 200, done
    shown = [moat(session, *arguments) for arguments in (
        ("ps",), ("ps", "-a"), ("status",), ("context", "list"), ("context", "show", f"session-{text}"), ("files", "list", directory),
        ("events",), ("kill", NASTY), ("exec", "--", NASTY), ("exec", "-C", NASTY, "--", "true"), ("run", f"{NASTY} $("),
        ("context", "show", NASTY), ("files", "read", f"{directory}/none{NASTY}"), (NASTY,), ("ps", f"--{NASTY}"), ("services",),
        ("ports",), ("exec", "-c", NASTY, "--", "true"), ("wait", NASTY), ("logs", NASTY),
        ("completion", "--", "exec", "-c", ""))]
    session.api.kill(running)
    assert session.api.request("DELETE", f"/v1/contexts/{urllib.parse.quote(f'session-{text}')}").status == 200
    for done in shown:
        for stream in (done.stdout, done.stderr):
            assert not set(stream) & set("\x1b\u009b\u202e\u2066\u2028"), done
    everything = "".join(done.stdout + done.stderr for done in shown)
    assert everything.count("txt") >= 12 and identifier in everything, everything  # they were asked about, and told


@test("moat events shows denials with hook, errno and context", needs=("moat", "lsm"))
def events(session):
    session.exec("/bin/kill", "-9", str(session.agent.pid), context="shared")

    def shown():
        done = moat(session, "events")
        assert done.returncode == 0, done
        return any("task_kill" in line and "EPERM" in line for line in done.stdout.splitlines())
    procs.wait_until(shown, 10, "the denial")
