#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
What ordinary programs do, as operations that must all succeed in user code. Imported it is the list; run as a program, by user
code (legitimate.py [--port N] [NAME...]), it does them, each in a process of its own, and prints "NAME ok" or "NAME what went
wrong".
"""

import array
import asyncio
import ctypes
import errno
import fcntl
import mmap
import multiprocessing
import os
import pty
import resource
import select
import signal
import socket
import sqlite3
import struct
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from lib.doing import (CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, TIMEOUT,  # noqa: E402
                       answer, call, child, ended_by, libc, mount, read, run, within)
F_SETSIG, F_SETOWN_EX = 10, 15
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
operations = {}   # name -> function; its docstring is the claim
with_sys_admin = set()
guarded_port = 0  # set by --port: a number that is guarded in the control plane's network


def operation(function):
    operations[function.__name__] = function
    return function


def as_admin(function):
    """Only where the context has CAP_SYS_ADMIN."""
    with_sys_admin.add(function.__name__)
    return operation(function)


# Processes of one's own

@operation
def kill_child():
    """signals its own child: 0, SIGTERM, SIGKILL, by pidfd"""
    pid = child()
    os.kill(pid, 0)
    os.kill(pid, signal.SIGTERM)
    assert ended_by(pid) == signal.SIGTERM
    pid = child()
    os.kill(pid, signal.SIGKILL)
    assert ended_by(pid) == signal.SIGKILL
    pid = child()
    signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGUSR1)
    assert ended_by(pid) == signal.SIGUSR1


@operation
def stop_child():
    """stops and continues its own child"""
    pid = child()
    os.kill(pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
    os.kill(pid, signal.SIGCONT)
    assert os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1])
    os.kill(pid, signal.SIGKILL)
    assert ended_by(pid) == signal.SIGKILL


@operation
def signal_group():
    """signals its own process group, and every process in it gets it"""
    ready = os.pipe()

    def leader():
        os.setpgid(0, 0)
        members = [child() for _ in range(3)]
        signal.signal(signal.SIGTERM, lambda *_: None)
        os.killpg(0, signal.SIGTERM)
        os.write(ready[1], bytes(ended_by(pid) for pid in members))
    os.waitpid(child(leader), 0)
    assert os.read(ready[0], 9) == bytes([signal.SIGTERM] * 3)


@operation
def inspect_child():
    """reads everything about its own child in /proc"""
    ready = os.pipe()

    def inspected():
        os.write(ready[1], b"x")
        signal.pause()
    pid = child(inspected)
    os.read(ready[0], 1)
    for name in ("environ", "cmdline", "maps", "smaps", "status", "stat", "statm", "limits", "cgroup", "mountinfo", "mounts", "io",
                 "oom_score", "oom_score_adj", "comm", "auxv", "sched", "wchan", f"task/{pid}/stat", f"task/{pid}/comm"):
        read(f"/proc/{pid}/{name}")
    for name in ("exe", "cwd", "root", "ns/pid", "ns/mnt", "ns/net", "ns/user", "fd/0"):
        os.readlink(f"/proc/{pid}/{name}")
    assert str(pid) in os.listdir("/proc") and os.listdir(f"/proc/{pid}/fd") and os.listdir(f"/proc/{pid}/task") == [str(pid)]
    assert read(f"/proc/{pid}/environ") == read("/proc/self/environ")
    with open(f"/proc/{pid}/mem", "rb") as memory, open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        memory.seek(int(next(maps).partition("-")[0], 16))
        assert memory.read(4) == b"\x7fELF"
    with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@operation
def proc_self():
    """finds /proc/self whole, and the machine's figures in /proc"""
    for name in ("environ", "cmdline", "maps", "smaps_rollup", "status", "stat", "limits", "cgroup", "mountinfo", "io", "comm", "auxv",
                 "oom_score_adj", "attr/current", "net/tcp", "net/unix", "task"):
        path = f"/proc/self/{name}"
        try:
            os.listdir(path) if os.path.isdir(path) else read(path)
        except OSError as error:
            if name != "attr/current" or error.errno != errno.EINVAL:  # no other LSM has a word to say
                raise
    for name in ("meminfo", "cpuinfo", "stat", "uptime", "loadavg", "version", "filesystems", "mounts", "sys/kernel/hostname",
                 "sys/vm/overcommit_memory", "thread-self/stat", "net/dev", "diskstats", "vmstat", "self/ns/pid_for_children"):
        path = f"/proc/{name}"
        os.readlink(path) if os.path.islink(path) else read(path)
    assert os.readlink("/proc/self") == str(os.getpid())


