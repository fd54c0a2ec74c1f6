# SPDX-License-Identifier: Apache-2.0
"""From a request to a command and back: what a command gets, and what is said of its end."""

import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from lib import leaks, places, procs, unixhttp
from lib.tap import test

BASE_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "USER": "root", "LANG": "C.UTF-8"}
# What a secure exec has besides.
SECURE_ENV = {"HOME": "/dev/own/home", "TMPDIR": "/dev/own/tmp", "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1",
              "PERL_USE_UNSAFE_INC": "0", "GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": "false",
              "GIT_CONFIG_KEY_1": "core.hooksPath", "GIT_CONFIG_VALUE_1": "/dev/null"}
# The capabilities that container engines give by default, less MKNOD.
CONTAINER_CAPABILITIES = ("CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT "
                          "AUDIT_WRITE SETFCAP")
NUMBERS = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8,
           "NET_BIND_SERVICE": 10, "NET_RAW": 13, "SYS_CHROOT": 18, "MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31}


def environment(result):
    return dict(line.split("=", 1) for line in result.out.splitlines())


def refused(session, *argv, **fields):
    try:
        result = session.exec(*argv, **fields)
    except unixhttp.Refused as error:
        return error
    raise AssertionError(f"it ran: {result!r}")


@test("stdout, stderr and exit code come back whole", needs=("moat",))
def outputs(session):
    result = session.exec("/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.out, result.err, result.exit, result.signal) == ("out\n", "err\n", 7, None), result
    assert result.fields["stdoutBytes"] == 4 and result.fields["truncated"] is False, result.fields
    assert result.fields["context"] == "default", result.fields


@test("arguments arrive byte for byte, and no shell touches them", needs=("moat",))
def arguments(session):
    words = ["$HOME", "a b", "", "*", "`id`", "$(id)", "ü\n", "'\""]
    result = session.exec(places.PYTHON, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *words)
    assert json.loads(result.out) == words, result


@test("the environment is built from nothing", needs=("moat",))
def environment_exact(session):
    assert environment(session.exec("/usr/bin/env")) == BASE_ENV, session.exec("/usr/bin/env")


@test("base < context < exec: each adds to and overrides the one before", needs=("moat",))
def environment_layers(session):
    context = environment(session.exec("/usr/bin/env", context="plain"))
    assert context == {**BASE_ENV, "HOME": "/usr", "GREETING": "hello", "EMPTY": ""}, context
    both = environment(session.exec("/usr/bin/env", context="plain", env={"GREETING": "over", "NEW": "1"}))
    assert both == {**BASE_ENV, **SECURE_ENV, "GREETING": "over", "EMPTY": "", "NEW": "1"}, both


@test("the working directory is the context's, or the one asked for", needs=("moat",))
def directory(session):
    assert session.exec("/bin/pwd", context="plain").out == "/usr\n"
    assert session.exec("/bin/pwd", cwd="/etc").out == "/etc\n"


@test("stdin is /dev/null unless given, and then ends", needs=("moat",))
def standard_input(session):
    assert session.exec("/bin/cat").out == ""
    assert "null" in session.exec("/bin/readlink", "/proc/self/fd/0").out
    assert session.exec("/bin/cat", stdin="hello\nworld").out == "hello\nworld"


@test("a command has descriptors 0, 1 and 2 and no other", needs=("moat",))
def descriptors(session):
    for context in ("default", "shared"):
        result = session.exec("/bin/ls", "/proc/self/fd", context=context)
        assert result.out.split() == ["0", "1", "2", "3"], result  # 3: ls's own


@test("a command leads a session and a process group of its own, without a terminal", needs=("moat",))
def own_session(session):
    result = session.exec(places.PYTHON, "-c", "import os; print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())")
    assert result.out == "True True\n", result
    assert session.exec("/bin/sh", "-c", "exec 2>&-; : </dev/tty").exit != 0


@test("no signal is blocked or ignored in a command", needs=("moat",))
def signal_state(session):
    result = session.exec("/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    assert [line.split()[1] for line in result.out.splitlines()] == ["0" * 16] * 2, result


@test("in default the capabilities are exactly the container's, and cannot be regained", needs=("moat",))
def capabilities(session):
    wanted = f"{sum(1 << NUMBERS[name] for name in CONTAINER_CAPABILITIES.split()):016x}"
    result = session.exec("/bin/grep", "-E", "^(Cap|NoNewPrivs)", "/proc/self/status")
    found = dict(line.split(":\t") for line in result.out.splitlines())
    assert found == {"CapInh": "0" * 16, "CapPrm": wanted, "CapEff": wanted, "CapBnd": wanted, "CapAmb": "0" * 16,
                     "NoNewPrivs": "1"}, found


@test("capabilities = all gives every capability that the agent has, no_new_privs = no leaves it off", needs=("moat",))
def all_capabilities(session):
    with open(f"/proc/{session.agent.pid}/status", encoding="utf-8") as file:
        own = next(line.split()[1] for line in file if line.startswith("CapPrm"))
    if session.status()["layers"]["landlock"]["state"] == "active":  # PERFMON reads past its domains
        own = f"{int(own, 16) & ~(1 << 38):016x}"
    result = session.exec("/bin/grep", "-E", "^(CapEff|NoNewPrivs)", "/proc/self/status", context="full")
    assert result.out == f"CapEff:\t{own}\nNoNewPrivs:\t0\n", (result, own)


@test("a signal that ends a command is named", needs=("moat",))
def ended_by_signal(session):
    result = session.exec("/bin/sh", "-c", "kill -SEGV $$")
    assert result.exit == 128 + 11 and result.signal == "SIGSEGV", result


ABORTS = r"""
import ctypes, os, resource, signal, sys
print(*resource.getrlimit(resource.RLIMIT_CORE), open("/proc/self/coredump_filter").read().strip())
for wanted in (resource.RLIM_INFINITY, 1 << 20):
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (wanted, wanted))
        print("raised")
    except (ValueError, OSError):
        pass
sys.stdout.flush()
if "lowered" in sys.argv:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
kept = os.environ["KEPT"] * 4096
os.kill(os.getpid(), signal.SIGABRT)
"""
CORE_SECRET = "of-this-exec-alone-77120"


def cores_of(command, env=None):
    """Whether the command, run without moat from here, leaves a core file: the positive control."""
    def limits():
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return subprocess.run(command, env=env, preexec_fn=limits, check=False, stdout=subprocess.DEVNULL).returncode


def secret_in(directory):
    """The names of files that hold the memory of the exec, and of those that hold no more than its registers."""
    held, rest = [], []
    for name in os.listdir(directory):
        with open(os.path.join(directory, name), "rb") as file:
            (held if file.read().count(CORE_SECRET.encode()) > 256 else rest).append(name)
    return held, rest


@test("no core of a command is written, to no file and to no program, and its limit cannot be raised", needs=("moat",), timeout=60)
def no_core(session):
    for context in ("default", "sealed", "full"):
        result = session.exec(places.PYTHON, "-c", ABORTS, env={"KEPT": CORE_SECRET}, context=context)
        assert result.signal == "SIGABRT" and result.out.startswith("1 1 00000000\n"), result
        assert "raised" not in result.out or (context != "default" and not session.enforced), result
    session.require(session.vm, "sets core_pattern")
    keep = tempfile.mkdtemp(prefix="moat-core-")
    os.chmod(keep, 0o777)
    program = f"{keep}.sh"
    with open(program, "w", encoding="ascii") as file:
        file.write(f"#!/bin/sh\nexec /bin/cat >{keep}/piped.$1\n")
    os.chmod(program, 0o755)
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as file:
        before = file.read()
    try:
        for pattern in (f"{keep}/core.%p", f"|{program} %p"):
            with open("/proc/sys/kernel/core_pattern", "w", encoding="ascii") as file:
                file.write(pattern)
            cores_of([places.PYTHON, "-c", "import os; kept = os.environ['KEPT'] * 4096; os.abort()"], {"KEPT": CORE_SECRET})
            procs.wait_until(lambda: secret_in(keep)[0], 20, f"a core without moat, by {pattern}")
            for name in os.listdir(keep):
                os.unlink(f"{keep}/{name}")
            for arguments in ((), ("lowered",)):
                for context in ("default", "sealed"):
                    result = session.exec(places.PYTHON, "-c", ABORTS, *arguments, env={"KEPT": CORE_SECRET}, context=context)
                    assert result.signal == "SIGABRT", result
            time.sleep(2)
            held, rest = secret_in(keep)
            # A program is started for those alone that lowered their own limit to 0.
            assert not held and len(rest) == (2 if pattern[0] == "|" else 0), (pattern, held, rest)
            for name in rest:
                os.unlink(f"{keep}/{name}")
    finally:
        with open("/proc/sys/kernel/core_pattern", "w", encoding="ascii") as file:
            file.write(before)
        shutil.rmtree(keep, ignore_errors=True)
        os.unlink(program)


@test("a command that does not exist is COMMAND_NOT_FOUND with errno and step", needs=("moat",))
def not_found(session):
    for name in ("no-such-command", "/nonexistent/command"):
        error = refused(session, name)
        assert (error.code, error.reply.status) == ("COMMAND_NOT_FOUND", 422), error
        assert error.details["errno"] == 2 and error.details["step"] == "exec", error.details


@test("of a script whose interpreter is missing the interpreter is named, and a line end of Windows is", needs=("moat",))
def no_interpreter(session):
    directory = f"{session.scratch}/interpreters"
    os.makedirs(directory, exist_ok=True)
    for first, words in ((b"#!/nowhere/perl -w\n", "its interpreter /nowhere/perl is not there"),
                         (b"#! /bin/sh\r\n", "its interpreter /bin/sh is not there: the line ends in a carriage return, as on Windows"),
                         (b"#!/" + b"x" * 200, "its interpreter /" + "x" * 63 + " is not there")):
        with open(f"{directory}/moat-script", "wb") as file:
            file.write(first)
        os.chmod(f"{directory}/moat-script", 0o755)
        for name, fields in ((f"{directory}/moat-script", {}), ("moat-script", {"env": {"PATH": f"/bin:{directory}"}})):
            error = refused(session, name, **fields)
            assert error.code == "COMMAND_NOT_FOUND" and error.details["step"] == "interpreter", (error, error.details)
            assert str(error).endswith(f"{name}: {words}") or f"{name}: {words}" in str(error), (error, words)
    os.chmod(f"{directory}/moat-script", 0o644)
    assert refused(session, f"{directory}/moat-script").code == "COMMAND_NOT_EXECUTABLE"


@test("a file that is no program is COMMAND_NOT_EXECUTABLE, and no shell is tried", needs=("moat",))
def not_executable(session):
    error = refused(session, "/etc/passwd")
    assert error.code == "COMMAND_NOT_EXECUTABLE" and error.details["errno"] == 13, (error, error.details)


@test("a working directory that does not exist is BAD_DIRECTORY", needs=("moat",))
def bad_directory(session):
    error = refused(session, "/bin/true", cwd="/nonexistent")
    assert error.code == "BAD_DIRECTORY" and error.details["errno"] == 2, (error, error.details)


@test("a context that does not exist is NO_SUCH_CONTEXT", needs=("moat",))
def no_context(session):
    assert refused(session, "/bin/true", context="nowhere").code == "NO_SUCH_CONTEXT"


@test("arguments that are too large are refused with the limit, and nothing runs", needs=("moat",))
def too_large(session):
    error = refused(session, "/bin/echo", "x" * 300000)
    assert error.code == "ARGUMENTS_TOO_LARGE" and 0 < error.details["limit"] < 300000, (error, error.details)


def sleepers(seconds):
    """Processes, in whatever namespace, that run `sleep SECONDS`."""
    found = []
    for pid in procs.pids():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read() == b"sleep\0%d\0" % seconds:
                    found.append(pid)
        except OSError:
            pass
    return found


@test("a timeout kills the whole tree, daemons included, and says so", needs=("moat",))
def timeout_kills_tree(session):
    for context, seconds in (("default", 86401), ("shared", 86402)):
        script = f"setsid sleep {seconds} & (trap '' TERM; sleep {seconds}) & sleep {seconds}"
        started = time.monotonic()
        result = session.exec("/bin/sh", "-c", script, context=context, timeoutMs=1000 * session.patience)
        assert result.timed_out is True and result.signal == "SIGKILL", result
        assert time.monotonic() - started < 10 * procs.SLACK, "it took too long"
        procs.wait_until(lambda seconds=seconds: not sleepers(seconds), 5, f"the tree is gone: {sleepers(seconds)}")


@test("a command that writes more than its limit ends with all that it has started, and says so; exactly so much is nothing special",
      needs=("moat",), timeout=60)
def output_limit(session):
    def run(limit, script, **fields):
        return session.exec("/bin/sh", "-c", script, outputLimit=limit, **fields)

    over = run(10, "sleep 86403 & printf 123456; printf 7890 >&2; printf x; exec sleep 86403")
    assert over.fields["outputLimited"] and not over.timed_out and over.signal == "SIGKILL", over
    assert len(over.out) + len(over.err) == 10 and "123456x".startswith(over.out) and "7890".startswith(over.err), over  # of which comes last
    procs.wait_until(lambda: not sleepers(86403), 10, "the tree is gone")
    exact = run(10, "printf 123456; printf 7890 >&2; exit 4")
    assert not exact.fields["outputLimited"] and (exact.out, exact.err, exact.exit) == ("123456", "7890", 4), exact
    late = run(3, "printf 1234; exit 4")  # it may have ended before anybody could end it
    assert late.fields["outputLimited"] and late.out == "123", late
    asked = run(3, "trap 'echo no more; exit 5' TERM; while :; do echo; done", killSignal="TERM", killAfterMs=60000)
    assert asked.fields["outputLimited"] and not asked.timed_out and (asked.exit, asked.out) == (5, "\n\n\n"), asked
    gone = run(3, "(trap '' HUP; sleep 0.5; while :; do echo; done) & exit 0")
    assert gone.exit == 0 and not gone.fields["outputLimited"], gone
    procs.wait_until(lambda: session.api.get(f"/v1/processes/{gone.id}")["state"] == "ended", 20, "what it left to end as well")
    assert session.api.get(f"/v1/processes/{gone.id}")["outputLimited"] is True
    for wrong in (0, (1 << 40) + 1, "x", -1):
        reply = session.api.request("POST", "/v1/exec", {"argv": ["/bin/true"], "outputLimit": wrong})
        assert (reply.status, reply.json["details"]["field"]) == (400, "outputLimit"), reply
    assert session.exec("/bin/true", outputLimit=1 << 40).exit == 0


@test("an exec ends when its command ends, though a background child keeps stdout open; the child goes on", needs=("moat",))
def background_child(session):
    started = time.monotonic()
    result = session.exec("/bin/sh", "-c", "echo before; sleep 86403 & echo $!")
    assert time.monotonic() - started < 10 * procs.SLACK, "the exec waited for the child"
    assert result.exit == 0 and result.out.startswith("before\n"), result
    procs.wait_until(lambda: len(sleepers(86403)) == 1, 5, "the child runs")
    listed = session.api.process(result.id)
    assert listed["state"] == "background", listed
    assert session.api.kill(result.id).status in (200, 204)
    procs.wait_until(lambda: not sleepers(86403), 5, "DELETE killed the child")
    procs.wait_until(lambda: session.api.process(result.id)["state"] == "ended", 5, "it counts as ended")


@test("what a command wrote just before its end is all there", needs=("moat",))
def last_output(session):
    result = session.exec(places.PYTHON, "-c", "import sys; sys.stdout.write('x' * 500000 + 'end')")
    assert len(result.out) == 500003 and result.out.endswith("end"), len(result.out)


@test("captured output is bounded, and the bytes are counted all the same", needs=("moat",), timeout=60)
def bounded(session):
    result = session.exec("/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x")
    assert result.fields["stdoutBytes"] == 3000000 and result.fields["truncated"] is True, len(result.out)
    assert len(result.out) == 1024 * 1024, len(result.out)


@test("output that is not UTF-8 comes as base64 and says so", needs=("moat",))
def binary_output(session):
    result = session.exec("/usr/bin/printf", "\\377\\000a")
    assert result.fields.get("stdoutEncoding") == "base64" and result.out == "/wBh", result.fields


@test("a stream has start, the output as it comes, and exit as its last event", needs=("moat",))
def stream(session):
    events = list(session.api.stream("/bin/sh", "-c", "echo one; sleep 0.3; echo two >&2; exit 3"))
    assert [each["seq"] for each in events] == list(range(1, len(events) + 1)), events
    assert events[0]["type"] == "start" and events[-1]["type"] == "exit" and events[-1]["exitCode"] == 3, events
    text = {kind: "".join(each["data"] for each in events if each["type"] == kind) for kind in ("stdout", "stderr")}
    assert text == {"stdout": "one\n", "stderr": "two\n"}, events


@test("DELETE kills a running tree; a signal reaches the command's process group", needs=("moat",))
def kill_running(session):
    first = session.api.start("/bin/sh", "-c", "sleep 86404 & wait")
    procs.wait_until(lambda: sleepers(86404), 5, "it runs")
    session.api.kill(first)
    ended = procs.wait_until(lambda: (p := session.api.process(first))["state"] == "ended" and p, 5, "it ended")
    assert ended["signal"] == "SIGKILL", ended
    procs.wait_until(lambda: not sleepers(86404), 5, "its child is gone")
    second = session.api.start("/bin/sh", "-c", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done")
    procs.wait_until(lambda: session.api.process(second)["stdout"] == "ready\n", 10, "it takes signals")
    assert session.api.request("POST", f"/v1/processes/{second}/signal", {"signal": "SIGUSR1"}).status in (200, 202, 204)
    ended = procs.wait_until(lambda: (p := session.api.process(second))["state"] == "ended" and p, 10, "it ended")
    assert ended["exitCode"] == 9, ended


@test("commands run beside each other, each with its own result", needs=("moat",), timeout=60)
def concurrent(session):
    results = {}

    def one(number):
        results[number] = session.exec("/bin/sh", "-c", f"sleep 0.2; echo {number}; exit {number}")
    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {number: (r.out, r.exit) for number, r in results.items()} == {n: (f"{n}\n", n) for n in range(12)}, results


@test("an ended exec leaves no process and no cgroup in use", needs=("moat",))
def nothing_left(session):
    members = leaks.cgroup_members("moat-" + session.instance)
    for _ in range(5):
        session.exec("/bin/sh", "-c", "sleep 0.05 & sleep 0.05; wait")
    more = procs.wait_until(
        lambda: not (leaks.cgroup_members("moat-" + session.instance) - members) or None, 5, "the commands are gone")
    assert more


@test("user code cannot end moat-init, and a command cannot outlive a loss of its namespace", needs=("moat",))
def init_is_out_of_reach(session):
    for _ in range(20):  # also one that is faster than the news of its start
        result = session.exec("/bin/sh", "-c", "kill -9 1; kill -9 -1; echo alive", context="full")
    spaces = {each["name"]: each["pid"] for each in session.api.get("/v1/status")["namespaces"]}
    assert procs.state(spaces["user"]) in ("S", "R", "D"), procs.describe(spaces["user"])
    assert session.exec("/bin/echo", "still").out == "still\n", result


@test("a moat-init that is killed from outside is made again, and its commands are reported as killed", needs=("moat",),
      timeout=60)
def init_comes_back(session):
    running = session.api.start("/bin/sleep", "86405")
    spaces = {each["name"]: each["pid"] for each in session.api.get("/v1/status")["namespaces"]}
    os.kill(spaces["user"], signal.SIGKILL)
    ended = procs.wait_until(lambda: (p := session.api.process(running))["state"] == "ended" and p, 10, "the command ended")
    assert ended["signal"] == "SIGKILL", ended

    def works():
        try:
            return session.exec("/bin/echo", "again").out == "again\n"
        except unixhttp.Refused as error:
            assert error.code == "NAMESPACE_LOST", error
            return False
    procs.wait_until(works, 20, "the namespace is back")
