# SPDX-License-Identifier: Apache-2.0
"""
Every hook that moat uses: its arguments are those of this kernel, and over the whole suite it has decided and refused. Runs when
everything else has, so that its counts are those of the suite; when it runs alone it makes the attempts itself.
"""

import contextlib
import ctypes
import os
import pathlib
import socket
import subprocess

import test_attempts
import test_contexts
import test_follow
from lib import attempts, btf, doing, labels, leaks, moatd, places, privileges, procs
from lib.labels import labelled
from lib.session import SPARE_PORT
from lib.tap import Skip, test

# Hooks that cannot refuse user code, and why. The others must have.
ALLOW_ONLY = {
    "file_set_fowner": "it has no answer: it remembers who asked",
    "cred_prepare": "it labels",
    "task_setpgid": "the kernel asks only for oneself and one's own children (setpgid(2)), which have the same label",
    "task_movememory": "the kernel asks ptrace_access_check first (mm/migrate.c), which refuses",
}
# Hooks that never let user code do what they count, and why. The others must have.
DENY_ONLY = {
    "capable": "it is asked all the time, and counts what it refuses",
    "bpf": "no command of bpf(2) is for user code",
    "locked_down": "nothing of what lockdown knows is for user code",
    "syslog": "the kernel's log is not for user code",
    "kernel_module_request": "no module is loaded for user code",
    "key_alloc": "keys are not for user code", "key_permission": "keys are not for user code",
    "inode_follow_link": "it counts what the control plane is refused",
    "file_receive": "of all descriptors it counts those of doors to the kernel and of what is hidden",
    **dict.fromkeys(("inode_readlink", "inode_getxattr", "inode_listxattr", "inode_get_acl", "inode_file_getattr"),
                    "of all that is looked at it counts what is hidden"),
    "file_fcntl": "of all fcntl(2) it counts leases", "path_notify": "of all watches it counts those that answer and those of what is hidden",
}


def by_hook():
    found = {}
    for program in btf.programs():
        found.setdefault(program.hook, []).append(program)
    return found


def check_arguments(hook, programs):
    @test(f"{hook} has the arguments in this kernel that {' or '.join(each.name for each in programs)} declares", timeout=60)
    def arguments(session):
        compared = {each.name: btf.differences(btf.of(session), each) for each in programs}
        if None in compared.values():
            assert all(each.optional for each in programs), f"this kernel has no hook {hook}"
            raise Skip(f"this kernel has no hook {hook}")
        fitting = [name for name, differences in compared.items() if not differences]
        assert fitting, "\n".join(sum(compared.values(), []))
        assert len(fitting) == 1, f"{fitting} fit all"


for _hook, _programs in by_hook().items():
    check_arguments(_hook, _programs)


@test("the comparison notices an argument more, one less, another type, another size, and an answer that there is none of",
      timeout=60)
def notices(session):
    here = btf.of(session)
    right = next(each for each in btf.programs() if each.hook == "task_setrlimit")

    def doctored(*arguments):
        return btf.differences(here, btf.Program(right.hook, right.name, False, dict(enumerate(arguments))))
    task, resource, limit, ret = right.arguments.values()
    assert doctored(task, resource, limit, ret) == []
    assert doctored(("struct cred *", "cred"), resource, limit, ret) == [
        "task_setrlimit: argument 1 of moat_task_setrlimit is struct cred * cred (struct cred *), the kernel's is p (struct task_struct *)"]
    assert len(doctored(task, ("unsigned long ", "resource"), limit, ret)) == 1
    assert len(doctored(task, resource, limit)) == 1
    assert "the kernel's is not there" in doctored(task, resource, limit, ret, ("int ", "more"))[0]
    assert doctored(("struct mnt_idmap *", "idmap"), task, resource, limit, ret)
    assert doctored(task, resource, ("struct rlimit ", "new_rlim"), ret)
    void = next(each for each in btf.programs() if each.hook == "task_free")
    more = btf.Program(void.hook, void.name, False, {**void.arguments, 1: ("int ", "ret")})
    assert btf.differences(here, void) == [] and len(btf.differences(here, more)) == 1
    assert btf.differences(here, btf.Program("no_such_hook", "moat_no_such_hook", True, {})) is None