@operation
def schedule_child():
    """changes nice value, processors, policy and limits of its own child"""
    pid = child()
    os.setpriority(os.PRIO_PROCESS, pid, 5)
    assert os.getpriority(os.PRIO_PROCESS, pid) == 5
    os.sched_setaffinity(pid, {0})
    assert os.sched_getaffinity(pid) == {0}
    os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
    assert os.sched_getscheduler(pid) == os.SCHED_BATCH
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(soft, 64), hard))
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == min(soft, 64)
    assert os.getpgid(pid) == os.getpgrp() and os.getsid(pid) == os.getsid(0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@operation
def schedule_programs():
    """uses nice, renice, ionice, taskset and chrt on itself"""
    run("nice", "-n", "5", "sh", "-ec",
        "renice -n 6 -p $$; ionice -c 3 -p $$; ionice -p $$; taskset -cp 0 $$; chrt -b -p 0 $$; chrt -p $$; ulimit -n 64; prlimit -p $$")


@operation
def forks():
    """forks 125 times in a row and 50 at once, and every child ends as it should"""
    run("sh", "-euc", "n=0; while [ $n -lt 125 ]; do (exit 7) || [ $? = 7 ]; n=$((n + 1)); done")
    started = [child(lambda: os._exit(7)) for _ in range(50)]  # at once
    assert [ended_by(pid) for pid in started] == [-7] * 50


@operation
def threads():
    """runs 100 threads at once"""
    barrier, seen = threading.Barrier(100), []

    def work():
        barrier.wait(TIMEOUT)
        seen.append(threading.get_native_id())
    started = [threading.Thread(target=work) for _ in range(100)]
    for each in started:
        each.start()
    for each in started:
        each.join()
    assert len(set(seen)) == 100


@operation
def daemon():
    """leaves a daemon behind by a double fork, finds it and stops it"""
    ends = os.pipe()

    def leave():
        os.setsid()
        os.write(ends[1], struct.pack("i", child()))
    os.waitpid(child(leave), 0)
    pid, = struct.unpack("i", os.read(ends[0], 4))
    pidfd = os.pidfd_open(pid)
    assert os.getsid(pid) != os.getsid(0) and os.path.exists(f"/proc/{pid}/exe")
    os.kill(pid, signal.SIGTERM)
    assert select.select([pidfd], [], [], TIMEOUT)[0]


@operation
def adopt():
    """adopts and reaps what its children leave, as a subreaper"""
    call(libc.prctl(36, 1, 0, 0, 0))  # PR_SET_CHILD_SUBREAPER
    os.waitpid(child(lambda: child(lambda: os._exit(3))), 0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 3


@operation
def other_user():
    """becomes another user, and signals and inspects that user's children"""
    run("sh", "-euc", "sleep 60 & until grep -q sleep /proc/$!/cmdline; do kill -0 $!; done; kill -0 $!; kill $!; wait $! || [ $? = 143 ]; [ $(id -u) = 65534 ]",
        user=65534, group=65534, extra_groups=[])


@operation
def abort():
    """has a child that aborts and one that touches no memory of its own"""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    assert ended_by(child(os.abort)) == signal.SIGABRT
    assert ended_by(child(lambda: ctypes.string_at(0))) == signal.SIGSEGV


@operation
def timers():
    """uses alarm, itimer, sigwait and a handler"""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGUSR1})
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    assert signal.sigwait({signal.SIGALRM}) == signal.SIGALRM
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.sigtimedwait({signal.SIGUSR1}, 5).si_pid == os.getpid()
    seen = []
    signal.signal(signal.SIGUSR2, lambda number, _: seen.append(number))
    signal.raise_signal(signal.SIGUSR2)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
    assert seen == [signal.SIGUSR2] * 2


