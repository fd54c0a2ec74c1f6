# SPDX-License-Identifier: Apache-2.0
"""moat exec while it waits, and the options that concern its input and environment."""

import base64
import contextlib
import json
import os
import random
import signal
import subprocess
import time

from lib import procs
from lib.tap import test


def start_cli(session, *arguments, stdin=subprocess.DEVNULL):
    environment = {"PATH": "/usr/bin:/bin", "MOAT_SOCKET": session.agent.socket}
    return subprocess.Popen([os.path.join(session.build, "moat"), *arguments], stdin=stdin, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=environment)


def find_process(session, *argv):
    found = [each for each in session.api.get("/v1/processes")["processes"] if each["argv"] == list(argv) and each["state"] != "ended"]
    return found[-1] if found else None


@test("Ctrl-C reaches the command as SIGINT; the command decides, and moat exec tells", needs=("moat",))
def interrupt(session):
    argv = ("/bin/sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done")
    cli = start_cli(session, "exec", "--", *argv)
    assert cli.stdout.readline() == b"ready\n"
    cli.send_signal(signal.SIGINT)
    out, err = cli.communicate(timeout=120)
    assert (cli.returncode, out) == (5, b"caught\n"), (cli.returncode, out, err)


@test("a second Ctrl-C, or SIGTERM, kills the whole tree", needs=("moat",), timeout=60)
def kill_by_cli(session):
    argv = ("/bin/sh", "-c", "trap '' INT TERM; sleep 86422 & echo ready; wait; wait")
    for signals in ([signal.SIGINT, signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP]):
        cli = start_cli(session, "exec", "--", *argv)
        assert cli.stdout.readline() == b"ready\n"
        for each in signals:
            # Two of a kind that are pending at once are one.
            procs.wait_until(lambda pid=cli.pid, each=each: not procs.signal_pending(pid, each), 10, "the one before to be taken")
            cli.send_signal(each)
        out, err = cli.communicate(timeout=120)
        assert cli.returncode == 137 and out == b"", (signals, cli.returncode, out, err)
        procs.wait_until(lambda: find_process(session, *argv) is None, 10, "its children to be gone")


@contextlib.contextmanager
def stopped(session):
    """The agent does not answer meanwhile."""
    os.kill(session.agent.pid, signal.SIGSTOP)
    try:
        procs.wait_until(lambda: procs.state(session.agent.pid) == "T", 10, "the agent to stop")
        yield
    finally:
        os.kill(session.agent.pid, signal.SIGCONT)


def caught_by_signalfd(cli):
    """Its signals are blocked: it waits for the agent."""
    with open(f"/proc/{cli.pid}/status", encoding="ascii") as file:
        return any(line.startswith("SigBlk:") and int(line.split()[1], 16) for line in file)


@test("INT, TERM and HUP end moat exec at once while the agent does not answer; nothing is left running", needs=("moat",), timeout=60)
def interrupt_silence(session):
    argv = ("/bin/sleep", "86455")
    large = os.path.join(session.scratch, "large")
    with open(large, "wb") as file:
        file.write(b"x" * 700000)  # more than the socket holds
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for arguments in (("exec", "--", *argv), ("exec", "-i", "--", *argv)):
            with stopped(session):
                with open(large if "-i" in arguments else os.devnull, "rb") as stdin:
                    cli = start_cli(session, *arguments, stdin=stdin)
                procs.wait_until(lambda cli=cli: caught_by_signalfd(cli), 10, "it to wait")
                started = time.monotonic()
                cli.send_signal(number)
                out, err = cli.communicate(timeout=120)
                assert (cli.returncode, out) == (128 + number, b"") and b"does not answer" in err, (arguments, cli.returncode, out, err)
                assert time.monotonic() - started < 2 * procs.SLACK
    session.api.get("/v1/health")  # behind what was sent meanwhile
    procs.wait_until(lambda: find_process(session, *argv) is None, 10, "the commands to be gone")