# What user code cannot bring about by itself: the tests hand it over, or label a process of their own.

def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def unmounts(place):
    def inside():
        doing.call(doing.libc.unshare(doing.CLONE_NEWNS))
        doing.mount("none", "/", None, 0x44000)  # MS_REC | MS_PRIVATE
        doing.mount("tmpfs", "/mnt", "tmpfs")
        doing.call(doing.libc.umount2(place, 2))  # MNT_DETACH
    return inside


@test("a moat-init for which no command is announced has no child; one that is announced, once", needs=("moat", "lsm"))
def announced_child(session):
    def twice():
        fork()
        fork()
    assert labelled(session, labels.INIT, labels.NONE, fork) == "EPERM"
    assert labelled(session, labels.INIT, labels.USER, fork) == "ok"
    assert labelled(session, labels.INIT, labels.USER, twice) == "EPERM"


def at_the_doors(session):
    """What user code that had the machine's own mounts could try, name -> function. What succeeds is harmless, or undone."""
    pins = f"/sys/fs/bpf/moat/{session.instance}"
    pin, cgroups = f"{pins}/maps/settings", leaks.cgroup_roots()[0]

    def undo(make, *arguments):
        def both():
            make(*arguments)
            os.rmdir(arguments[0])
        return both
    return {
        "stat a process": lambda: os.stat(f"/proc/{session.agent.pid}"), "list processes": lambda: os.listdir("/proc"),
        "read an environment": lambda: pathlib.Path(f"/proc/{session.agent.pid}/environ").read_bytes(),
        "open a sysctl": lambda: os.close(os.open("/proc/sys/kernel/panic", os.O_WRONLY)),
        "chmod sysrq-trigger": lambda: os.chmod("/proc/sysrq-trigger", 0o200),
        "stat a pin": lambda: os.stat(pin), "list pins": lambda: os.listdir(f"{pins}/maps"),
        "unlink a pin": lambda: os.unlink(pin), "rename a pin": lambda: os.rename(pin, pin + "-other"),
        "chmod a pin": lambda: os.chmod(pin, 0o600), "link a pin": lambda: os.link(pin, pin + "-link"),
        "make a directory of pins": undo(os.mkdir, "/sys/fs/bpf/attempt"), "remove one": lambda: os.rmdir(f"{pins}/maps"),
        "symlink pins": lambda: os.symlink("/", "/sys/fs/bpf/attempt"),
        "remount the bpffs": lambda: doing.mount("none", "/sys/fs/bpf", None, 32),  # MS_REMOUNT
        "make a cgroup": undo(os.mkdir, cgroups + "/attempt"),
        "chown a cgroup": lambda: os.chown(cgroups + "/cgroup.procs", 0, 0),
        "list a cgroup": lambda: pathlib.Path(cgroups, "cgroup.procs").read_bytes(),
    }


# These succeed for anybody else; the others would leave the agent without its pins.
HARMLESS = ("stat a process", "list processes", "read an environment", "open a sysctl", "chmod sysrq-trigger", "stat a pin", "list pins",
            "chmod a pin", "make a directory of pins", "remount the bpffs", "make a cgroup", "chown a cgroup", "list a cgroup")


@test("user code that had the machine's own mounts could not use its /proc, bpffs and cgroupfs: nothing there is stat'ed, opened, "
      "made, removed, renamed, linked, changed or remounted", needs=("moat", "lsm"), timeout=60)
def machine_mounts(session):
    doors = at_the_doors(session)
    for name, function in doors.items():
        assert labelled(session, labels.USER, labels.NONE, function) == "EPERM", name
    for name in HARMLESS:
        assert labelled(session, labels.CONTROL, labels.NONE, doors[name]) == "ok", name


