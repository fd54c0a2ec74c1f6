# SPDX-License-Identifier: Apache-2.0
"""
A drill of failures: at one system call of an agent, from its start to its end, the kernel has no memory, or the agent is killed.

Then the agent has to be refused with a word, or to run and stop; and whatever it was, the next one starts and leaves nothing.
A point is a call by its name and its number. MOAT_DRILL=all tries every one, which takes half an hour, on the running kernel only;
MOAT_DRILL="NAME NUMBER" that one; else some are drawn.
"""

import collections
import http.client
import os
import random
import re
import signal
import subprocess
import tempfile

from lib.moatd import DidNotStart, Moatd
from lib.tap import test

PORT = 61007  # reserved and guarded, though nobody listens
SERVICE = f"[service one]\ncommand = /bin/sleep 1000\nport = {PORT}\n"
DRAWN = 6  # of each kind

# Those that the kernel needs memory for. Others do not fail so, and one that is left out (close, kill) is another fault.
ALLOCATES = ("openat openat2 open_tree socket socketpair pipe2 mkdirat mkdir epoll_create1 epoll_ctl signalfd4 timerfd_create clone3 "
             "pidfd_open inotify_init1 inotify_add_watch fsopen fsconfig fsmount move_mount bind listen accept4 sendmsg dup dup3 "
             "mmap getdents64 linkat renameat renameat2 symlinkat unlinkat newfstatat write sendto ftruncate setsockopt").split()
# Not yet under way, or nothing more to be seen.
NEVER = {"execve", "exit_group", "exit", "restart_syscall", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "access"}
# Changes nothing outside of the process: an agent that is killed there is one that is killed at the next call that does.
QUIET = set("read pread64 mmap mprotect munmap brk rt_sigaction rt_sigprocmask newfstatat fstat readlink lseek fcntl getdents64 access "
            "faccessat2 poll epoll_wait waitid getpid geteuid prctl prlimit64 capget getrandom getsockopt getsockname statfs fstatfs "
            "sched_getaffinity sysinfo uname ioctl recvmsg timerfd_settime".split())


def traced(*options):
    return ("strace", "-D", "-qq", *options)


def run_once(agent, seconds):
    """One life of an agent. Returns what became of it: stopped, refused or killed."""
    try:
        agent.start(seconds)
        agent.api(seconds).exec("/bin/true")
    except TimeoutError as error:
        raise AssertionError("a command is not answered") from error
    except (DidNotStart, OSError, http.client.HTTPException, AssertionError):
        pass  # what it answers while it dies, or has no memory, is api's business
    agent.unlink_alias()
    if agent.running():
        agent.process.send_signal(signal.SIGTERM)
    status = agent.process.wait(seconds)
    if status == -signal.SIGKILL:
        return "killed"
    if status:
        assert re.search(r"error|cannot|out of memory|Cannot allocate", agent.log()), f"status {status} without a word: {agent.log()!r}"
        return "refused"
    return "stopped"


def points_of(agent, seconds):
    with tempfile.NamedTemporaryFile() as trace:
        agent.inside = traced("-y", "-o", trace.name)
        assert run_once(agent, seconds) == "stopped", agent.log()
        text = trace.read()
    loader, calls, points = text.find(b"munmap("), collections.Counter(), []  # the loader's end is to forget /etc/ld.so.cache
    for call in re.finditer(rb"^(\w+)\((\d+<anon_inode:\[eventfd\]>)?", text, re.M):  # which takes what it is given
        name = call[1].decode()
        calls[name] += 1
        if call.start() > loader and name not in NEVER and not call[2]:
            points.append((name, calls[name]))
    return sorted(points)


def after(agent, seconds):
    """The next agent, which nothing fails: it starts, and leaves nothing of its own or of the one before."""
    agent.inside = ()
    try:
        agent.start(seconds)
        agent.api().exec("/bin/true")
    except (DidNotStart, OSError) as error:
        raise AssertionError(f"after it there is no start: {error}") from error
    agent.before.reserved = None  # other agents come and go meanwhile; what is ours is asked below
    status, left = agent.stop()
    assert status == 0 and not left and not is_reserved(), f"after it: {status}, {left}"


def is_reserved():
    with open("/proc/sys/net/ipv4/ip_local_reserved_ports", encoding="ascii") as file:
        ranges = [each.split("-") for each in file.read().strip().split(",") if each]
    return any(int(each[0]) <= PORT <= int(each[-1]) for each in ranges)


def drill(session, what, inject, kinds=None, but=frozenset()):
    agent = Moatd(session.build, f"drill-{what}-{os.getpid()}", SERVICE, enforce="best-effort")
    seconds = 60 * session.patience
    try:
        assert not is_reserved()
        points = [point for point in points_of(agent, seconds) if (kinds is None or point[0] in kinds) and point[0] not in but]
        wanted = os.environ.get("MOAT_DRILL", "") if not os.environ.get("MOAT_VM") else ""
        seed = os.environ.get("MOAT_DRILL_SEED") or str(random.SystemRandom().randrange(10**9))
        drawn = points if wanted == "all" else random.Random(seed).sample(points, DRAWN)
        if " " in wanted:
            drawn = [(wanted.split()[0], int(wanted.split()[1]))]
        print(f"# {what}: {len(drawn)} of {len(points)} points, MOAT_DRILL_SEED={seed}", flush=True)
        outcomes, failed = collections.Counter(), []
        for name, n in drawn:
            agent.inside = traced("-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:{inject}:when={n}")
            try:
                outcome = run_once(agent, seconds)
                assert outcome != "killed" or "KILL" in inject, "it neither answers nor ends"
                outcomes[outcome] += 1
                after(agent, seconds)
            except (OSError, subprocess.TimeoutExpired, AssertionError) as error:  # the other points are tried all the same
                failed.append(f"{inject} at {name} {n} (MOAT_DRILL_SEED={seed}): {error}: {agent.log()}")
                agent.kill()
        print(f"# {what}: {dict(outcomes)}, {len(failed)} failed", flush=True)
        assert not failed, "\n".join(failed)
        assert sum(outcomes.values()) == len(drawn)
        return outcomes
    finally:
        agent.kill()
        agent.remove_files()


@test("without memory at any call the agent is refused or runs, and the next one starts and leaves nothing", needs=(), timeout=7200)
def no_memory(session):
    drill(session, "memory", "error=ENOMEM", ALLOCATES)


@test("killed at any call the agent leaves nothing that the next one does not clear away", needs=(), timeout=7200)
def killed(session):
    assert drill(session, "death", "signal=KILL", but=QUIET)["killed"]
