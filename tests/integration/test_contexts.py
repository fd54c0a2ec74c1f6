# SPDX-License-Identifier: Apache-2.0
"""What user code sees of the machine, of other contexts and of moat."""

import contextlib
import ctypes
import os
import socket

from lib import places, procs, unixhttp
from lib.tap import test

# Contexts whose processes are in the same PID namespace: the control plane's.
SAME_NAMESPACE = [("shared", "other"), ("other", "modest")]


def sleeper(session, context, seconds):
    """A background process of a context: (id, pid in its namespace)."""
    identifier = session.api.start("/bin/sleep", str(seconds), context=context)
    return identifier, procs.wait_until(lambda: session.api.process(identifier)["pid"], 5, "it has a pid")


@test("processes of one context see and may signal each other", needs=("moat",))
def same_context(session):
    for context in ("default", "full", "shared"):
        identifier, pid = sleeper(session, context, 86410)
        listed = session.exec("/bin/ps", "aux", context=context)
        assert "sleep 86410" in listed.out, (context, listed)
        killed = session.exec("/bin/kill", "-TERM", str(pid), context=context)
        assert killed.exit == 0, (context, killed)
        procs.wait_until(lambda identifier=identifier: session.api.process(identifier)["state"] == "ended", 5, "it ended")


@test("processes of another context in the same PID namespace can be neither seen nor signalled", needs=("moat", "lsm"))
def other_context(session):
    for owner, attacker in SAME_NAMESPACE:
        identifier, pid = sleeper(session, owner, 86411)
        listed = session.exec("/bin/ps", "aux", context=attacker)
        assert "86411" not in listed.out, (owner, attacker, listed)
        killed = session.exec("/bin/kill", "-KILL", str(pid), context=attacker)
        assert killed.exit != 0 and "permitted" in killed.err, (owner, attacker, killed)
        assert session.api.process(identifier)["state"] == "running"
        session.api.kill(identifier)


@test("with a PID namespace of its own user code sees nothing of the agent and its services", needs=("moat", "http"))
def private_view(session):
    for context in ("default", "full"):
        result = session.exec("/bin/ps", "axww", "-o", "args", context=context)
        for word in ("moatd", "server.", "sleep 1000000"):
            assert word not in result.out, (context, word, result)


@test("the agent's directory and socket are not to be found", needs=("moat",))
def no_socket(session):
    for context in ("default", "full", "shared"):
        result = session.exec("/bin/ls", "-a", session.agent.state_dir, context=context)
        assert "moat.sock" not in result.out, (context, result)
        result = session.exec("/usr/bin/curl", "-s", "--unix-socket", session.agent.socket, "http://moat/v1/health", context=context)
        assert result.exit == 7 and result.out == "", (context, result)


@test("a socket that user code can name all the same refuses it", needs=("moat",))
def leaked_socket(session):
    for context in ("default", "full", "shared"):
        result = session.exec("/usr/bin/curl", "-s", "--unix-socket", session.agent.alias, "http://moat/v1/health", context=context)
        refused = result.exit == 7 if session.enforced else "FORBIDDEN" in result.out
        assert refused, (context, result)
    own = unixhttp.Client(session.agent.alias).get("/v1/health")
    assert own["status"] == "ok", "the tests themselves may"


def mount_table(session, context):
    """(root within its filesystem, place, options, type, options of the superblock) of each mount."""
    found = []
    for line in session.exec("/bin/cat", "/proc/self/mountinfo", context=context).out.splitlines():
        before, _, after = line.partition(" - ")
        found.append((*before.split()[3:6], after.split()[0], after.split()[2]))
    assert found, "no mount"
    return found


@test("there is no bpffs, no other procfs, no debugfs, and of devtmpfs single devices only, in user code's mounts", needs=("moat",))
def mounts(session):
    for context in ("default", "full", "shared"):
        table = mount_table(session, context)
        assert not [each for each in table if each[3] in ("bpf", "debugfs", "tracefs", "securityfs")], (context, table)
        assert not [each for each in table if each[3] == "devtmpfs" and each[0] == "/"], (context, table)
        proc = [each for each in table if each[3] == "proc" and each[0] == "/"]
        assert len(proc) == 1 and proc[0][1] == "/proc", (context, proc)
        assert ("hidepid=ptraceable" in proc[0][4]) == (context == "shared"), (context, proc)


