# SPDX-License-Identifier: Apache-2.0
"""The state of contexts: what command strings leave to those that come after them, and to whom it does not get."""

import base64
import contextlib
import json
import os
import tempfile

from lib import procs
from lib.tap import test
from lib.unixhttp import Connection
from test_cli_exec import start_cli
from test_context_life import call, made, place, refused

EMPTY = {"directory": None, "env": {}, "variables": {}, "unset": []}


def run(session, command, status=200, /, **more):
    reply = session.api.request("POST", "/v1/exec", dict(more, command=command))
    assert reply.status == status, reply
    return reply.json


def out(session, command, /, **more):
    return run(session, command, **more)["stdout"]


def streamed(session, body):
    connection = Connection(session.agent.socket, 60)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/exec", body=json.dumps(body).encode(),
                           headers={"Content-Type": "application/json", "Accept": "application/x-ndjson"})
        return [json.loads(line) for line in connection.getresponse()]


def state(session, name):
    return call(session, "GET", place(name))["state"]


@contextlib.contextmanager
def fresh(session, name, **keys):
    """A context, and a directory that is gone with it."""
    with made(session, name, **keys), tempfile.TemporaryDirectory(prefix="moat-state-") as top:
        os.chmod(top, 0o755)
        yield top


@test("what a string exports, assigns, unsets and where it goes is there for the next, and env has only what is exported", needs=("moat",))
def returned(session):
    with fresh(session, "kept", env={"GIVEN": "1", "OTHER": "2"}) as top:
        run(session, f"mkdir {top}/d; cd {top}/d; export A='x y' GIVEN=3; B=2; unset OTHER; C=1; unset C; export LATER", context="kept")
        assert out(session, "pwd; echo $A $B $GIVEN $OTHER$C; LATER=1; env | grep -cE '^(B|OTHER|C)='; env | grep LATER", context="kept") == \
            f"{top}/d\nx y 2 3\n0\nLATER=1\n"
        plain = session.exec("/bin/sh", "-c", "pwd; echo \"$A\" $B $GIVEN $OTHER", context="kept")
        assert plain.out == f"{top}/d\nx y 3\n", plain
        assert state(session, "kept") == {"directory": f"{top}/d", "env": {"A": "x y", "GIVEN": "3", "LATER": "1", "OLDPWD": "/"},
                                          "variables": {"B": "2"}, "unset": ["OTHER"]}
        assert call(session, "GET", place("kept"))["settings"]["env"] == {"GIVEN": "1", "OTHER": "2"}, "settings are apart"
        assert call(session, "DELETE", place("kept") + "/state") == {"name": "kept", "reset": True}
        assert call(session, "DELETE", place("kept") + "/state")["reset"] is False and state(session, "kept") == EMPTY
        assert out(session, "pwd; echo $A$B $GIVEN $OTHER", context="kept") == "/\n1 2\n"
    assert refused(session, "DELETE", place("kept") + "/state")[:2] == (404, "NO_SUCH_CONTEXT")


@test("state also comes back after a failed command, exit and set -e, and before the last command takes the place of moat-run", needs=("moat",))
def every_end(session):
    with fresh(session, "ends"):
        for number, text in enumerate(("export N={}; false", "export N={}; exit 3; export N=no", "set -e; export N={}; false; export N=no",
                                       "export N={} && sh -c 'kill -9 $$'", "export N={}; (export N=no; true)", "export N={}; N=no true",
                                       "export N={}; N=no cd /", "export N={}; export N=no | cat", "export N={}; (N=no)", "export N={}; no-such-program",
                                       "export N={}; {{ true; }} > /no/such/file", "export N={}; export N=no & wait", "export N={}; echo ${{M:?no}}")):
            result = run(session, text.format(number), context="ends")
            assert out(session, "echo $N", context="ends") == f"{number}\n" and "warnings" not in result, (text, result)


@test("the links in the name of a directory stay, and cd - goes back in the next string", needs=("moat",))
def logical(session):
    with fresh(session, "logical") as top:
        run(session, f"mkdir -p {top}/real/in; ln -s real/in {top}/link; cd {top}/link", context="logical")
        assert out(session, "pwd; cd ..; pwd", context="logical") == f"{top}/link\n{top}\n"
        assert out(session, "cd -; pwd -P", context="logical") == f"{top}/link\n{top}/real/in\n"


@test("a string changes only the names that it touches: the later of two does not put back what it began with", needs=("moat",))
def by_name(session):
    with fresh(session, "names"):
        run(session, "sleep 2; export SLOW=1", 202, context="names", wait=False)
        run(session, "cd /usr; export QUICK=1", context="names")
        procs.wait_until(lambda: "SLOW" in state(session, "names")["env"], 30, "the other has ended")
        assert state(session, "names")["directory"] == "/usr" and out(session, "echo $SLOW$QUICK", context="names") == "11\n"