@test("a second signal ends moat exec, also while the agent passes on the first", needs=("moat",), timeout=60)
def second_signal(session):
    argv = ("/bin/sh", "-c", "echo ready; exec sleep 86456")
    cli = start_cli(session, "exec", "--", *argv)
    assert cli.stdout.readline() == b"ready\n"
    with stopped(session):
        cli.send_signal(signal.SIGINT)
        procs.wait_until(lambda: not procs.signal_pending(cli.pid, signal.SIGINT), 10, "the first to be taken")
        cli.send_signal(signal.SIGTERM)
        _, err = cli.communicate(timeout=120)
        assert cli.returncode == 128 + signal.SIGTERM and b"moat ps -a" in err, (cli.returncode, err)
    if left := find_process(session, *argv):  # whether the agent still reads the first is left open
        session.api.kill(left["id"])


@test("output that cannot be written is 125 and says why; one that nobody will read ends a silent command", needs=("moat",), timeout=60)
def output_errors(session):
    moat = [os.path.join(session.build, "moat"), "exec", "--"]
    environment = {"MOAT_SOCKET": session.agent.socket}
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*moat, "/bin/echo", "hi"], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, env=environment,
                              check=False, timeout=120)
    assert done.returncode == 125 and b"No space left on device" in done.stderr, done
    cli = start_cli(session, "exec", "--", "/bin/sleep", "86457")
    procs.wait_until(lambda: find_process(session, "/bin/sleep", "86457"), 10, "the command")
    cli.stdout.close()
    assert cli.wait(timeout=120) == 128 + signal.SIGPIPE
    procs.wait_until(lambda: find_process(session, "/bin/sleep", "86457") is None, 10, "the command to be gone")


@test("every signal that may end a command is told, also those without a name", needs=("moat",))
def every_signal(session):
    for number in (1, 9, 15, 31, 32, 33, 34, 64):
        cli = start_cli(session, "exec", "--", "/usr/bin/python3", "-c", f"import os; os.kill(os.getpid(), {number})")
        out, err = cli.communicate(timeout=120)
        assert (cli.returncode, out, err) == (128 + number, b"", b""), (number, cli.returncode, out, err)