# One that has changed its user and one that is not dumpable, as a database server and a program that holds keys are.
ODD = """
import ctypes, os, time
if os.fork():
    os.setgid(65534)
    os.setuid(65534)
else:
    ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE
print(os.getpid(), flush=True)
time.sleep(86412)
"""


@test("a context sees its own processes and signals them when they have changed their user or are not dumpable", needs=("moat",), timeout=60)
def own_processes(session):
    for context in ("default", "full", "shared"):  # shared: it may trace, or moatd's PID namespace would not show them
        identifier = session.api.start(places.PYTHON, "-c", ODD, context=context)
        pids = procs.wait_until(lambda one=identifier: len(p := session.api.process(one)["stdout"].split()) == 2 and p, 20, "both are there")
        found = session.exec("/bin/sh", "-c", f"cat /proc/{pids[0]}/comm /proc/{pids[1]}/comm; ls /proc; pkill -c -f '[8]6412'", context=context)
        listed = found.out.split()
        assert found.exit == 0 and {*pids} <= {*listed[2:]} and listed[-1] == "2", (context, pids, found)
        procs.wait_until(lambda one=identifier: session.api.process(one)["state"] == "ended", 5, "it ended")


@test("the first process of a context's PID namespace is there; nothing of it is to be had but what the kernel tells of any", needs=("moat",))
def first_process(session):
    for context in ("default", "full"):
        assert session.exec("/bin/cat", "/proc/1/comm", context=context).out == "moat-init\n", context
        for path in ("environ", "mem", "maps"):
            found = session.exec("/usr/bin/head", "-c", "1", f"/proc/1/{path}", context=context)
            assert (found.exit == 1 and found.out == "") or (context == "full" and not session.enforced), (context, path, found)
        for path in ("root", "cwd", "exe", "fd/3", "ns/mnt"):
            found = session.exec("/bin/readlink", f"/proc/1/{path}", context=context)
            assert (found.exit == 1 and found.out == "") or (context == "full" and not session.enforced), (context, path, found)


@test("user code changes nothing of its moat-init by /proc, and of its own processes what it may", needs=("moat", "lsm"))
def first_process_unchanged(session):
    for context in ("default", "full"):
        done = session.exec("/bin/sh", "-c", "echo 5 > /proc/self/oom_score_adj; cat /proc/self/oom_score_adj; "
                            "for each in oom_score_adj coredump_filter clear_refs; do echo 5 > /proc/1/$each; done; cat /proc/1/oom_score_adj",
                            context=context)
        assert done.out.split("\n")[0] == "5" and done.out.split("\n")[1] != "5", (context, done)
        assert done.err.count("not permitted") == 3, (context, done)


MEMORY = ("environ", "auxv", "maps", "smaps", "smaps_rollup", "numa_maps", "pagemap")
READ_MEMORY = """
import errno, sys
for path in sys.argv[1:]:
    try:
        open(path, "rb").read(8)
        print("ok")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@test("what moat-init's memory looks like no context reads, whatever its capabilities; its own it does", needs=("moat", "lsm"))
def first_process_memory(session):
    of_init = [f"/proc/1/{place}{name}" for place in ("", "task/1/") for name in MEMORY]
    for context in ("default", "full"):
        own = [f"/proc/self/{name}" for name in MEMORY]
        done = session.exec(places.PYTHON, "-c", READ_MEMORY, *of_init, *own, context=context)
        assert done.out.split() == ["EACCES"] * len(of_init) + ["ok"] * len(own), (context, done)


# Receives descriptors, each in a message of its own, and says which of them came.
RECEIVER = """
import socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.connect(chr(0) + sys.argv[1])
while name := sock.recvmsg(100, socket.CMSG_SPACE(4)):
    if not name[0]:
        break
    print(name[0].decode(), "came" if name[1] and not name[2] & socket.MSG_CTRUNC else "did not come")
