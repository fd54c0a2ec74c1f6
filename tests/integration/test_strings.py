#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
moat-run by itself: what it makes of strings, beside dash. By hand, with more of them:

    make agreement STRINGS=100000 SEED=2
"""

import concurrent.futures
import contextlib
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lib import places, procs  # noqa: E402
from lib.strings import Strings  # noqa: E402
from lib.tap import Skip, test  # noqa: E402

FRESH, KEPT, KEPT_SEED = 400, 200, 20  # strings of another seed each time, and of one that stays; more by hand: make agreement
SHELL = "/usr/bin/dash"
STATE = ("A", "B", "LONG")  # the variables of the generator
PIECE = 200                 # strings that one process compares at a time
MAGIC = 0x6d6f6174          # of run/protocol.h
TIMEOUT = 60                # of one string
FILES = {"a.t": b"a file\n", "b.t": b"bb\n", "d/in": b"x", "e1": b"", ".hidden": b""}


class Bench:
    """A directory that every string finds as it was. In memory: what it is made of again for each is what costs most."""

    def __init__(self, build):
        self.run = os.path.join(os.path.abspath(build), "moat-run")
        self.top = tempfile.TemporaryDirectory(prefix="moat-strings-", dir="/dev/shm")
        self.here = os.path.join(self.top.name, "w")
        self.environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": self.here, "LC_ALL": "C"}
        while (null := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 6:
            pass  # nothing of ours is then where a string is given something
        self.null = null
        self.output = os.open(os.path.join(self.top.name, "output"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        os.chdir("/")
        os.close(self.output)
        os.close(self.null)
        self.top.cleanup()

    def fresh(self):
        os.chdir("/")
        shutil.rmtree(self.here, ignore_errors=True)
        os.makedirs(os.path.join(self.here, "d"))
        os.symlink("d", os.path.join(self.here, "link"))
        for name, text in FILES.items():
            with open(os.path.join(self.here, name), "wb", buffering=0) as file:
                file.write(text)
        os.chdir(self.here)

    def files(self):
        found = {}
        for folder, _, names in os.walk(self.here):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    found[os.path.relpath(os.path.join(folder, name), self.here)] = file.read()
        found.pop(".err", None)  # the words of a message are each program's own
        return found

    def result(self, *command, fds=()):
        """(status, output, what is left in the files); fds: (ours, its) of more descriptors."""
        self.fresh()
        os.ftruncate(self.output, 0)
        os.lseek(self.output, 0, os.SEEK_SET)
        fds = [(self.null, 0), (self.output, 1), (self.null, 2), *fds]
        pid = os.posix_spawn(command[0], command, self.environment, setpgroup=0, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
                             file_actions=[(os.POSIX_SPAWN_DUP2, ours, its) for ours, its in fds])
        with open(os.pidfd_open(pid), "rb") as end:
            late = not select.select([end], [], [], TIMEOUT)[0]
        if late:
            os.killpg(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it has left in the background
        assert not late, command
        return status, os.pread(self.output, 1 << 24, 0), self.files()

    def given(self, text):
        """result() of a string as the agent gives it, and the packet that is handed back."""
        data = text.encode()
        script = os.memfd_create("string")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs, open(script, "wb") as file:
            file.write(struct.pack("6I", MAGIC, 1, 1, 0, 0, len(data)) + data)
            file.flush()
            file.seek(0)
            done = self.result(self.run, fds=((script, 5), (theirs.fileno(), 6)))
            theirs.close()
            return *done, ours.recv(1 << 17)

    def moat_state(self, text):
        """The same with what is handed back: (directory, {name: (value, whether it is exported)})."""
        *done, packet = self.given(text)
        if not packet:
            return *done, "refused"
        magic, says, size, count = struct.unpack_from("4I", packet)
        entries = packet[16:].split(b"\0")[:-1]
        assert (magic, says, size, count) == (MAGIC, 1, len(packet) - 16, len(entries)), packet
        directory, variables = self.here, {}
        for entry in entries:
            kind, name, value = entry[:1], *(entry[1:].partition(b"=")[::2])
            if kind == b"d":
                directory = entry[1:].decode()
            elif name.decode() in STATE:
                variables[name.decode()] = (value if b"=" in entry else None, kind == b"x")
        return *done, (directory, {name: each for name, each in variables.items() if each != (None, False)})

    def shell_state(self, text):
        """What moat_state() answers, of a shell: by a trap."""
        dump = os.path.join(self.top.name, "dump")
        values = " ".join(f'"${{{name}-<unset>}}"' for name in STATE)
        trap = f"trap '{{ printf \"%s\\0\" \"$PWD\" {values}; export -p; }} > {dump}' EXIT"
        done = self.result(SHELL, "-c", f"{trap}\n{text}")
        with open(dump, "rb") as file:
            directory, *found = file.read().split(b"\0")
        exported = {line.split(b" ", 1)[1].split(b"=")[0].decode() for line in found.pop().split(b"\n") if line.startswith(b"export ")}
        found = {name: (None if value == b"<unset>" else value, name in exported) for name, value in zip(STATE, found)}
        return *done, (directory.decode(), {name: each for name, each in found.items() if each != (None, False)})

    def said(self, text):
        """The output as text, the status last."""
        status, output, _ = self.result(self.run, text)
        return f"{output.decode()}{status}"


# Beside the messages of each, which go to stderr: strings that send their stderr to stdout are compared by status alone.
def same(text, ours, theirs):
    if "2>&1" in text or "3>&1" in text or ".err" in text:
        return ours[0] == theirs[0] and ours[3] == theirs[3]
    return ours == theirs


def compare(build, seed, count):
    """What differs; in a directory of its own, so that several can work at once."""
    strings, found = Strings(seed), []
    with Bench(build) as bench:
        for number in range(count):
            text = strings.next()
            for _ in range(3):  # two that write to one file at a time agree with nobody, but not for ever
                ours, theirs = bench.moat_state(text), bench.shell_state(text)
                if same(text, ours, theirs):
                    break
            else:
                found.append(f"string {number} of seed {seed}: {text!r}\n  moat-run: {ours}\n  dash:     {theirs}")
    return found


def differences(build, count, seed):
    """What differs, piece by piece. By processes: each has a working directory of its own."""
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        started = [pool.submit(compare, build, f"{seed}.{first}", min(PIECE, count - first)) for first in range(0, count, PIECE)]
        for each in started:
            yield each.result()


@contextlib.contextmanager
def bench_of(session):
    with Bench(session.build) as bench:
        yield bench


@test(f"moat-run and dash agree about {KEPT} strings of the grammar and {FRESH} that are new: output, status, files and state", timeout=400)
def agrees(session):
    if not os.access(SHELL, os.X_OK):
        raise Skip("there is no dash")
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"# seed {seed}", flush=True)
    found = sum((*differences(session.build, KEPT, KEPT_SEED), *differences(session.build, FRESH, seed)), [])
    assert not found, f"{len(found)} differ; the first: {found[0]}"


@test("the last program of a string takes the place of moat-run; one that is followed by something does not")
def in_its_place(session):
    with bench_of(session) as bench:
        bench.fresh()
        for text, replaced in (("cd d && sh -c 'echo $PPID; echo $$'", True), ("sh -c 'echo $PPID; echo $$'; true", False),
                               ("(A=1 sh -c 'echo $PPID; echo $$')", True), ("! sh -c 'echo $PPID; echo $$'", False)):
            with subprocess.Popen([bench.run, text], cwd=bench.here, env=bench.environment, stdout=subprocess.PIPE, text=True) as process:
                parent, own = map(int, process.communicate()[0].split())
                assert (own == process.pid) == replaced and (parent == process.pid) != replaced, (text, parent, own, process.pid)


@test("a string ends with 128 and the number of the signal that ended its command, and what follows does not run", timeout=60)
def signals(session):
    with bench_of(session) as bench:
        assert bench.said("sh -c 'kill -9 $$'; echo $?") == "137\n0"
        assert bench.said("true && sh -c 'kill -9 $$' | cat; set -o pipefail; sh -c 'kill -9 $$' | cat") == "137"
        for number, name in ((15, "TERM"), (1, "HUP"), (2, "INT")):
            # To the whole group, as the agent and a terminal send it.
            text = f"setsid sh -c 'exec \"$0\" \"sh -c \\\"kill -{name} 0; sleep 10\\\"; echo on\"' \"$RUN\""
            done = subprocess.run(["sh", "-c", text], env=dict(bench.environment, RUN=bench.run), stdin=subprocess.DEVNULL, capture_output=True,
                                  check=False, timeout=60)
            assert (done.returncode, done.stdout) == (128 + number, b""), (name, done)


@test("a here-document of a hundred kilobytes is read by who asks, and stops nobody who does not")
def here_documents(session):
    with bench_of(session) as bench:
        lines = "x" * 1000 + "\n"
        assert bench.said(f"true <<E\n{lines * 100}E\ncat <<'E' | wc -c\n{lines * 20}E\n") == "20020\n0"


@test("the language of activate, of deactivate, and what a name that is none is answered", timeout=60)
def environments(session):
    with bench_of(session) as bench:
        venv = "mkdir -p v/bin; echo exit 7 > v/bin/activate; : > v/pyvenv.cfg; "
        assert bench.said(venv + "source v/bin/activate && echo $VIRTUAL_ENV && env | grep -c PYTHONHOME; deactivate; echo $VIRTUAL_ENV") == \
            f"{bench.here}/v\n0\n\n0"
        assert bench.said("mkdir -p w/bin; : > w/bin/activate; . w/bin/activate; echo $?") == "1\n0", "no pyvenv.cfg"
        assert bench.said("source missing/bin/activate; echo $?") == "1\n0"
        assert bench.said("no-such-program") == "127" and bench.said("./d") == "126" and bench.said("echo > f; chmod +x f; ./f") == "126"
        assert bench.said("E=eval; $E true") == "127", "a builtin of shells is not looked for in PATH"


@test("command has the option -v and no other, also where a variable says so")
def command_option(session):
    with bench_of(session) as bench:
        assert bench.said("O=--; command $O true; echo $?; O=-p; command $O true; echo $?") == "2\n2\n0"
        assert bench.said("O=-v; command $O cd; command $O no-such; echo $?") == "cd\n127\n0"
        assert bench.said("A='b C=d'; command export E=$A; echo \"$E$C\"") == "b C=d\n0"


@test("an expansion that cannot be made ends the string: ${V:?}, set -u, and words that become too long")
def failing_expansions(session):
    with bench_of(session) as bench:
        assert bench.said("echo a; echo ${N:?}; echo b") == "a\n2"
        assert bench.said("set -u; echo a; echo $N; echo b") == "a\n2"
        assert bench.said("A=" + "x" * 1000 + "; A=$A$A$A$A$A$A$A$A$A$A; A=$A$A$A$A$A$A$A$A$A$A$A; B=$A$A$A$A$A$A$A$A$A$A; echo b") == "2"


@test("with set -e a group or subshell whose redirection fails ends the string, unless its failure is looked at")
def failing_groups(session):
    with bench_of(session) as bench:
        for group in ("{ true; }", "( true )", "{ { true; } < missing; echo on; }"):
            assert bench.said(f"set -e; {group} < missing; echo on") == "2", group
            assert bench.said(f"set -e; {group} < missing || echo or") == "or\n0", group
            assert bench.said(f"! {group} < missing; echo $?") == "0\n0", group


@test("a redirection to a full disk, a directory, or a place that is not there is an answer of its command, and what follows runs")
def failing_redirections(session):
    with bench_of(session) as bench:
        for target in ("d", "d/", "d/.", "missing/f", "''", "a.t/f"):
            for text in ("pwd", "cat a.t", "cat <<<x", "A=1", "{ pwd; }", "( pwd )"):
                assert bench.said(f"{text} > {target}; echo $?") == "2\n0", (text, target)
        for text in ("pwd", "cd -", "command -v cd", "cat a.t", "{ pwd; }", "cat a.t | cat"):
            assert bench.said(f"OLDPWD=d; {text} > /dev/full; echo $?") == "1\n0", text
        assert bench.said("cat < d; echo $?; cat < missing; echo $?; cat <<E > /dev/full || echo full\nx\nE\n") == "1\n2\nfull\n0"


def waits_to_open(pid):
    with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
        return file.read().split()[0] in ("2", "257")  # open, openat of x86-64


@test("a FIFO that nobody else opens is waited for, and a signal ends that")
def fifos(session):
    with bench_of(session) as bench:
        bench.fresh()
        os.mkfifo("f")
        assert subprocess.run([bench.run, "cat < f & echo x > f; wait $!; echo $?"], env=bench.environment, capture_output=True,
                              check=False).stdout == b"x\n0\n"
        for text in ("pwd > f; echo on", "cat < f; echo on", "cat < f", "( pwd ) > f; echo on", "cat a.t | cat > f; echo on"):
            for number in (signal.SIGTERM, signal.SIGINT):
                with subprocess.Popen([bench.run, text], env=bench.environment, start_new_session=True, stdout=subprocess.PIPE) as process:
                    procs.wait_until(lambda: any(waits_to_open(pid) for pid in (process.pid, *procs.children(process.pid))), 20, text)
                    os.killpg(process.pid, number)
                    assert process.communicate()[0] == b"" and process.returncode in (-number, 128 + number), (text, number, process.returncode)


QUARTER = "B=" + "x" * 262143 + "; A=$B$B$B$B; "  # $A: 1048572 bytes
LIMITS = {                                      # one that is just within, one that is not
    "fields of a command": ("A='" + "x " * 131071 + "'; : $A", "A='" + "x " * 131072 + "'; : $A"),
    "bytes of a command": (QUARTER + ': "$A$A$A$A"' + "x" * 15, QUARTER + ': "$A$A$A$A"' + "x" * 16),
    "bytes of a variable": (QUARTER + "A=${A}1234", QUARTER + "A=${A}12345"),
    "names that patterns look at": ("cd ../many; :" + " *" * 100, "cd ../many; :" + " *" * 101),
    "variables": ("".join(f"A{n}= " for n in range(8188)), "".join(f"A{n}= " for n in range(8189))),
    "commands in the background": (":</dev/null<../fifo&" * 4096, ":</dev/null<../fifo&" * 4097),
}


@test("what a string becomes has limits, each of which is reached, and refused one further: " + ", ".join(LIMITS), timeout=120)
def limits(session):
    with bench_of(session) as bench:
        os.makedirs(os.path.join(bench.top.name, "many"))
        os.mkfifo(os.path.join(bench.top.name, "fifo"))
        for number in range(998):  # and . and ..
            os.close(os.open(os.path.join(bench.top.name, "many", f"f{number}"), os.O_CREAT))
        for name, (within, beyond) in LIMITS.items():
            assert bench.given(within)[0] == 0, name
            assert bench.given(beyond)[0] == 2, name


@test("standard input is /dev/null in the background, and wait knows the status of what has ended")
def background(session):
    with bench_of(session) as bench:
        assert bench.said("cat & wait $!; echo $?") == "0\n0"
        assert bench.said("sh -c 'exit 4' & A=$!; sh -c 'exit 5' & wait $A; echo $?; wait $!; echo $?; wait 1; echo $?; wait") == "4\n5\n127\n0"


def by_hand():
    arguments = sys.argv[1:]
    build = arguments.pop(0) if arguments[:1] == ["--build"] and arguments.pop(0) else places.build_dir(None)
    count, seed = int(arguments[0]), int(arguments[1]) if arguments[1:] else 2
    found = []
    for number, piece in enumerate(differences(build, count, seed), 1):
        found += piece
        print("".join(f"{each}\n" for each in piece) + f"# {min(number * PIECE, count)} of {count} strings, {len(found)} differ", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(by_hand())