@test("user code that has the machine's own mounts cannot unmount the bpffs from them; it can unmount others", needs=("moat", "lsm"))
def unmount(session):
    assert labelled(session, labels.USER, labels.NONE, unmounts(b"/sys/fs/bpf")) == "EPERM"
    assert labelled(session, labels.USER, labels.NONE, unmounts(b"/mnt")) == "ok"
    assert labelled(session, labels.CONTROL, labels.NONE, unmounts(b"/sys/fs/bpf")) == "ok"


@test("user code that had them in sight could not change moat's state directory, configuration and audit log", needs=("moat", "lsm"))
def own_state(session):
    def answers(path):
        return {labelled(session, labels.USER, labels.NONE, function) for function in (
            lambda: os.truncate(path, 0), lambda: os.chmod(path, 0o600), lambda: os.rename(path, path + ".moved"), lambda: os.unlink(path))}
    for path in (f"{session.agent.state_dir}/lock", session.agent.config, session.audit_log):
        assert answers(path) == {"ENOENT"}, (path, answers(path))  # it is hidden
    assert labelled(session, labels.USER, labels.NONE, lambda: os.rename(session.agent.state_dir, session.agent.state_dir + ".moved")) == "ENOENT"
    free = f"{session.scratch}/free-of-moat"
    pathlib.Path(free).write_text("nobody's\n", encoding="ascii")
    pathlib.Path(free + ".moved").write_text("nobody's\n", encoding="ascii")
    assert answers(free) == {"ok", "ENOENT"}  # renamed, it cannot be removed any more
    os.unlink(free + ".moved")