"""


def passed(session, context, descriptors):
    """name -> whether the descriptor, passed over a unix socket, reached user code."""
    name = f"{session.instance}.reach"  # the one that `reach` opens
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind("\0" + name)
        server.listen()
        server.settimeout(120)
        identifier = session.api.start(places.PYTHON, "-c", RECEIVER, name, context=context)
        connection, _ = server.accept()
        with connection:
            for each, descriptor in descriptors.items():
                socket.send_fds(connection, [each.encode()], [descriptor])
    ended = procs.wait_until(lambda: (p := session.api.process(identifier))["state"] == "ended" and p, 20, "it ended")
    return {line.split(" ", 1)[0]: line.endswith(" came") and "did not" not in line for line in ended["stdout"].splitlines()}


def leaked_descriptors(session, context):
    """passed() of what leads to the machine's own procfs and bpffs, and of what does not."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.ExitStack() as stack:
        found = {}
        session.exec("/bin/true", context="adm")
        spaces = {each["name"]: each["pid"] for each in session.api.get("/v1/status")["namespaces"]}
        for name, path in (("proc", "/proc"), ("process", f"/proc/{session.agent.pid}"), ("bpffs", "/sys/fs/bpf"), ("tmp", "/tmp"),
                           ("context", f"/proc/{spaces['context-adm']}/root/proc")):
            found[name] = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            found[name + "-path"] = os.open(path, os.O_PATH)
            if name != "context":  # that is in a mount namespace of its own
                found[name + "-tree"] = libc.syscall(428, -100, path.encode(), 1 | os.O_CLOEXEC)  # open_tree, OPEN_TREE_CLONE
        for each in found.values():
            stack.callback(os.close, each)
        return passed(session, context, found)


@test("no descriptor of the machine's own /proc, of another context's, or of a bpffs reaches user code over a unix socket; others do", needs=("moat", "lsm"),
      timeout=60)
def leaked(session):
    for context in ("full", "shared", "modest"):
        came = leaked_descriptors(session, context)
        assert len(came) == 14 and {name for name in came if came[name]} == {"tmp", "tmp-path", "tmp-tree"}, (context, came)


@test("cgroupfs is read-only for user code", needs=("moat",))
def cgroups(session):
    for context in ("default", "full", "shared"):
        for _, place, options, kind, _ in mount_table(session, context):
            if kind not in ("cgroup", "cgroup2"):
                continue
            assert "ro" in options.split(","), (context, place, options)
            made = session.exec("/bin/mkdir", f"{place}/escape", context=context)
            assert made.exit == 1 and "Read-only" in made.err, (context, place, made)


@test("the usual programs work: python with threads and subprocesses, pipes, /tmp, /dev/null, /dev/pts", needs=("moat",), timeout=60)
def usual_programs(session):
    program = ("import subprocess, threading, tempfile, os\n"
               "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
               "print(subprocess.run(['sh', '-c', 'echo sub | tr a-z A-Z'], capture_output=True, text=True).stdout.strip())\n"
               "open('/dev/null', 'w').write('x'); open('/dev/urandom', 'rb').read(4)\n"
               "with tempfile.NamedTemporaryFile() as f: f.write(b'x'); f.flush(); print(os.path.getsize(f.name))\n"
               "os.kill(os.getpid(), 0); print(os.path.exists('/proc/self/fd/0'))\n")
    for context in ("default", "full", "shared"):
        result = session.exec(places.PYTHON, "-c", program, context=context)
        assert (result.out, result.err, result.exit) == ("thread\nSUB\n1\nTrue\n", "", 0), (context, result)


PING = """
import os, socket, struct
os.setgid(65534), os.setuid(65534)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sock:
    sock.settimeout(20)
    sock.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1), ("127.0.0.1", 0))
    print(sock.recv(100)[0])  # 0: an answer
"""


@test("an ordinary user of a context may ping, unless somebody has set who may", needs=("moat",))
def ping(session):
    with open("/proc/sys/net/ipv4/ping_group_range", encoding="ascii") as file:
        session.require(file.read().split()[0] == "0", "sysctls are read-only here, or somebody has set it")
    result = session.exec(places.PYTHON, "-c", PING)
    assert (result.exit, result.out) == (0, "0\n"), result
