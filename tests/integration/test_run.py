# SPDX-License-Identifier: Apache-2.0
"""Command strings through the API and the command line: read before anything runs, evaluated in the context."""

import os
import time

from lib import places, procs
from lib.tap import test
from test_cli_exec import start_cli


def run(session, command, **more):
    """Leaves default as it was for other tests; what strings leave is test_state.py's."""
    try:
        return post(session, "/v1/exec", dict(more, command=command), 200)
    finally:
        session.api.request("DELETE", "/v1/contexts/default/state")


def post(session, path, body, status):
    reply = session.api.request("POST", path, body)
    assert reply.status == status, reply
    return reply.json


def refused(session, command):
    return post(session, "/v1/exec", {"command": command}, 400)


@test("a command string runs in the context: list, pipeline, redirection, and the status of its last command", needs=("moat",))
def runs(session):
    result = run(session, "cd /tmp && echo one two | tr a-z A-Z > run-string.out; cat run-string.out; rm run-string.out; sh -c 'exit 7'")
    assert (result["exitCode"], result["signal"], result["stdout"], result["stderr"]) == (7, None, "ONE TWO\n", ""), result
    assert run(session, "")["exitCode"] == 0
    result = run(session, "no-such-program || echo on; no-such-program")
    assert (result["exitCode"], result["stdout"]) == (127, "on\n") and "no-such-program: not found" in result["stderr"], result
    assert run(session, "sh -c 'kill -9 $$'; echo $?")["stdout"] == "137\n"


@test("what a command string is given reaches it: stdin, cwd, variables, a time limit", needs=("moat",))
def is_given(session):
    assert run(session, "cat | wc -c", stdin="12345")["stdout"].strip() == "5"
    assert run(session, "pwd", cwd="/usr")["stdout"] == "/usr\n"
    assert run(session, 'echo "$SECRET"', env={"SECRET": "a  b"})["stdout"] == "a  b\n"
    result = run(session, "sleep 86423 | cat", timeoutMs=300)
    assert result["timedOut"], result


@test("what the language refuses has not run: UNSUPPORTED_SYNTAX with the place, a hint and an argv to try", needs=("moat",))
def unsupported(session):
    marker = f"{session.scratch}/marker"
    text = f"touch {marker}\nls -l; V=$(date)"
    body = refused(session, text)
    details = body["details"]
    assert body["code"] == "UNSUPPORTED_SYNTAX" and details["construct"] == "command-substitution", body
    assert (details["offset"], details["line"], details["column"], details["excerpt"]) == (text.index("$("), 2, 10, "$(date)"), body
    assert details["hint"] and details["retry"] == {"argv": ["bash", "-c", text]}, body
    assert run(session, f"test -e {marker}; echo $?")["stdout"] == "1\n", "the first command has run"
    assert run(session, f"touch {marker}; test -e {marker}; echo $?; rm {marker}")["stdout"] == "0\n"
    body = refused(session, "echo 'a")
    assert body["code"] == "SYNTAX_ERROR" and body["details"]["offset"] == 5 and "retry" not in body["details"], body


@test("a request has an argv or a command, and a command has its limit", needs=("moat",))
def one_of_both(session):
    for request, code, field in (({}, "MISSING_FIELD", "argv"), ({"argv": ["true"], "command": "true"}, "BAD_VALUE", "command"),
                                 ({"command": 5}, "BAD_VALUE", "command"), ({"command": ":" * 1048577}, "BAD_VALUE", "command")):
        body = post(session, "/v1/exec", request, 400)
        assert (body["code"], body["details"]["field"]) == (code, field), (request, body)
    assert run(session, ": " + "x" * 1048574)["exitCode"] == 0


@test("what is no string, or too much of one, is refused by name and nothing of it runs: NUL, no UTF-8, 100,000 words, 65 levels", needs=("moat",))
def bad_strings(session):
    marker = f"{session.scratch}/bad-string"
    for text, code, construct in ((f"touch {marker}; a\0b", ("SYNTAX_ERROR", "BAD_VALUE", "BAD_JSON"), "nul"),
                                  (f"touch {marker}; :" + " x" * 100000, ("UNSUPPORTED_SYNTAX",), "too-many-words"),
                                  (f"touch {marker}; " + "{ " * 65 + ":" + ";}" * 65, ("UNSUPPORTED_SYNTAX",), "too-deep"),
                                  (f"touch {marker}; '" + "x" * 100000, ("SYNTAX_ERROR",), "unterminated")):
        body = refused(session, text)
        assert body["code"] in code and body["details"].get("construct", construct) == construct, (text[:40], body)
    body = b'{"command": "touch ' + marker.encode() + b'; echo \xff\xfe"}'
    reply = session.api.request("POST", "/v1/exec", body=body)
    assert reply.status == 400 and reply.json["code"] == "BAD_JSON", reply
    assert run(session, f"test -e {marker}; echo $?; :" + " x" * 65000)["stdout"] == "1\n"
    assert run(session, f"touch {marker}; " + "{ " * 64 + f"rm {marker}" + ";}" * 64)["exitCode"] == 0