POISON = "export PATH=/tmp/evil:$PATH LD_PRELOAD=/tmp/evil.so NODE_OPTIONS='--require /tmp/evil.js' GIT_SSH_COMMAND=/tmp/evil; cd /usr; unset HOME"
SHOW = "export -p | grep -c evil; pwd; test -n \"$HOME\" && echo home"


@test("no state gets to a secure exec, to an exec with an env of its own, to a new context or a session", needs=("moat",))
def not_seen(session):
    session.api.request("DELETE", place("default") + "/state")
    try:
        before = session.exec("/bin/sh", "-c", SHOW, isolated=True).out
        run(session, POISON)
        seen = session.exec("/bin/sh", "-c", SHOW)
        assert seen.out.endswith("/usr\n") and int(seen.out[0]) >= 3, f"a plain command sees it: {seen}"
        for fields in ({"isolated": True}, {"env": {"TOKEN": "1"}}):
            assert session.exec("/bin/sh", "-c", SHOW, **fields).out == before, fields
            assert "evil" not in out(session, "env; pwd; echo $PATH", **fields) and "/usr\n" not in out(session, "pwd", **fields)
        with made(session, "heir"):
            assert "evil" not in session.exec("/usr/bin/env", context="heir").out and state(session, "heir") == EMPTY
            assert session.exec("/bin/pwd", context="heir").out == "/\n"
        assert "evil" not in run(session, "env", **{"session": "heir"})["stdout"]
        # Configuration that is given to the context's own command stands on its state.
        assert session.exec("/bin/sh", "-c", "pwd; echo $PORT", env={"PORT": "1"}, isolated=False).out == "/usr\n1\n"
    finally:
        call(session, "DELETE", place("default") + "/state")
        session.api.request("DELETE", place("session-heir"))


@test("secure execs and execs with an env of their own leave no state behind", needs=("moat",))
def nothing_left(session):
    with fresh(session, "clean"):
        for fields in ({"isolated": True}, {"env": {"TOKEN": "secret"}}, {"env": {"PORT": "1"}, "isolated": False}):
            result = run(session, "export LEFT=$TOKEN$PORT; cd /usr", context="clean", **fields)
            assert result["exitCode"] == 0 and "warnings" not in result, result
        assert state(session, "clean") == EMPTY
        session.exec("/bin/sh", "-c", "export LEFT=1; cd /usr", context="clean")
        assert state(session, "clean") == EMPTY, "an argv changes nothing"


@test("a directory that went away is BAD_DIRECTORY with what to do; cwd and reset lead out of it", needs=("moat",))
def vanished(session):
    with fresh(session, "gone") as top:
        run(session, f"mkdir {top}/d; cd {top}/d; rmdir {top}/d", context="gone")
        error = run(session, "pwd", 422, context="gone")
        assert error["code"] == "BAD_DIRECTORY" and "reset its state" in error["message"] and error["details"]["errno"] == 2, error
        assert out(session, "pwd", context="gone", cwd="/usr") == "/usr\n", "a request's own directory is no state"
        assert run(session, "pwd", 422, context="gone")["code"] == "BAD_DIRECTORY"
        assert out(session, "cd /usr; pwd", context="gone", cwd="/") == "/usr\n" and out(session, "pwd", context="gone") == "/usr\n"
        run(session, f"mkdir {top}/d; cd {top}/d; rmdir {top}/d", context="gone")
        call(session, "DELETE", place("gone") + "/state")
        assert out(session, "pwd", context="gone") == "/\n"


@test("a string that is killed leaves nothing, one whose state is too large neither, and each answer warns of it", needs=("moat",))
def warned(session):
    with fresh(session, "warned"):
        run(session, "export BEFORE=1", context="warned")
        killed = run(session, "export A=1; sleep 60; true", context="warned", timeoutMs=500)
        assert killed["timedOut"] and [each["code"] for each in killed["warnings"]] == ["STATE_NOT_RETURNED"], killed
        large = run(session, "A=" + "x" * 1000 + "; " + "; ".join(f"B{n}=$A" for n in range(70)), context="warned")
        assert [each["code"] for each in large["warnings"]] == ["STATE_TOO_LARGE"] and large["exitCode"] == 0, large
        just = run(session, "A=" + "x" * 1000 + "; " + "; ".join(f"B{n}=$A" for n in range(60)), context="warned")
        assert "warnings" not in just and len(state(session, "warned")["variables"]) == 61
        last = streamed(session, {"command": "C=" + "y" * 9000, "context": "warned"})[-1]
        assert last["type"] == "exit" and [each["code"] for each in last["warnings"]] == ["STATE_TOO_LARGE"], last
        assert set(state(session, "warned")["env"]) == {"BEFORE"}