@operation
def sigio():
    """is told of its own descriptors by SIGIO and by F_SETSIG: itself, its child, its group"""
    def told(owner_kind, owner, waiter):
        ends = os.pipe()
        fcntl.fcntl(ends[0], F_SETSIG, signal.SIGUSR1)
        fcntl.fcntl(ends[0], F_SETOWN_EX, struct.pack("ii", owner_kind, owner))
        fcntl.fcntl(ends[0], fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        os.write(ends[1], b"x")
        assert waiter() == signal.SIGUSR1
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGIO})
    told(1, os.getpid(), lambda: signal.sigtimedwait({signal.SIGUSR1}, 5).si_signo)
    told(2, os.getpgrp(), lambda: signal.sigtimedwait({signal.SIGUSR1}, 5).si_signo)
    pid = child(lambda: os._exit(signal.sigwait({signal.SIGUSR1})))
    told(1, pid, lambda: -ended_by(pid))
    first, second = socket.socketpair()
    fcntl.fcntl(first, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(first, fcntl.F_SETFL, os.O_ASYNC)
    second.send(b"x")
    assert signal.sigtimedwait({signal.SIGIO}, 5).si_signo == signal.SIGIO


# Network

def echo(family, kind, address, tries=5):
    """What the kernel chooses may have the number of a service's port, which is free at another address and refused at listen()."""
    try:
        return echo_once(family, kind, address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or address[1] or tries == 1:
            raise
    return echo(family, kind, address, tries - 1)


def echo_once(family, kind, address):
    with socket.socket(family, kind) as server, socket.socket(family, kind) as client:
        server.bind(address)
        if kind == socket.SOCK_STREAM:
            server.listen()
            client.connect(server.getsockname())
            there, _ = server.accept()
            client.sendall(b"hello")
            assert there.recv(9) == b"hello"
            there.close()
        else:
            client.sendto(b"hello", server.getsockname())
            assert server.recv(9) == b"hello"
        return server.getsockname()


@operation
def ports():
    """binds free ports and is reached there: TCP and UDP, v4, v6 and mapped"""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.9.8.7"), (socket.AF_INET6, "::1"),
                         (socket.AF_INET6, "::ffff:127.0.0.1")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            echo(family, kind, (host, 0))
    taken = [socket.create_server(("0.0.0.0", 0)) for _ in range(50)]
    assert guarded_port not in [each.getsockname()[1] for each in taken]
    low = next(port for port in range(600, 700) if port != guarded_port)
    socket.create_server(("127.0.0.1", low)).close()


@operation
def reuse_port():
    """shares a port of its own by SO_REUSEPORT, and rebinds one by SO_REUSEADDR"""
    def bound(option, port):
        each = socket.socket()
        each.setsockopt(socket.SOL_SOCKET, option, 1)
        each.bind(("127.0.0.1", port))
        each.listen()
        return each
    first = bound(socket.SO_REUSEPORT, 0)
    second = bound(socket.SO_REUSEPORT, first.getsockname()[1])
    with socket.create_connection(first.getsockname()):
        assert select.select([first, second], [], [], TIMEOUT)[0]
    first.close()
    second.close()
    again = bound(socket.SO_REUSEADDR, 0)
    port = again.getsockname()[1]
    again.close()
    bound(socket.SO_REUSEADDR, port).close()


@operation
def own_network():
    """binds a guarded number in a network namespace of its own, and reaches it there"""
    def inside():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as each:
            request = struct.pack("16sh22x", b"lo", fcntl.ioctl(each, SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))[16] | IFF_UP)
            fcntl.ioctl(each, SIOCSIFFLAGS, request)
        assert echo(socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", guarded_port))[1] == guarded_port
        echo(socket.AF_INET6, socket.SOCK_DGRAM, ("::", guarded_port))
    within(CLONE_NEWUSER | CLONE_NEWNET, inside)


@operation
def asyncio_server():
    """serves and is served by asyncio, with a subprocess in between"""
    async def serve(reader, writer):
        process = await asyncio.create_subprocess_exec("tr", "a-z", "A-Z", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate(await reader.readline())
        writer.write(out)
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        writer.close()
        server.close()
    asyncio.run(asyncio.wait_for(main(), TIMEOUT))


@operation
def unix_sockets():
    """uses unix sockets of its own: by path, abstract, datagram, with credentials and descriptors"""
    with tempfile.TemporaryDirectory() as directory:
        for address in (f"{directory}/stream", f"\0legitimate-{os.getpid()}"):
            server = socket.socket(socket.AF_UNIX)
            server.bind(address)
            server.listen()
            client = socket.socket(socket.AF_UNIX)
            client.connect(address)
            there, _ = server.accept()
            pid, uid, _ = struct.unpack("3i", there.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            assert (pid, uid) == (os.getpid(), os.getuid())
            socket.send_fds(client, [b"x"], [os.open("/dev/null", os.O_RDONLY)])
            _, passed, _, _ = socket.recv_fds(there, 1, 4)
            assert os.read(passed[0], 1) == b""
        for address in (f"{directory}/datagram", f"\0legitimate-datagram-{os.getpid()}"):
            server, client = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
            server.bind(address)
            client.sendto(b"one", address)
            client.connect(address)
            client.send(b"two")
            assert (server.recv(9), server.recv(9)) == (b"one", b"two")
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        second.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        first.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, array.array("i", [os.getpid(), os.getuid(), os.getgid()]))])
        assert second.recvmsg(1, socket.CMSG_SPACE(12))[1]


# Memory, files and what tells of them

@operation
def shared_memory():
    """shares memory with its children: mmap, memfd, /dev/shm, semaphores, a pool"""
    memory = mmap.mmap(-1, 4096)
    os.waitpid(child(lambda: memory.write(b"from the child")), 0)
    assert memory[:14] == b"from the child"
    fd = os.memfd_create("legitimate")
    os.write(fd, b"x" * 4096)
    assert mmap.mmap(fd, 4096)[:1] == b"x"
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:  # semaphores, futexes, pipes
        assert pool.map(abs, [-1, -2, -3]) == [1, 2, 3]
    path = f"/dev/shm/legitimate-{os.getpid()}"
    with open(path, "wb") as file:
        file.write(b"x")
    os.unlink(path)


@operation
def pipes():
    """uses pipes, named pipes, epoll and a pipeline of programs"""
    assert run("sh", "-c", "printf 'b\\na\\nb\\n' | sort | uniq -c | tail -n 1").split() == ["2", "b"]
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/fifo"
        os.mkfifo(path)

        def writer():
            with open(path, "wb") as file:
                file.write(b"hello")
        pid = child(writer)
        assert read(path) == b"hello"
        os.waitpid(pid, 0)
    ends, poll = os.pipe(), select.epoll()
    poll.register(ends[0], select.EPOLLIN)
    os.write(ends[1], b"x")
    assert poll.poll(5) == [(ends[0], select.EPOLLIN)]


@operation
def files():
    """makes, links, renames, locks, maps and removes files"""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/lock"
        with open(path, "w+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as apt does

            def second():
                with open(path, "w+b") as other:
                    try:
                        fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError as error:
                        os._exit(error.errno)
            assert ended_by(child(second)) == -errno.EAGAIN
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(b"x" * 100)
        os.link(path, path + ".link")
        os.symlink("lock", path + ".symlink")
        os.rename(path, path + ".new")
        os.chmod(path + ".new", 0o600)
        os.chown(path + ".new", 1000, 1000)
        os.truncate(path + ".link", 10)
        os.utime(path + ".link", (1, 1))
        assert os.stat(path + ".new").st_size == 10
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR)
        os.write(fd, b"x")
        call(libc.linkat(-100, f"/proc/self/fd/{fd}".encode(), -100, f"{directory}/named".encode(), 0x400))  # AT_SYMLINK_FOLLOW


@operation
def inotify():
    """watches a directory of its own"""
    with tempfile.TemporaryDirectory() as directory:
        fd = call(libc.inotify_init1(0))
        call(libc.inotify_add_watch(fd, directory.encode(), 0x100))  # IN_CREATE
        with open(f"{directory}/new", "wb"):
            pass
        assert b"new" in os.read(fd, 4096)


@operation
def database():
    """keeps a database with sqlite3, in write-ahead mode"""
    with tempfile.TemporaryDirectory() as directory:
        base = sqlite3.connect(f"{directory}/base")
        base.execute("pragma journal_mode = wal")
        base.execute("create table t (n integer)")
        with base:
            base.executemany("insert into t values (?)", [(n,) for n in range(100)])
        assert base.execute("select sum(n) from t").fetchone() == (4950,)
        base.close()


@operation
def devices():
    """uses /dev: null, zero, full, urandom, a terminal pair"""
    with open("/dev/null", "r+b", buffering=0) as file:
        assert file.write(b"x") == 1 and file.read(1) == b""
    assert read_some("/dev/zero") == b"\0" and read_some("/dev/urandom")
    try:
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")
        raise AssertionError("/dev/full takes something")
    except OSError as error:
        assert error.errno == errno.ENOSPC
    master, slave = pty.openpty()
    os.write(slave, b"x")
    assert os.read(master, 1) == b"x"


def read_some(path):
    with open(path, "rb", buffering=0) as file:
        return file.read(1)


# Namespaces and mounts

def proc_of_its_own():
    mount("none", "/", None, 0x44000)  # MS_REC | MS_PRIVATE
    mount("proc", "/proc", "proc")
    assert os.getpid() == 1 and [each for each in os.listdir("/proc") if each.isdigit()] == ["1"]


def tmpfs_of_its_own():
    mount("none", "/", None, 0x44000)
    mount("tmpfs", "/mnt", "tmpfs", 0, "size=1m")
    os.mkdir("/mnt/a")
    os.mkdir("/mnt/b")
    with open("/mnt/a/file", "wb") as file:
        file.write(b"x")
    mount("/mnt/a", "/mnt/b", None, 0x1000)  # MS_BIND
    assert os.listdir("/mnt/b") == ["file"]
    mount("none", "/mnt/b", None, 0x1021)    # MS_BIND | MS_REMOUNT | MS_RDONLY
    try:
        os.unlink("/mnt/b/file")
        raise AssertionError("a read-only mount is written")
    except OSError as error:
        assert error.errno == errno.EROFS
    call(libc.umount2(b"/mnt/b", 0))
    os.makedirs("/mnt/upper")
    os.makedirs("/mnt/work")
    mount("overlay", "/mnt/b", "overlay", 0, "lowerdir=/mnt/a,upperdir=/mnt/upper,workdir=/mnt/work")
    os.unlink("/mnt/b/file")
    assert os.listdir("/mnt/a") == ["file"] and os.listdir("/mnt/b") == []
    call(libc.umount2(b"/mnt", 2))           # MNT_DETACH


@operation
def own_everything():
    """makes user, PID, mount, network, UTS and IPC namespaces of its own, and mounts tmpfs, bind and overlay there"""
    within(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC, tmpfs_of_its_own)


@operation
def own_user_in_own_user():
    """makes a user namespace within one, and kills its own child from there"""
    def inner():
        pid = child()
        os.kill(pid, signal.SIGKILL)
        assert ended_by(pid) == signal.SIGKILL
    within(CLONE_NEWUSER, lambda: within(CLONE_NEWUSER | CLONE_NEWNS, inner))


@operation
def chroot():
    """changes its root directory"""
    with tempfile.TemporaryDirectory() as directory:
        def inside():
            os.chroot(directory)
            os._exit(len(os.listdir("/")))
        assert ended_by(child(inside)) == 0


@as_admin
def own_mounts():
    """mounts tmpfs, bind and overlay, and remounts, in a mount namespace of its own"""
    within(CLONE_NEWNS, tmpfs_of_its_own)


@as_admin
def own_proc():
    """mounts a procfs for a PID namespace of its own"""
    within(CLONE_NEWNS | CLONE_NEWPID, proc_of_its_own)


@as_admin
def host_name():
    """changes the host name in a namespace of its own"""
    def rename():
        socket.sethostname("legitimate")
        assert socket.gethostname() == "legitimate"
    within(CLONE_NEWUTS, rename)


def in_a_child(function):
    """Each operation begins alone: a session of its own, and what it leaves running is nobody's."""
    ends = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        answer(function, lambda text: os.write(ends[1], text.encode()[:4000]))
        os._exit(0)
    os.close(ends[1])
    readable = select.select([ends[0]], [], [], TIMEOUT)[0]
    said = os.read(ends[0], 4096).decode() if readable else f"no answer within {TIMEOUT} s"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ends[0])
    return said or "ended without an answer"


def main():
    global guarded_port
    names = sys.argv[1:]
    if names[:1] == ["--port"]:
        guarded_port, names = int(names[1]), names[2:]
    for name in names or operations:
        began = time.monotonic()
        print(name, in_a_child(operations[name]), flush=True)
        print(f"{name}: {time.monotonic() - began:.2f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
