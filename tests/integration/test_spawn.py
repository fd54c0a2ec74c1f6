# SPDX-License-Identifier: Apache-2.0
"""From clone to execve in moat-init: no path of user code's leads out of its view or holds others up."""

import errno
import os
import shutil
import signal
import subprocess
import tempfile
import time
import types
from concurrent.futures import ThreadPoolExecutor

from lib import moatd, places, procs, unixhttp
from lib.tap import test

LEASE = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
time.sleep(1000)
"""

# A file system that says nothing after the greeting: linux/fuse.h
FUSE = """
import ctypes, os, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("/tmp/fuse-dev"), os.mkdir(sys.argv[1])
if libc.mount(b"none", b"/tmp/fuse-dev", b"tmpfs", 0, None):
    sys.exit(f"tmpfs: {ctypes.get_errno()}")
os.mknod("/tmp/fuse-dev/fuse", 0o20600, os.makedev(10, 229))
fd = os.open("/tmp/fuse-dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
if libc.mount(b"silent", sys.argv[1].encode(), b"fuse", 0, options):
    sys.exit(f"fuse: {ctypes.get_errno()}")
length, opcode, unique, _, _, _, _, _ = struct.unpack("=IIQQIIII", os.read(fd, 1 << 17)[:40])
assert opcode == 26, opcode
body = struct.pack("=IIIIHHIIHHI7I", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0, *[0] * 7)
os.write(fd, struct.pack("=IiQ", 16 + len(body), 0, unique) + body)
print("silent", flush=True)
time.sleep(1000)
"""


def init_pids(session):
    return {each["name"]: each["pid"] for each in session.api.get("/v1/status")["namespaces"]}


def answer(session, **fields):
    """'ok' or the code of the refusal, of a command that does nothing."""
    reply = session.api.request("POST", "/v1/exec", {"argv": ["/bin/pwd"], **fields})
    return ("ok", reply.json["stdout"]) if reply.status == 200 else (reply.json["code"], reply.json.get("details", {}).get("errno"))


@test("no descriptor, root or directory of moat-init's leads anywhere as a working directory, in whatever part of the path",
      needs=("moat",), timeout=240)
def working_directory(session):
    link = os.path.join(session.scratch, "link")
    shared = init_pids(session).get("user-shared")
    for context, pid in (("default", 1), ("full", 1), ("shared", shared)):
        bases = [f"/proc/{pid}/{name}" for name in ("root", "cwd", *(f"fd/{fd}" for fd in range(12)))]
        bases += [f"/proc/self/fd/{fd}" for fd in range(9)] + ["/proc/self/root", "/proc/self/cwd", "/dev/fd/8"]
        for base in bases:
            for cwd in (base, base + "/../..", base + "/proc"):
                got = answer(session, context=context, cwd=cwd)
                assert got[0] == "BAD_DIRECTORY", (context, cwd, got)
        for target in bases:
            if os.path.islink(link):
                os.unlink(link)
            os.symlink(target, link)
            for cwd in (link, link + "/../../..", link + "/tmp"):
                got = answer(session, context=context, cwd=cwd)
                assert got[0] == "BAD_DIRECTORY", (context, target, got)
    os.unlink(link)
    os.symlink("/usr", link)
    assert answer(session, cwd=link + "/bin/../bin")[0] == "ok"


@test("a directory is entered with the rights of the command, not with those of moat-init", needs=("moat",))
def rights(session):
    place = os.path.join(session.scratch, "closed")
    os.mkdir(place, 0o700)
    os.chown(place, 65534, 65534)
    assert answer(session, cwd=place)[0] == "ok"  # CAP_DAC_OVERRIDE is in the default set
    assert answer(session, context="bare", cwd=place) == ("BAD_DIRECTORY", errno.EACCES)
    shutil.rmtree(place)


def seconds(session, **fields):
    started = time.monotonic()
    assert session.exec("/bin/true", **fields).exit == 0
    return time.monotonic() - started


def starting(session):
    return sum(each["state"] == "starting" for each in session.api.get("/v1/processes")["processes"])


def check_others_go_on(session, stuck, others):
    """stuck: requests that do not come to execve; others: fields of execs that do meanwhile."""
    with ThreadPoolExecutor(len(stuck)) as threads:
        waiting = [threads.submit(session.api.exec, *argv, timeoutMs=12000, **fields) for argv, fields in stuck]
        procs.wait_until(lambda: starting(session) == len(stuck), 5, "they are on their way")
        for fields in others:
            took = [seconds(session, **fields) for _ in range(3)]
            assert min(took) < 1 * procs.SLACK and max(took) < 3 * procs.SLACK, (fields, took)
        assert starting(session) == len(stuck), "they got through while the others were tried"
        for each in waiting:
            error = each.exception()
            assert isinstance(error, unixhttp.Refused) and error.code == "NOT_STARTED", error or each.result()


@test("a write lease on a program holds up nobody but who starts it, and that one is killed at its time limit", needs=("moat",),
      timeout=90)
def lease(session):
    program = os.path.join(session.scratch, "leased")
    shutil.copy("/bin/true", program)
    # not by user code, which is refused leases where the kernel enforces
    with subprocess.Popen([places.PYTHON, "-c", LEASE, program], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            check_others_go_on(session, [((program,), {}), ((program,), {"isolated": True}), ((program,), {"context": "full"})],
                               [{}, {"isolated": True}, {"context": "full"}, {"context": "other", "isolated": True}])
        finally:
            holder.kill()
    assert session.exec(program).exit == 0


@test("a file system that does not answer, as directory and as program, holds up nobody else", needs=("moat", "lsm"), timeout=120)
def silent_file_system(session):
    subprocess.run(["/sbin/modprobe", "fuse"], check=False)  # or it is built in
    place, full = "/tmp/silent", "[context full]\ncapabilities = all\nnamespace = private\n"
    agent = moatd.Moatd(session.build, f"itest-fuse-{os.getpid()}", f"device = 10:229\n{full}")
    try:
        agent.start(60 * procs.SLACK)
        own = types.SimpleNamespace(api=agent.api(), exec=agent.api().exec)
        server = own.api.start(places.PYTHON, "-c", FUSE, place, context="full")
        said = procs.wait_until(lambda: (p := own.api.process(server))["stdout"] + p["stderr"], 10, "it is mounted")
        assert said == "silent\n", said
        check_others_go_on(own, [(("/bin/true",), {"context": "full", "cwd": place + "/directory"}),
                                     ((place + "/program",), {"context": "full"})],
                           [{"context": "full"}, {}, {"isolated": True}])
        own.api.kill(server)
    finally:
        agent.stop()
        agent.remove_files()


@test("moat-init cannot be read or held by what it starts", needs=("moat",))
def out_of_reach(session):
    look = "import sys; open('/proc/1/' + sys.argv[1], 'rb').read(1)"
    for fields in ({}, {"isolated": True}):
        for name in ("environ", "mem", "fd/3", "exe"):
            result = session.exec(places.PYTHON, "-c", look, name, **fields)
            assert result.exit == 1 and ("FileNotFound" in result.err or "PermissionError" in result.err), (name, result)
    if not session.enforced:  # then those who may look are by themselves
        process = session.api.process(session.api.start("/bin/true", context="full", isolated=True))
        assert process["namespace"] == "secure-of-full", process


@test("the moat-init that was there when the agent started is what runs, whoever overwrites or replaces the file then", needs=(), timeout=120)
def program_is_kept(session):
    with tempfile.TemporaryDirectory(prefix="moat-test-") as directory:
        for name in ("moatd", "moat-init", "moat"):
            shutil.copy2(f"{session.build}/{name}", directory)
        agent = moatd.Moatd(directory, f"itest-kept-{os.getpid()}", "[service s]\ncommand = /bin/sleep 1000000\n[context other]\n",
                            "require" if session.vm else "best-effort", whole_machine=bool(session.vm))
        try:
            agent.start(60 * procs.SLACK)
            with open(f"{directory}/moat-init", "r+b") as file:  # of an executed file this would be ETXTBSY
                file.write(b"\0" * 4096)
            assert agent.api().exec("/bin/echo", "one", context="other").out == "one\n", "a clone of the template"
            for replace in (False, True):
                if replace:
                    os.rename(f"{directory}/moat", f"{directory}/moat-init")
                spaces = {each["name"]: each["pid"] for each in agent.api().get("/v1/status")["namespaces"]}
                os.kill(spaces["user"], signal.SIGKILL)
                procs.wait_until(lambda old=spaces["user"]: {each["name"]: each["pid"] for each in agent.api().get("/v1/status")["namespaces"]}
                                 ["user"] not in (0, None, old), 20, "it is made again")
                assert agent.api().exec("/bin/echo", "two").out == "two\n", "and made from nothing"
        finally:
            agent.stop()
            agent.remove_files()


@test("where no memfd may be executed moat-init runs from a mount of its own", needs=())
def no_memfd(session):
    sysctl, program = "/proc/sys/vm/memfd_noexec", f"{session.build}/tests/unit/init/init_test"
    session.require(os.path.exists(sysctl) and os.path.exists(program), "the kernel cannot forbid it, or the unit tests are not built")
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "/bin/sh", "-c", f"echo 2 > {sysctl} && exec {program} what_runs_is_a_sealed_copy"], check=False,
                          capture_output=True, text=True)
    session.require("Read-only" not in done.stderr and "denied" not in done.stderr, "sysctls cannot be set here")
    assert done.returncode == 0, done


@test("of a program that does not start the reason comes back, however many are tried at once", needs=("moat",), timeout=60)
def many(session):
    try:
        session.exec("/nonexistent/program")
    except unixhttp.Refused as error:
        assert error.code == "COMMAND_NOT_FOUND", error
    identifiers = [session.api.start("/bin/sleep", "0.2") for _ in range(100)]
    for identifier in identifiers:
        procs.wait_until(lambda identifier=identifier: session.api.process(identifier)["state"] == "ended", 30, "it ends")


@test("a command of as many arguments as there may be leaves moat-init as it was: the next ones are started", needs=("moat",))
def many_arguments(session):
    for fields in ({}, {"context": "plain"}, {"env": {"A": "b"}}):
        assert session.exec("/bin/true", *[""] * 65535, **fields).exit == 0
        assert session.exec("/bin/echo", "next", **fields).out == "next\n"
