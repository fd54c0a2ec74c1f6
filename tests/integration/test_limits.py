# SPDX-License-Identifier: Apache-2.0
"""
User code cannot starve the control plane of memory, processes or CPU: a context's limits bound it, the limits over all user
code bound the rest, and what is killed for want of memory is user code. Each limit is first shown to be what refuses: without
it the same program succeeds.
"""

import contextlib
import ctypes
import os
import re
import subprocess
import threading
import time

from lib import doing, leaks, places, procs, unixhttp
from lib.tap import test

PROMPT = 1.0      # seconds within which the control plane answers meanwhile, where the processor is not emulated
BOMB_SECONDS = 8
NODE, JAVA = "/usr/bin/node", "/usr/bin/java"


def need_controllers(session):
    missing = session.status()["notLimited"]
    if missing:
        session.missing("limits need cgroup controllers: " + "; ".join(f"{each['resource']}: {each['reason']}" for each in missing))


def limits(session, context=None):
    return next(each for each in session.status()["limits"] if each["context"] == context)


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def instance_dir(session):
    return leaks.cgroups("moat-" + session.instance)[0]


def cgroup_place(session):
    """Where commands find cgroups: at the usual place if the agent has them there, too."""
    return "/sys/fs/cgroup" if "/sys/fs/cgroup" in leaks.cgroup_roots() else leaks.cgroup_roots()[0]


def hog(session, *arguments, **fields):
    return session.exec(places.hog(session.build), *map(str, arguments), **fields)