@test("a string that opens a FIFO without a reader, or fills its disk, ends as its command does, and the agent answers meanwhile", needs=("moat",))
def bad_targets(session):
    top = f"{session.scratch}/targets"
    assert run(session, f"mkdir {top}; mkfifo {top}/f; pwd > {top}; echo $?; echo x > /dev/full; echo $?")["stdout"] == "2\n1\n"
    for text in (f"pwd > {top}/f; echo on", f"cat < {top}/f", f"cat < {top}/f | cat; echo on"):
        started = post(session, "/v1/exec", {"command": text, "wait": False}, 202)
        path = f"/v1/processes/{started['id']}"
        assert run(session, "echo there")["stdout"] == "there\n"
        procs.wait_until(lambda: session.api.get(path)["state"] == "running", 20, "it to run")
        post(session, f"{path}/signal", {"signal": "TERM"}, 200)
        procs.wait_until(lambda: session.api.get(path)["state"] == "ended", 20, f"{text} to end")
        assert session.api.get(path)["exitCode"] == 143 and session.api.get(path)["stdout"] == "", session.api.get(path)
        result = run(session, text, timeoutMs=200)
        assert result["timedOut"] and result["stdout"] == "", (text, result)


@test("a string that is nothing but a program and its arguments has the same environment, directory and failures as one that is more", needs=("moat",))
def plain(session):
    def both(text, **fields):
        alone, evaluated = (run(session, each, **fields) for each in (text, f"{{ {text}; }}"))
        for each in (alone, evaluated):
            each["stdout"] = sorted(line for line in each["stdout"].splitlines() if not line.startswith("_="))
        assert all(alone[key] == evaluated[key] for key in ("exitCode", "signal", "stdout", "stderr")), (text, fields, alone, evaluated)
        return alone
    for fields in ({}, {"cwd": "/usr"}, {"cwd": "/usr/../usr"}, {"cwd": "/var/run"}, {"env": {"A": "1"}}, {"env": {"PWD": "/x"}}, {"isolated": True},
                   {"env": {"PATH": "/usr/bin:/bin", "B": "x y"}, "isolated": False}, {"context": "plain"}):
        assert "PWD=" in "".join(both("env", **fields)["stdout"]), fields
        both("pwd -P", **fields)
    assert both("no-such-program a")["stderr"] == "moat: no-such-program: not found\n"
    assert both("/etc/passwd")["exitCode"] == 126 and both("/usr")["exitCode"] == 126 and both("'' a")["exitCode"] == 127
    assert both("echo 'a  b' \"c d\" e\\ f '*' -n")["stdout"] == ["a  b c d e f * -n"]
    assert both("[ a = b ]")["exitCode"] == 1 and both("sh -c 'kill -9 $$'")["signal"] == "SIGKILL"
    large = "x" * 131072  # more than the kernel takes
    assert both(f"/bin/true {large[:60000]} {large[:60000]}")["exitCode"] == 0 and both(f"/bin/true {large}")["exitCode"] == 126
    with open(f"{session.scratch}/windows", "w", encoding="ascii") as file:
        file.write("#!/no/such/interpreter\n")
    os.chmod(file.name, 0o755)
    assert both(file.name)["exitCode"] == 127
    run(session, "cd /tmp; export A=1; B=2")
    assert session.api.request("POST", "/v1/exec", {"command": "env"}).json["stdout"].count("A=1\n") == 0, "that is gone again"
    try:
        for text in ("cd /usr; export A=1; B=2; unset HOME", "true"):
            assert session.api.request("POST", "/v1/exec", {"command": text}).json["exitCode"] == 0
        seen = [set(session.api.request("POST", "/v1/exec", {"command": text}).json["stdout"].splitlines()) for text in ("env", "{ env; }")]
        assert {each for each in seen[0] if not each.startswith("_=")} == {each for each in seen[1] if not each.startswith("_=")}, seen
        assert {"A=1", "PWD=/usr", "OLDPWD=/"} <= seen[0] and "B=2" not in seen[0], seen
    finally:
        session.api.request("DELETE", "/v1/contexts/default/state")