# Takes the state's socket out of moat-run, its parent, and says what it likes.
FORGER = r"""
import ctypes, os, socket, struct, sys
parent = os.getppid()
pidfd = os.pidfd_open(parent)
libc = ctypes.CDLL(None, use_errno=True)
for fd in range(3, 64):
    taken = libc.syscall(438, pidfd, fd, 0)
    if taken < 0:
        continue
    try:
        s = socket.socket(fileno=taken)
    except OSError:
        continue
    entries = sys.stdin.buffer.read()
    kind = sys.argv[1]
    head = struct.pack("IIII", 0x6d6f6174, 1, len(entries), entries.count(b"\0"))
    if kind == "descriptors":
        socket.send_fds(s, [head + entries], [0, 1, 2])
    elif kind == "many":
        s.setblocking(False)
        try:
            for _ in range(10000):
                s.send(head + entries)
        except BlockingIOError:
            pass
    elif kind == "garbage":
        s.send(entries)
    else:
        s.send(head + entries)
    print("forged")
    break
else:
    print("no socket")
"""


@test("forged state is data: it changes its own context alone, or nothing where it is no state", needs=("moat",))
def forged(session):
    with fresh(session, "forger", capabilities="container-default") as top:
        with open(os.path.join(top, "forge.py"), "w", encoding="utf-8") as file:
            file.write(FORGER)
        for kind, entries, expected in (("state", b"xFORGED=1\0d/usr\0", {"FORGED": "1"}), ("descriptors", b"xFORGED=2\0", {"FORGED": "2"}),
                                        ("many", b"xFORGED=3\0", {"FORGED": "3"}), ("garbage", b"x" * 60000, {}),
                                        ("state", b"dusr\0", {}), ("state", b"xA=1\0x=2\0", {}), ("state", b"xA=1\0" * 1025, {})):
            call(session, "DELETE", place("forger") + "/state")
            result = run(session, f"/usr/bin/python3 {top}/forge.py {kind}; true", context="forger", stdin=base64.b64encode(entries).decode(),
                         stdinEncoding="base64")
            assert result["stdout"] == "forged\n" and result["exitCode"] == 0, result
            assert state(session, "forger")["env"] == expected, (kind, entries[:20], state(session, "forger"))
            assert expected or [each["code"] for each in result["warnings"]] == ["STATE_NOT_RETURNED"], result
        assert "FORGED" not in out(session, "env"), "nobody else has it"


@test("a string of a mebibyte is run, one byte more is refused, and ps shows nothing of it", needs=("moat",))
def large_strings(session):
    limit = 1024 * 1024
    text = "cat <<'E' | wc -c; ps -o args= -p $PID 2>/dev/null\n"
    text += "x" * (limit - len(text) - len("\nE\n")) + "\nE\n"
    assert len(text) == limit
    assert out(session, text).split("\n")[0] == str(limit - len("cat <<'E' | wc -c; ps -o args= -p $PID 2>/dev/null\n") - 2)
    error = run(session, text[:10] + text, 400)
    assert error["code"] in ("BAD_VALUE", "UNSUPPORTED_SYNTAX"), error
    shown = out(session, ": secret-of-the-string; sh -c 'tr \"\\0\" \" \" < /proc/$PPID/cmdline'; true")
    assert shown.strip() == "moat-run", shown


@test("moat context show has the state beside the settings, and reset-state forgets it", needs=("moat",))
def command_line(session):
    def cli(*arguments):
        with start_cli(session, *arguments) as process:
            text = process.communicate()[0].decode()
        assert process.returncode == 0, (arguments, text)
        return text

    with fresh(session, "shown", env={"GIVEN": "1"}):
        cli("run", "-c", "shown", "cd /usr; export A=1; B='x y'; unset GIVEN; export LATER")
        shown = cli("context", "show", "shown")
        assert "env = GIVEN=1\n" in shown and shown.endswith(
            "state: directory = /usr\nstate: exported = A=1\nstate: exported = LATER\nstate: exported = OLDPWD=/\n"
            "state: variable = B=x y\nstate: unset = GIVEN\n"), shown
        assert json.loads(cli("context", "show", "shown", "--json"))["state"]["variables"] == {"B": "x y"}
        assert cli("context", "reset-state", "shown") == "" and "state:" not in cli("context", "show", "shown")