LISTEN = """
import errno, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(chr(0) + sys.argv[1])
_, [bound], _, _ = socket.recv_fds(sock, 1, 1)
try:
    socket.socket(fileno=bound).listen()
    print("ok")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def listens(session, context, port):
    """What user code is answered that listens on a socket which is already bound, and not by it."""
    name = f"{session.instance}.reach"  # the one that `reach` opens
    with socket.socket() as bound, socket.socket(socket.AF_UNIX) as server:
        bound.bind(("127.0.0.1", port))
        server.bind("\0" + name)
        server.listen()
        server.settimeout(20)
        identifier = session.api.start(places.PYTHON, "-c", LISTEN, name, context=context)
        connection, _ = server.accept()
        with connection:
            socket.send_fds(connection, [b"x"], [bound.fileno()])
            ended = procs.wait_until(lambda: (p := session.api.process(identifier))["state"] == "ended" and p, 20, "it ended")
    return ended["stdout"].strip()


@test("user code that is handed a socket bound to a guarded port cannot listen on it; on a free one it can", needs=("moat", "lsm"))
def listen(session):
    assert listens(session, "shared", SPARE_PORT) == "EADDRINUSE"
    assert listens(session, "shared", 0) == "ok"


SEND = "import socket, sys; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', sys.argv[1])"
TAKE = """
import socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.bind(sys.argv[1])
print("bound", flush=True)
print(sock.recv(10).decode(), flush=True)
"""


@test("a datagram socket of somebody else takes nothing from user code; one of its context does", needs=("moat", "lsm"))
def others_datagrams(session):
    name = f"/tmp/datagrams-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(name)
        refused = session.exec(places.PYTHON, "-c", SEND, name, context="shared")
        assert refused.exit == 1 and "Operation not permitted" in refused.err, refused
    os.unlink(name)
    taker = session.api.start(places.PYTHON, "-c", TAKE, name, context="shared")
    procs.wait_until(lambda: session.api.process(taker)["stdout"], 10, "it is bound")
    assert session.exec(places.PYTHON, "-c", SEND, name, context="shared").exit == 0
    ended = procs.wait_until(lambda: (p := session.api.process(taker))["state"] == "ended" and p, 10, "it has taken one")
    assert ended["stdout"] == "bound\nx\n", ended
    os.unlink(name)


@test("user code has packet and raw sockets in a network namespace of its own, and not in the control plane's", needs=("moat", "lsm"))
def own_packets(session):
    program = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW); socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)"
    for context in ("full", "shared"):
        own = session.exec("/usr/bin/unshare", "--net", places.PYTHON, "-c", program, context=context)
        shared = session.exec(places.PYTHON, "-c", program, context=context)
        assert own.exit == 0 and shared.exit == 1 and "Operation not permitted" in shared.err, (context, own, shared)


@test("a raw socket for ping takes whole packets in a network namespace of its own, and not in the control plane's", needs=("moat", "lsm"))
def own_headers(session):
    program = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); "
               "s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 3); s.setsockopt(socket.IPPROTO_IP, 3, 1)")
    for context in ("full", "shared"):
        own = session.exec("/usr/bin/unshare", "--net", places.PYTHON, "-c", program, context=context)
        shared = session.exec(places.PYTHON, "-c", program, context=context)
        assert own.exit == 0 and shared.exit == 1 and "Operation not permitted" in shared.err, (context, own, shared)


FAN_CLASS_CONTENT, FAN_MARK_ADD, FAN_OPEN, FAN_OPEN_PERM = 4, 1, 0x20, 0x10000


@test("user code that is handed a fanotify group watches with it, but answers nothing", needs=("moat", "lsm"))
def handed_group(session):
    group = doing.call(doing.libc.fanotify_init(FAN_CLASS_CONTENT, os.O_RDONLY))

    def mark(events):
        doing.call(doing.libc.fanotify_mark(group, FAN_MARK_ADD, ctypes.c_uint64(events), -100, b"/etc/hostname"))
    try:
        assert labelled(session, labels.USER, labels.NONE, lambda: mark(FAN_OPEN)) == "ok"
        assert labelled(session, labels.USER, labels.NONE, lambda: mark(FAN_OPEN_PERM)) == "EPERM"
        assert labelled(session, labels.CONTROL, labels.NONE, lambda: mark(FAN_OPEN_PERM)) == "ok"
    finally:
        os.close(group)


DEVICES = """
import ctypes, errno, os, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
for result in (libc.unshare(0x20000), libc.mount(b"none", b"/", None, 0x44000, None), libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None)):
    assert result == 0, errno.errorcode[ctypes.get_errno()]
for word in sys.argv[1:]:
    major, _, minor = word.partition(":")
    os.mknod("/tmp/" + word, stat.S_IFCHR | 0o600, os.makedev(int(major), int(minor)))
    try:
        os.close(os.open("/tmp/" + word, os.O_RDONLY | os.O_NONBLOCK))
        print("ok")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@test("of the machine's devices user code opens those that the configuration names, by path or number, and no others", needs=("moat", "lsm"))
def configured_devices(session):
    named = os.stat("/dev/cpu_dma_latency").st_rdev
    words = [f"{os.major(named)}:{os.minor(named)}", "204:5", "204:77", f"{os.major(named)}:{os.minor(named) ^ 1}", "205:5"]
    for context in ("full", "shared"):
        result = session.exec(places.PYTHON, "-c", DEVICES, *words, context=context)
        assert result.out.split() == ["ok", "ENXIO", "ENXIO", "EPERM", "EPERM"], (context, result)


@test("where everybody may read the kernel log, user code may not", needs=("moat", "lsm"))
def kernel_log(session):
    with doing.sysctl("kernel/dmesg_restrict", "0"):
        assert session.attempts("shared", [], "kernel_log") == {"kernel_log": "EPERM"}
        assert session.attempts("modest", [], "kernel_log") == {"kernel_log": "EPERM"}
        alone = attempts.run(places.attempt(session.build), "kernel_log", become=privileges.of_context(session, "modest"))
        assert alone == {"kernel_log": "ok"}, alone