@test("a substitution in double quotes is text, and the answer says so", needs=("moat",))
def warns(session):
    result = run(session, 'echo "$(rm -rf /)"')
    assert result["stdout"] == "$(rm -rf /)\n", result
    assert [(each["code"], each["offset"]) for each in result["warnings"]] == [("SUBSTITUTION_NOT_PERFORMED", 6)], result
    assert "warnings" not in run(session, "echo '$(rm -rf /)'")
    message = "One\n\n\"Two\" $(x)"
    result = run(session, f"printf '<%s>' \"$(cat <<'EOF'\n{message}\nEOF\n)\"")
    assert result["stdout"] == f"<{message}>" and "warnings" not in result, result


@test("listings show the string as it was sent, and the last program of a string has its place", needs=("moat",))
def listed(session):
    text = "X=86424; cd /tmp && sleep $X"
    started = post(session, "/v1/exec", {"command": text, "wait": False}, 202)
    path = f"/v1/processes/{started['id']}"
    try:
        listed = session.api.get(path)
        assert listed["command"] == text and listed["argv"] is None, listed
        find = "ps -eo pid=,comm= | grep -w sleep"
        procs.wait_until(lambda: any(line.split()[0] == str(listed["pid"]) for line in run(session, find)["stdout"].splitlines()), 10,
                         "sleep to be what moat-run was")
        post(session, f"{path}/signal", {"signal": "TERM"}, 200)
        procs.wait_until(lambda: session.api.get(path)["state"] == "ended", 10, "it to end")
        assert session.api.get(path)["signal"] == "SIGTERM"
    finally:
        session.api.kill(started["id"])


@test("of a string that is given variables of its own a listing shows nothing", needs=("moat",))
def listed_without(session):
    body = {"command": "P=hunter2 sleep 86425", "env": {"SECRET": "1"}, "wait": False}
    started = post(session, "/v1/exec", body, 202)
    try:
        each = [one for one in session.api.get("/v1/processes")["processes"] if one["id"] == started["id"]]
        for listed in (*each, session.api.get(f"/v1/processes/{started['id']}")):
            assert listed["command"] is None and listed["argv"] is None and "hunter2" not in str(listed), listed
        assert len(each) == 1, each
    finally:
        session.api.kill(started["id"])


@test("the commands that a string has put into the background go on", needs=("moat",))
def background(session):
    result = run(session, "sleep 86425 > /dev/null 2>&1 & echo $!")
    assert run(session, f"kill {result['stdout'].strip()}; echo $?")["stdout"] == "0\n", result


@test("moat run takes one string and the options of moat exec, prints the hint of a refusal, and warns", needs=("moat",))
def command_line(session):
    def said(*arguments):
        cli = start_cli(session, "run", *arguments)
        out, err = cli.communicate(timeout=120)
        return cli.returncode, out.decode(), err.decode()

    assert said("echo a | cat; exit 5") == (5, "a\n", "")
    assert said("-C", "/usr", "-e", "A=b", "pwd; echo $A") == (0, "/usr\nb\n", "")
    status, out, err = said("for i in 1; do echo $i; done")
    assert (status, out) == (125, "") and "UNSUPPORTED_SYNTAX" in err and "xargs" in err and "--shell=fallback" in err, err
    assert said("--shell=fallback", "for i in 1; do echo $i; done")[:2] == (0, "1\n")
    status, out, err = said("echo 'a")
    assert status == 125 and "SYNTAX_ERROR" in err and "fallback" not in err, err  # no shell reads that either
    status, out, err = said('echo "$(date)"')
    assert (status, out) == (0, "$(date)\n") and "SUBSTITUTION_NOT_PERFORMED" in err, err
    status, out, err = said("echo", "a")
    assert status == 125 and "one string" in err, err
    began = time.monotonic()
    assert said("--timeout", "300ms", "sleep 86426; true")[0] == 124 and time.monotonic() - began < 60


@test("what runs strings cannot be changed by what it runs: not written, nor its mode, access list or attributes", needs=("moat",))
def unchanged(session):
    program = """
import errno, os, sys
exe = f"/proc/{os.getppid()}/exe"
def attempt(function, *arguments):
    try:
        function(exe, *arguments)
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
print(os.path.basename(os.readlink(exe).split(" ")[0]), attempt(os.chmod, 0o600), attempt(os.setxattr, "user.a", b"x"),
      attempt(os.truncate, 0), attempt(lambda path: os.close(os.open(path, os.O_RDONLY))))
"""
    with open(f"{session.scratch}/change.py", "w", encoding="ascii") as file:
        file.write(program)
    for context in ("default", "full"):
        done = session.api.request("POST", "/v1/exec", {"command": f"{places.PYTHON} {session.scratch}/change.py; true", "context": context}).json
        name, mode, attribute, size, read = done["stdout"].split()
        assert name == "moat-run" and mode != "ok" and attribute != "ok" and size != "ok" and read == "ok", (context, done)
        assert session.api.request("POST", "/v1/exec", {"command": "echo there", "context": context}).json["stdout"] == "there\n"