@test("errors of the client have a code, also as JSON", needs=("moat",))
def client_errors(session):
    moat = os.path.join(session.build, "moat")
    for arguments, code in ((["exec", "--socket", "/nonexistent/socket", "--", "true"], "AGENT_UNREACHABLE"), (["ps", "x"], "USAGE"),
                            (["logs", "x0"], "NO_SUCH_PROCESS"), (["exec", "-E", "MISSING", "--", "true"], "USAGE")):
        def run(*more, arguments=arguments):
            return subprocess.run([moat, *more, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                                  env={"MOAT_SOCKET": session.agent.socket}, text=True, timeout=120)
        done = run()
        assert done.returncode == 125 and f"({code})" in done.stderr.splitlines()[0], (arguments, done)
        done = run("--json")
        assert done.returncode == 125 and json.loads(done.stderr)["code"] == code and not done.stdout, (arguments, done)


@test("a reader that goes away ends the command, as in a pipeline", needs=("moat",))
def broken_pipe(session):
    cli = start_cli(session, "exec", "--", "/usr/bin/yes", "86433")
    assert cli.stdout.readline() == b"86433\n"
    cli.stdout.close()
    assert cli.wait(timeout=120) == 128 + signal.SIGPIPE
    procs.wait_until(lambda: find_process(session, "/usr/bin/yes", "86433") is None, 10, "yes to be gone")


def outputs():
    """What a command may write, as name -> bytes."""
    random.seed(4)
    kinds = {
        "every byte": bytes(range(256)),
        "each byte by itself": b"".join(bytes([each]) + b"\n" for each in range(256)),
        "names with NUL": b"".join(b"name-%d\0" % each for each in range(20000)),
        "NUL alone": bytes(300000),
        "text with some NUL": (b"0123456789" * 100 + b"\0") * 500,
        "text, then NUL, then text": "ä€😀".encode() * 30000 + bytes(100000) + "ä€😀".encode() * 30000,
        "random": random.randbytes(5 << 20),
        "surrogates, overlong forms, what is cut": b"\xed\xa0\x80 \xc0\x80 \xf5\x80\x80\x80 \xe2\x82",
    }
    assert len(kinds["random"]) > 4 << 20
    return kinds


def run_moat(session, *arguments):
    done = subprocess.run([os.path.join(session.build, "moat"), *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          env={"MOAT_SOCKET": session.agent.socket}, timeout=300)
    assert done.returncode == 0, (arguments, done.returncode, done.stderr)
    return done


def decoded(result, key):
    return base64.b64decode(result[key]) if result.get(f"{key}Encoding") == "base64" else result[key].encode()


@test("output arrives byte for byte, whatever the bytes are: live, as JSON, and later", needs=("moat",), timeout=120)
def every_byte(session):
    path = os.path.join(session.scratch, "output")
    for name, data in outputs().items():
        with open(path, "wb") as file:
            file.write(data)
        head = (1 << 20) // 12 * 3
        kept = data if len(data) <= 1 << 20 else data[:head] + data[head - (1 << 20):]
        for script, key in (("exec cat $0", "stdout"), ("exec cat $0 >&2", "stderr")):
            argv = ["exec", "--", "/bin/sh", "-c", script, path]
            assert getattr(run_moat(session, *argv), key) == data, (name, key)
            text = run_moat(session, "--json", *argv).stdout
            result = json.loads(text)
            assert decoded(result, key) == kept, (name, key)
            assert len(text) < 2.5 * len(kept) + 1000, (name, len(text), len(kept))
            assert result["truncated"] == (len(kept) < len(data)) and result[f"{key}Bytes"] == len(data), (name, result["truncated"])
            assert getattr(run_moat(session, "logs", result["id"]), key).startswith(kept), (name, key)


@test("NUL and pieces of UTF-8 arrive as they are written", needs=("moat",))
def written_in_pieces(session):
    assert run_moat(session, "exec", "--", "/usr/bin/printf", r"a\0b\n").stdout == b"a\0b\n"
    names = run_moat(session, "exec", "--", "/usr/bin/env", "-0").stdout
    assert names.endswith(b"\0") and b"PATH=" in names, names
    script = r"for b in '\303' '\244' '\0' '\342' '\202' '\254' '\360' '\237' '\377'; do printf $b; sleep 0.02; done"
    assert run_moat(session, "exec", "--", "/bin/sh", "-c", script).stdout == b"\xc3\xa4\0\xe2\x82\xac\xf0\x9f\xff"


@test("arguments, values and file names need not be UTF-8, names of variables no letters", needs=("moat",))
def any_bytes(session):
    def moat(*arguments, stdin=b"", **more):
        return subprocess.run([os.fsencode(os.path.join(session.build, "moat")), *arguments], input=stdin, capture_output=True, check=False,
                              env={b"MOAT_SOCKET": os.fsencode(session.agent.socket), **more}, timeout=120)
    latin = "Größe ÿ".encode("latin-1")
    path = os.fsencode(session.scratch) + b"/" + latin
    with open(path, "wb") as file:
        file.write(b"found\n")
    every = bytes(range(1, 256))
    assert moat(b"exec", b"--", b"/bin/cat", path).stdout == b"found\n"
    assert moat(b"exec", b"--", b"/usr/bin/printf", b"%s", every).stdout == every
    environment = os.path.join(session.scratch, "latin-env")
    with open(environment, "wb") as file:
        file.write(b"# comment\nfile.value=" + latin + b"\r\n9=nine\n")
    done = moat(b"exec", b"-E", b"NAME", b"-e", b"my.var-1=" + every, b"--env-file", os.fsencode(environment), b"--", b"/usr/bin/env", b"-0",
                **{"NAME": latin})
    assert {b"NAME=" + latin, b"my.var-1=" + every, b"file.value=" + latin, b"9=nine"} <= set(done.stdout.split(b"\0")), done
    data = random.Random(3).randbytes(1 << 20)
    assert moat(b"exec", b"-i", b"--", b"/bin/cat", stdin=data).stdout == data
    controls = b"\x01\x02" * (1 << 19)
    assert moat(b"exec", b"-i", b"--", b"/bin/cat", stdin=controls).stdout == controls
    assert moat(b"exec", b"-i", b"--", b"/bin/cat", stdin=data + b"x").stdout == data + b"x"
    assert moat(b"exec", b"-i", b"-d", b"--", b"/bin/cat", stdin=data + b"x").returncode == 125
    identifier = moat(b"exec", b"-d", b"--", b"/usr/bin/printf", b"", latin).stdout.decode().strip()
    assert session.api.process(identifier)["argv"][2] == {"base64": base64.b64encode(latin).decode()}


@test("moat exec -i, -E, --env-file, -C and -d do what they say", needs=("moat",))
def cli_options(session):
    def moat(*arguments, stdin=b"", **environment):
        done = subprocess.run([os.path.join(session.build, "moat"), *arguments], input=stdin, capture_output=True, check=False,
                              env={"MOAT_SOCKET": session.agent.socket, **environment}, timeout=120)
        return done.returncode, done.stdout, done.stderr

    data = random.Random(2).randbytes(200000)
    assert moat("exec", "-i", "--", "/bin/cat", stdin=data)[:2] == (0, data)
    assert moat("exec", "--", "/bin/cat", stdin=data)[:2] == (0, b"")
    assert moat("exec", "-E", "TOKEN", "--", "/bin/sh", "-c", "echo $TOKEN", TOKEN="from-env")[:2] == (0, b"from-env\n")
    assert moat("exec", "-E", "TOKEN", "--", "/bin/true")[0] == 125
    path = os.path.join(session.scratch, "env")
    with open(path, "w", encoding="utf-8") as file:
        file.write("# comment\nA=1\nB=two words\n")
    assert moat("exec", "--env-file", path, "--", "/bin/sh", "-c", "echo $A $B")[:2] == (0, b"1 two words\n")
    assert moat("exec", "-C", "/usr", "--", "/bin/pwd")[:2] == (0, b"/usr\n")
    status_, out, _ = moat("exec", "-d", "--", "/bin/sh", "-c", "echo logged; echo err >&2; exec sleep 86444")
    assert status_ == 0 and out.startswith(b"x"), out
    identifier = out.decode().strip()
    procs.wait_until(lambda: moat("logs", identifier)[1:] == (b"logged\n", b"err\n"), 10, "its output")
    assert moat("kill", "-s", "TERM", identifier)[0] == 0
    assert moat("exec", "-i", "--json", "--", "/bin/cat", stdin=b"x" * 1100000)[0] == 125


def wait_for(session, *arguments):
    cli = start_cli(session, "exec", *arguments)
    out, err = cli.communicate(timeout=60 * procs.SLACK)
    return cli.returncode, out.decode(), err.decode()


@test("a file that a command has as its standard input it opens by the descriptor, and who reads it finds its end", needs=("moat",))
def stdin_file(session):
    path = f"{session.scratch}/connection"
    code = "import os, sys; print(open('/proc/self/fd/0').read(), repr(sys.stdin.read()), oct(os.fstat(0).st_mode))"
    with open(path, "w", encoding="ascii") as file:
        file.write('{"key": "x"}')
    for more in ((), ("--secure",), ("-c", "plain", "--no-isolation")):
        done = wait_for(session, "--stdin-file", path, *more, "--", "/usr/bin/python3", "-c", code)
        assert done[:2] == (0, '{"key": "x"} \'\' 0o100600\n'), (more, done)
    os.symlink(path, f"{path}-link")
    os.mkfifo(f"{path}-fifo")
    for wrong in ("none", "link", "fifo"):
        status, _, err = wait_for(session, "--stdin-file", f"{path}-{wrong}", "--", "/bin/true")
        assert status == 125 and "INPUT_FAILED" in err, (wrong, err)
    assert wait_for(session, "--stdin-file", path, "-i", "--", "/bin/true")[0] == 125
    for fields in ({"stdinAs": "file"}, {"stdinAs": "other", "stdin": ""}):
        reply = session.api.request("POST", "/v1/exec", {"argv": ["/bin/true"], **fields})
        assert reply.status == 400 and reply.json["details"]["field"] == "stdinAs", reply


@test("with --interrupts each Ctrl-C is the command's, and SIGTERM still kills", needs=("moat",), timeout=60)
def interrupts(session):
    argv = ("/bin/sh", "-c", "trap 'echo caught' INT; echo ready; while :; do sleep 0.1; done")
    cli = start_cli(session, "exec", "--interrupts", "--", *argv)
    assert cli.stdout.readline() == b"ready\n"
    for _ in range(3):
        cli.send_signal(signal.SIGINT)
        assert cli.stdout.readline() == b"caught\n"
    cli.terminate()
    assert cli.wait(60) == 137