@test("where everybody may answer page faults of the kernel's, moatd does not start, and says what to do", needs=("moat", "lsm"), timeout=60)
def page_faults(session):
    with doing.sysctl("vm/unprivileged_userfaultfd", "1"):
        status, text, _path = moatd.refuse(
            session.build, f"[moat]\ninstance = faults-{os.getpid()}\nstate_dir = /run/faults-{os.getpid()}\n"
            "[service spare]\ncommand = /bin/sleep 100\n", seconds=60 * session.patience)
    assert status == 1 and "page-faults: vm.unprivileged_userfaultfd is on" in text and "set it to 0" in text, (status, text)


# Counts its own time; "registers": with the registers at each interrupt, which lockdown(7) keeps from everybody.
COUNT = """
import ctypes, errno, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
registers = "registers" in sys.argv
attributes = struct.pack("=IIQQQQQIIQQQQIiQII", 1, 112, 1, 100000, 1 << 18 if registers else 0, 0, 1 | 1 << 5 | 1 << 6,
                         0, 0, 0, 0, 0, 0, 0, 0, 1 << 8 if registers else 0, 0, 0)
number = {"x86_64": 298, "aarch64": 241}[os.uname().machine]
print("ok" if libc.syscall(number, attributes, 0, -1, -1, 8) >= 0 else errno.errorcode[ctypes.get_errno()])
"""


@test("user code counts its own events, but reads no registers of interrupted kernels, which lockdown would hide", needs=("moat", "lsm"))
def perf_registers(session):
    with doing.sysctl("kernel/perf_event_paranoid", "1"):
        for context in ("shared", "modest"):
            plain = session.exec(places.PYTHON, "-c", COUNT, context=context)
            registers = session.exec(places.PYTHON, "-c", COUNT, "registers", context=context)
            assert (plain.out, registers.out) == ("ok\n", "EPERM\n"), (context, plain, registers)
        alone = subprocess.run([places.PYTHON, "-c", COUNT, "registers"], check=True, capture_output=True, text=True)
        assert alone.stdout == "ok\n", alone


# What has been counted over the whole run

def counters(session):
    """hook -> counters, when every attempt has been made."""
    if "hook_counters" not in session.memory:
        test_attempts.matrix(session)
        test_contexts.leaked_descriptors(session, "shared")
        for make in (announced_child, machine_mounts, unmount, listen, others_datagrams, own_packets, own_headers, handed_group, kernel_log, perf_registers,
                     test_follow.traps):
            with contextlib.suppress(Exception):  # which its own test reports
                make(session)
        session.memory["hook_counters"] = {each["hook"]: each for each in session.api.get("/v1/status")["hooks"]}
    return session.memory["hook_counters"]


def check_counters(hook):
    expected = {"denied": hook not in ALLOW_ONLY, "allowed": hook not in DENY_ONLY}
    claim = {(True, True): "has refused and allowed", (True, False): f"has refused, always ({DENY_ONLY.get(hook)})",
             (False, True): f"has allowed, always ({ALLOW_ONLY.get(hook)})"}[expected["denied"], expected["allowed"]]

    @test(f"{hook} {claim}", needs=("moat", "lsm", "http"), timeout=600)
    def counted(session):
        if btf.differences(btf.of(session), by_hook()[hook][0]) is None:
            raise Skip(f"this kernel has no hook {hook}")
        each = counters(session)[hook]
        assert {verdict: bool(each[verdict]) for verdict in expected} == expected, each


for _hook, _, _ in places.hooks():
    check_counters(_hook)


@test("every hook of the header is counted, and nothing else is", needs=("moat", "lsm"))
def all_counted(session):
    reported = {each["hook"] for each in session.api.get("/v1/status")["hooks"]}
    known = {hook for kind in ("LSM", "CGROUP") for hook, _, _ in places.hooks(kind)}
    assert reported == known, reported ^ known