class Watch:
    """Asks service and agent over and over while something else goes on, from before it begins until after its end. They must
    answer, and be the same as before; on a real machine promptly, too, as a rule: a machine that is busy may stall for once."""

    def __init__(self, session):
        self.session, self.times, self.error = session, [], None
        self.service = session.agent.service("http")
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set():
            try:
                for ask in (self.session.health, lambda: self.session.api.get("/v1/health")):
                    began = time.monotonic()
                    ask()
                    self.times.append(time.monotonic() - began)
            except Exception as error:  # shown by __exit__
                self.error = error
                return
            self.over.wait(0.05)

    def more(self, seconds=20):
        """Until both have answered what they were asked after this."""
        asked = len(self.times)
        procs.wait_until(lambda: self.error or len(self.times) >= asked + 4, seconds, "answers of the control plane")

    def __enter__(self):
        self.thread.start()
        try:
            self.more()
        except BaseException:
            self.over.set()
            raise
        return self

    def __exit__(self, kind, _value, _trace):
        try:
            if not kind:
                self.more()
        finally:
            self.over.set()
        self.thread.join()
        if kind:
            return
        now = self.session.agent.service("http")
        assert not self.error, f"the control plane does not answer: {self.error!r}"
        usual = sorted(self.times)[len(self.times) // 2]
        assert self.session.vm or usual < PROMPT, f"half of the answers took more than {usual:.2f} s"
        assert (now["pid"], now["restarts"]) == (self.service["pid"], self.service["restarts"]), (self.service, now)
        assert self.session.agent.running()


def pids_in(directory):
    return int(read(f"{directory}/pids.current"))


def pids_at_least(directory):
    """While processes come and none goes. A fork that is about to be refused is counted for a moment, too."""
    return min(pids_in(directory) for _ in range(20))


def small(session):
    """The cgroup of the context `small`, once nothing is in it: what a killed exec leaves dies a little later."""
    found = os.path.join(instance_dir(session), "user/context-small")
    procs.wait_until(lambda: not os.path.exists(found) or pids_in(found) == 0, 20, "the context small to be empty")
    return found


def wait_gone(directory, before, seconds):
    """Until no more processes are in it than before. Asked seldom: emulated, the killed need the processor."""
    began, left = time.monotonic(), []
    while not left or left[-1] > before:
        assert time.monotonic() - began < seconds * procs.SLACK, f"processes left, one number a second: {left}"
        time.sleep(1)
        left.append(pids_in(directory))


@test("/v1/status tells the limits in force, and those that cannot be", needs=("moat",))
def told(session):
    missing = {each["resource"] for each in session.status()["notLimited"]}
    small = limits(session, "small")
    for resource, key, value in (("memory", "memoryMax", 64 << 20), ("pids", "pidsMax", 50), ("cpu", "cpuMaxMillis", 500)):
        assert small[key] == (None if resource in missing else value), small
        if resource in missing:
            assert resource in session.agent.log() and "context small" in session.agent.log(), session.agent.log()
    everyone = limits(session)
    assert (everyone["memoryMax"] is None) == ("memory" in missing) and (everyone["pidsMax"] is None) == ("pids" in missing), everyone
    assert everyone["cpuMaxMillis"] is None, everyone
    assert (session.status()["memoryReserve"] == 0) == ("memory" in missing), session.status()["memoryReserve"]


@test("the control plane has memory of its own and the greater share of the CPU, all user code has bounds", needs=("moat",))
def in_force(session):
    need_controllers(session)
    top, everyone, status = instance_dir(session), limits(session), session.status()
    assert read(f"{top}/user/memory.max") == str(everyone["memoryMax"]), everyone
    assert read(f"{top}/user/pids.max") == str(everyone["pidsMax"]), everyone
    assert read(f"{top}/user/memory.swap.max") == "0"
    total = int(read("/proc/meminfo").split()[1]) * 1024
    assert everyone["memoryMax"] + status["memoryReserve"] <= total, (everyone, total)
    assert read(f"{top}/control/memory.min") == read(f"{top}/memory.min") == str(status["memoryReserve"])
    assert int(read(f"{top}/control/cpu.weight")) > int(read(f"{top}/user/cpu.weight"))
    for pid in (session.agent.pid, session.agent.service("http")["pid"]):
        assert f"/moat-{session.instance}/control" in procs.cgroup(pid), procs.cgroup(pid)
    for context, place in (("default", "user/context-default/exec-"), ("small", "user/context-small/exec-")):
        found = session.exec("/bin/cat", "/proc/self/cgroup", context=context)
        assert f"0::/{place}" in found.out, found


@test("a command finds its context's limits where programs look for them: in its own cgroup", needs=("moat",))
def seen_inside(session):
    need_controllers(session)
    script = f"cd {cgroup_place(session)}$(sed -n s/^0:://p /proc/self/cgroup) && cat memory.max cpu.max"
    assert session.exec("/bin/sh", "-c", script, context="small").out == f"{64 << 20}\n50000 100000\n"
    most = limits(session, "default")["memoryMax"] // 4096 * 4096
    assert session.exec("/bin/sh", "-c", script.replace(" cpu.max", "")).out == f"{most}\n"


def node_reads_cgroup2():
    """Debian 12's does not: its process.constrainedMemory() is undefined, whatever the limits are."""
    version = subprocess.run([NODE, "-p", "process.versions.uv"], capture_output=True, text=True, check=True).stdout
    return [int(part) for part in version.split(".")[:2]] >= [1, 45]


@test("node and java keep to the limits of their context: its memory, and for java its processors", needs=("moat",), timeout=240)
def real_programs(session):
    need_controllers(session)
    node = os.path.exists(NODE) and node_reads_cgroup2()
    session.require(node or os.path.exists(JAVA), "there is no java, and no Node whose libuv (1.45) reads cgroup2")
    everybody = limits(session, "default")["memoryMax"] // 4096 * 4096
    for context, most in (("roomy", 512 << 20), ("default", everybody)) if node else ():
        found = session.exec(NODE, "-p", "process.constrainedMemory()", context=context)
        assert found.out == f"{most}\n", (context, found)
    if os.path.exists(JAVA):
        found = session.exec(JAVA, "-XX:+PrintFlagsFinal", "-XshowSettings:system", "-version", context="roomy")
        said = found.out + found.err
        heap, processors = re.search(r"MaxHeapSize += (\d+)", said), re.search(r"Effective CPU Count: (\d+)", said)
        assert heap and int(heap[1]) == 128 << 20 and processors and processors[1] == "1", found


def own_cgroup(session, context, **fields):
    """The directories at the root of what a command sees, and its own cgroup, which has to be there."""
    script = f"cd {cgroup_place(session)}; echo */; sed -n s/^0:://p /proc/self/cgroup; cat .$(sed -n s/^0:://p /proc/self/cgroup)/cgroup.type"
    found = session.exec("/bin/sh", "-c", script, context=context, **fields)
    directories, own, kind = found.out.splitlines()
    assert kind == "domain", found
    return directories, own


@test("what user code sees of cgroups begins at its instance: there is nothing above, and one read-only mount", needs=("moat",))
def view(session):
    for context, fields in ((each, more) for each in ("default", "full", "shared") for more in ({}, {"isolated": True})):
        directories, own = own_cgroup(session, context, **fields)
        assert directories == "control/ user/" and own.startswith(f"/user/context-{context}/exec-"), (context, directories, own)
        table = [line.split(" - ") for line in session.exec("/bin/cat", "/proc/self/mountinfo", context=context, **fields).out.splitlines()]
        mounts = [before.split()[3:6] for before, after in table if after.split()[0] in ("cgroup", "cgroup2")]
        assert len(mounts) == 1 and mounts[0][:2] == ["/", cgroup_place(session)] and "ro" in mounts[0][2].split(","), (context, mounts)


@test("no directory of the control plane's cgroups is to be opened by user code, so nothing can be started in one", needs=("moat",))
def control_is_covered(session):
    there = [path for path, _, _ in os.walk(instance_dir(session) + "/control")]
    assert f"{instance_dir(session)}/control/service-http" in there, there
    for context in ("default", "full", "modest"):
        found = session.exec("/usr/bin/find", cgroup_place(session), "-type", "d", context=context)
        assert f"{cgroup_place(session)}/user/context-{context}" in found.out.splitlines(), (context, found)
        assert [line for line in found.out.splitlines() if "/control/" in line] == [], (context, found)


@test("user code that mounts cgroup2 does not set the options of the machine's hierarchy back; with nsdelegate commands start as before",
      needs=("moat",), timeout=60)
def options(session):
    session.require(session.vm, "they are the whole machine's")
    root = leaks.cgroup_roots()[0]

    def delegates():
        return "nsdelegate" in next(line for line in read("/proc/self/mountinfo").splitlines() if line.split()[4] == root)

    def set_to(wanted):  # mount(8) would add to the options that there are
        assert doing.libc.mount(None, root.encode(), None, 32, b"nsdelegate" if wanted else None) == 0, os.strerror(ctypes.get_errno())  # MS_REMOUNT
    before = delegates()
    for wanted in (True, False):
        set_to(wanted)
        assert delegates() == wanted
        for fields in ({}, {"isolated": True}):
            more = "" if wanted else "nsdelegate,"
            done = session.exec("/bin/sh", "-c", f"mount -t cgroup2 -o {more}ro none /mnt && ls -d /mnt/user && umount /mnt", context="adm", **fields)
            assert done.out == "/mnt/user\n", done
            assert delegates() == wanted, (wanted, fields)
    set_to(before)


@test("user code is killed for want of memory long before a service, and the agent last", needs=("moat",))
def order(session):
    session.require(session.vm or procs.capable(24), "needs CAP_SYS_RESOURCE")
    scores = [procs.oom_score(pid) for pid in (session.agent.pid, session.agent.service("http")["pid"])]
    assert scores == [-900, -500], scores
    for space in session.api.get("/v1/status")["namespaces"]:
        assert procs.oom_score(space["pid"]) >= 0, space
    assert int(session.exec("/bin/cat", "/proc/self/oom_score_adj").out) >= 0


@test("256 MiB: had without a limit; with memory_max = 64M killed, oomKilled, and nobody else notices", needs=("moat", "http"), timeout=60)
def memory(session):
    need_controllers(session)
    free = hog(session, "memory", 256)
    assert free.exit == 0 and free.out == "256\n" and free.fields["oomKilled"] is False, free
    for fields in ({}, {"env": {"SECRET": "x"}}):
        small(session)
        with Watch(session):
            bound = hog(session, "memory", 256, context="small", **fields)
        assert bound.signal == "SIGKILL" and bound.fields["oomKilled"] is True, (bound, bound.fields)
    small(session)
    assert hog(session, "memory", 16, context="small").out == "16\n"


@test("200 forks: had without a limit; with pids_max = 50 refused with EAGAIN, and nobody else notices", needs=("moat", "http"), timeout=60)
def pids(session):
    need_controllers(session)
    assert hog(session, "fork", 200).out == "200 ok\n"
    for fields in ({}, {"env": {"SECRET": "x"}}):
        small(session)
        with Watch(session):
            bound = hog(session, "fork", 200, context="small", **fields)
        assert bound.out == "49 EAGAIN\n", bound


@test("one CPU: had without a limit; with cpu_max = 0.5 half of it", needs=("moat",), timeout=60)
def cpu(session):
    need_controllers(session)
    pairs = []
    for _ in range(5):  # a machine that stalls takes from the one or gives to the other
        small(session)
        free, bound = (int(hog(session, "spin", 3000, context=context).out) for context in ("default", "small"))
        if bound < 0.7 * free and bound < 2000:
            return
        pairs.append((free, bound))
    raise AssertionError(f"ms of CPU in 3 s, without and with the limit: {pairs}")


@test("a fork bomb in a context with pids_max = 50 stays there", needs=("moat", "http"), timeout=60)
def small_bomb(session):
    need_controllers(session)
    top = small(session)
    identifier = session.api.start(places.hog(session.build), "bomb", context="small")
    with Watch(session):
        procs.wait_until(lambda: pids_at_least(top) >= 50, 20, "the bomb goes off")
        assert session.exec("/bin/echo", "there").out == "there\n"
        refused = session.api.request("POST", "/v1/exec", {"argv": ["/bin/true"], "context": "small"})
        assert refused.json["code"] == "TOO_MANY_PROCESSES" and refused.json["details"]["step"] == "clone", refused
        time.sleep(2)
        reached = pids_at_least(top)
        assert reached <= 50, reached
    session.api.kill(identifier)
    wait_gone(top, 0, 40)
    assert hog(session, "fork", 20, context="small").out == "20 ok\n"


@test("a fork bomb without limits of its context is bounded by the default, and the control plane answers", needs=("moat", "http"), timeout=120)
def big_bomb(session):
    need_controllers(session)
    top, most = os.path.join(instance_dir(session), "user"), limits(session)["pidsMax"]
    before = pids_in(top)
    identifier = session.api.start(places.hog(session.build), "bomb")
    with Watch(session) as watch:
        procs.wait_until(lambda: pids_in(top) > 200, 20, "the bomb goes off")
        time.sleep(BOMB_SECONDS * session.patience)
        reached = pids_at_least(top)
        assert 200 < reached <= most, (reached, most)
        watch.more(30)  # while the bomb is at its greatest
    print(f"# {reached} of {most} processes, the slowest answer took {max(watch.times) * 1000:.0f} ms", flush=True)
    session.api.kill(identifier)
    wait_gone(top, before, 40)
    assert session.exec("/bin/echo", "there").out == "there\n"


@test("a memory hog without limits of its context is killed, not the control plane", needs=("moat", "http"), timeout=120)
def big_hog(session):
    need_controllers(session)
    session.require(session.vm, "takes all of the machine's memory")

    def spaces():  # those of contexts come and go
        return [each for each in session.api.get("/v1/status")["namespaces"] if not each["name"].startswith("context-")]
    before = spaces()
    with Watch(session):
        result = hog(session, "memory", 1 << 20)
    assert result.signal == "SIGKILL" and result.fields["oomKilled"] is True, (result, result.fields)
    assert session.exec("/bin/echo", "there").out == "there\n"
    assert spaces() == before, "a moat-init was killed"


def full(session):
    """Why a command of the context default cannot have 32 MiB; None: it can."""
    try:
        result = hog(session, "memory", 32)
    except unixhttp.Refused as error:
        assert error.code == "OUT_OF_MEMORY", error
        return error.code
    return result.fields["oomKilled"] or result.signal


@test("what a dead command left in memory fills its context alone; the result names it, and another context removes it",
      needs=("moat", "http"), timeout=180)
def left_in_memory(session):
    need_controllers(session)
    most, left = limits(session, "default")["memoryMax"], os.path.join(session.scratch, "left")
    assert most == limits(session)["memoryMax"] // 4 * 3, (most, limits(session))
    session.require(session.vm, "takes most of the machine's memory")
    subprocess.run(["mount", "-o", "remount,size=100%", "/tmp"], check=True)  # a tmpfs there, of half of the memory
    assert not full(session)
    os.mkdir(left, 0o777)
    with Watch(session):
        # Two files, as the second finds less than it wants: whoever writes is killed, and the files stay.
        for name in ("one", "two"):
            filled = session.exec("/bin/dd", "if=/dev/zero", f"of={left}/{name}", "bs=1M", f"count={most // 2 >> 20}")
        assert filled.signal == "SIGKILL" and filled.fields["oomKilled"] is True, filled
        assert filled.fields["filesInMemory"] > most // 10 * 8, (filled.fields, most)
        assert full(session), "it is not full"
        told = next(each for each in session.api.get("/v1/status")["limits"] if each["context"] == "default")
        assert told["filesInMemory"] > most // 10 * 8, told
        other = session.exec("/bin/sh", "-c", f"echo there && rm {left}/one {left}/two", context="plain")
        assert other.out == "there\n" and other.exit == 0, other
    assert not full(session)


@test("the usage of a context is told: memory and processes now, processor time ever, and nothing of what others take", needs=("moat",), timeout=60)
def usage(session):
    counted = {"memory": "memory", "processes": "pids"}
    missing = {each["resource"] for each in session.status()["notLimited"]}

    def used(name="used"):
        found = session.api.get(f"/v1/contexts/{name}")["usage"]
        assert [key for key in counted if found[key] is None] == [key for key, each in counted.items() if each in missing], (found, missing)
        return {"cpuUs": found["cpuUs"], **{key: found[key] or 0 for key in counted}}

    session.api.request("POST", "/v1/contexts", {"name": "used"})
    try:
        assert used() == {"cpuUs": 0, "memory": 0, "processes": 0}, used()
        others = used("plain")["cpuUs"]
        script = "import time; held = b'x' * (32 << 20); end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint(1, flush=True); time.sleep(600)"
        identifier = session.api.start(places.PYTHON, "-c", script, context="used")
        procs.wait_until(lambda: session.api.process(identifier)["stdoutBytes"], 40, "it holds what it wanted")
        now = used()
        assert now["cpuUs"] > 300000 and used("plain")["cpuUs"] - others < 300000, (now, others, used("plain"))
        assert "memory" in missing or now["memory"] > 32 << 20, now
        assert "pids" in missing or now["processes"] >= 1, now
        session.api.kill(identifier)
        after = procs.wait_until(lambda: (u := used())["processes"] == 0 and u["memory"] < 16 << 20 and u, 20, "what it had")
        assert after["cpuUs"] >= now["cpuUs"], (now, after)
    finally:
        session.api.request("DELETE", "/v1/contexts/used")


@test("oomKilled is told of a command that did without what was killed", needs=("moat",), timeout=60)
def killed_child(session):
    need_controllers(session)
    small(session)
    result = session.exec("/bin/sh", "-c", f"{places.hog(session.build)} memory 256; exit 0", context="small")
    assert result.exit == 0 and result.fields["oomKilled"] is True, (result, result.fields)
    small(session)
    assert session.exec("/bin/true", context="small").fields["oomKilled"] is False


@test("/dev/shm and System V shared memory of a namespace have a size, and their sum has one", needs=("moat",))
def shm_size(session):
    script = "df -k --output=size /dev/shm | tail -1; cat /proc/sys/kernel/shmmax /proc/sys/kernel/shmall"
    shm, most, pages = (int(each) for each in session.exec("/bin/sh", "-c", script).out.split())
    assert shm == 65536 and most == 64 << 20 and pages * os.sysconf("SC_PAGESIZE") == most, (shm, most, pages)
    refused = session.exec(places.PYTHON, "-c", "open('/dev/shm/large', 'wb').write(bytes(65 << 20))")
    assert "No space left" in refused.err, refused
    assert session.exec("/bin/rm", "/dev/shm/large").exit == 0


def latency(session, context, rounds=9):
    """The median of what a command takes there, in seconds."""
    times = []
    for _ in range(rounds):
        began = time.monotonic()
        assert session.exec("/bin/true", context=context).exit == 0
        times.append(time.monotonic() - began)
    return sorted(times)[rounds // 2]


@test("a fork bomb, spinning processes and a memory hog in one context: a command of another takes at most 10 times as long",
      needs=("moat", "http"), timeout=240)
def other_context(session):
    need_controllers(session)
    assert session.exec("/bin/true").exit == 0 and latency(session, "plain")
    idle, busy = latency(session, "plain"), {}
    script = {"bomb": "exec {hog} bomb", "spin": "for i in 1 2 3 4 5 6 7 8; do {hog} spin 600000 & done; wait",
              "memory": "while :; do {hog} memory 1048576; done"}
    top = os.path.join(instance_dir(session), "user/context-default")
    before = pids_in(top)
    for name, text in script.items():
        identifier = session.api.start("/bin/sh", "-c", text.format(hog=places.hog(session.build)))
        time.sleep(3 * session.patience)
        busy[name] = latency(session, "plain") / idle
        session.api.kill(identifier)
        wait_gone(top, before, 60)
    print(f"# times as long as the {idle * 1000:.0f} ms idle: " + ", ".join(f"{name} {ratio:.1f}" for name, ratio in busy.items()), flush=True)
    assert all(ratio <= 10 for ratio in busy.values()), (idle, busy)


@contextlib.contextmanager
def sysctl(name, value):
    path = f"/proc/sys/{name}"
    before = read(path)
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(value))
        yield
    finally:
        with open(path, "w", encoding="ascii") as file:
            file.write(before)


@test("a pipe of 64 MiB that a command leaves full is taken in pieces, to its last byte", needs=("moat", "http"), timeout=120)
def huge_pipe(session):
    session.require(session.vm, "sets sysctls of the machine")
    # What CAP_SYS_RESOURCE would be for, which user code is refused where the kernel programs are.
    with sysctl("fs/pipe-max-size", 1 << 31), sysctl("fs/pipe-user-pages-soft", 0):
        for size in (3, 64):
            with Watch(session) as watch:
                result = hog(session, "pipe", size, timeoutMs=60000)
            assert result.exit == 0 and result.fields["stdoutBytes"] == size << 20, (size, result.err, result.fields["stdoutBytes"])
    print(f"# the slowest answer took {max(watch.times) * 1000:.0f} ms", flush=True)


@test("a command that is killed among its spinning children is waited for until the last of them is gone", needs=("moat", "http"),
      timeout=240)
def among_spinners(session):
    count = 200  # an emulated machine makes no more in the time of a test
    identifier = session.api.start(places.hog(session.build), "spinners", str(count), context="roomy")
    procs.wait_until(lambda: session.api.process(identifier)["stdoutBytes"], 120, "all of them")
    begun = time.monotonic()
    assert session.api.kill(identifier).status == 200
    done = procs.wait_until(lambda: (p := session.api.process(identifier))["state"] == "ended" and p, 60, "its end")
    print(f"# {count} had ended {time.monotonic() - begun:.1f} s after the kill", flush=True)
    assert done["signal"] == "SIGKILL" and "not gone after being killed" not in session.agent.log(), done


@test("the tables that user code shares with the control plane are larger than its memory can fill", needs=("moat",))
def tables(session):
    need_controllers(session)
    session.require(session.vm, "sets sysctls of the machine")
    most = {"fs/file-max": 1 << 62, "fs/inotify/max_user_instances": 1 << 30, "fs/inotify/max_user_watches": 1 << 30,
            "kernel/pty/max": 1 << 20}
    for name, least in most.items():
        assert int(read(f"/proc/sys/{name}")) >= least, (name, read(f"/proc/sys/{name}"))
    # Each until its own descriptors end: 128 instances were all that the user had.
    script = "import ctypes, time; libc = ctypes.CDLL(None)\nwhile libc.inotify_init1(0) >= 0: pass\ntime.sleep(600)"
    held = [session.api.start("/bin/sh", "-c", 'ulimit -n 256; exec "$@"', "sh", places.PYTHON, "-c", script) for _ in range(3)]
    time.sleep(2 * session.patience)
    fd = ctypes.CDLL(None).inotify_init1(0)
    for each in held:
        session.api.kill(each)
    assert fd >= 0, "the control plane has no inotify instance left"
    os.close(fd)


@test("with the machine's file table full a command is refused with a code that may be tried again", needs=("moat",), timeout=120)
def file_table(session):
    session.require(session.vm, "sets fs.file-max")
    with sysctl("fs/file-max", int(read("/proc/sys/fs/file-nr").split()[0]) // 2):
        refused = session.api.request("POST", "/v1/exec", {"argv": ["/bin/true"]})
    # moatd is exempt by CAP_SYS_ADMIN, the command after it has lost its capabilities is not.
    assert refused.json["code"] in ("TOO_MANY_PROCESSES", "OUT_OF_MEMORY") and refused.status in (429, 503), refused.json
    assert session.exec("/bin/echo", "there").out == "there\n"


@test("limits, moves between cgroups, OOM scores and refusals, where controllers and rights are", needs=("moat",), timeout=60)
def unit(session):
    need_controllers(session)
    for program, skipped in (("cgroup/cgroup_test", 0), ("cgroup/limit_test", 0), ("process/harden_test", 1)):
        done = subprocess.run([os.path.join(session.build, "tests/unit", program)], capture_output=True, text=True, check=False,
                              env={**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP"})
        output = done.stdout + done.stderr
        assert done.returncode == 0 and output.upper().count("# SKIP") == skipped, output[-3000:]
