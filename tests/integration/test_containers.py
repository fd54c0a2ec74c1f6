# SPDX-License-Identifier: Apache-2.0
"""What containers are like: how the hierarchy of cgroups is mounted in them, which capabilities and devices they have."""

import ctypes
import fcntl
import json
import os
import re
import resource
import signal
import socket
import struct
import subprocess

from lib import moatd, places, procs, unixhttp
from lib.tap import test

READ_ONLY = "awk '$3 == \"cgroup2\" { print $2 }' /proc/self/mounts | while read -r at; do mount -o remount,bind,ro \"$at\"; done"


def inside(script):
    """The agent with mounts of its own, after what a container engine would do."""
    return ("unshare", "-m", "/bin/sh", "-ec", f'{script}; exec "$@"', "sh")


def run_one(session, name, where, sections="", check=lambda agent: None):
    agent = moatd.Moatd(session.build, f"itest-{name}-{os.getpid()}", sections, "require" if session.vm else "best-effort",
                        inside=where)
    try:
        agent.start(60 * session.patience)
        for context in ("default", "other"):
            result = agent.api().exec("/bin/sh", "-c", "sleep 1000 & echo here", context=context)
            assert result.exit == 0 and result.out == "here\n", result
        check(agent)
        status, left = agent.stop()
        assert status == 0 and not left, (status, left, agent.log())
    finally:
        agent.kill()
        agent.remove_files()


@test("with cgroup2 mounted read-only, as in containers that are not privileged, commands run, and with their cgroup they end",
      timeout=100)
def read_only(session):
    def check(agent):
        identifier = agent.api().start("/bin/sh", "-c", "(sleep 1000 & sleep 1000 &) ; sleep 1000")
        procs.wait_until(lambda: agent.api().process(identifier)["state"] == "running", 10, "it runs")
        agent.api().kill(identifier)
        procs.wait_until(lambda: agent.api().process(identifier)["state"] == "ended", 10, "its end")
    run_one(session, "cg-ro", inside(READ_ONLY), "[context other]\n", check)


NOWHERE = "awk '$3 ~ /^cgroup/ { print $2 }' /proc/self/mounts | while read -r at; do umount -l \"$at\"; done"


@test("with cgroup2 mounted nowhere commands run, limited as ever, and see none", timeout=60)
def mounted_nowhere(session):
    session.require(not session.vm, "how cgroups are mounted is the agent's own affair")
    session.require(tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (6, 15), "before Linux 6.15 a mount that is attached nowhere cannot be cloned")

    def check(agent):
        assert agent.api().get("/v1/status")["cgroup"].startswith("cgroup2:"), agent.api().get("/v1/status")["cgroup"]
        assert agent.api().exec("/usr/bin/awk", "$3 ~ /^cgroup/", "/proc/self/mounts").out == ""
    run_one(session, "cg-nowhere", inside(NOWHERE), "[context other]\n", check)


NODES = """
import os, stat
for name in ("moat-test-0", "moat-test/1", "moat-test-2", "null"):
    try:
        st = os.stat("/dev/" + name)
        try:
            what = len(os.read(os.open("/dev/" + name, os.O_RDWR), 3))
        except OSError as error:
            what = error.strerror
        try:
            os.chmod("/dev/" + name, 0o777)
            what = "changed"
        except OSError:
            pass
        print(name, oct(st.st_mode), st.st_uid, what)
    except FileNotFoundError:
        print(name, None)
"""


@test("each device that is given to user code is in its /dev, with owner and mode, by number and by path, also for who may mount",
      timeout=100)
def devices(session):
    # the numbers of what is there in every container, for what nodes of others would be
    made = "mount -t tmpfs -o mode=0755 none /mnt; for each in null zero full random urandom tty; do cp -a /dev/$each /mnt/; done; " \
           "mkdir /mnt/pts /mnt/shm /mnt/moat-test; mknod -m 0640 /mnt/moat-test-0 c 1 5; mknod -m 0666 /mnt/moat-test/1 c 1 9; " \
           "mknod /mnt/moat-test-2 b 7 0; chown 7:8 /mnt/moat-test-0; ln -s pts/ptmx /mnt/ptmx; mount --move /mnt /dev; " \
           "mount -t devpts -o ptmxmode=0666 none /dev/pts"

    def check(agent):
        for fields in ({}, {"isolated": True}, {"context": "other"}, {"context": "full"}, {"context": "full", "isolated": True}):
            result = agent.api().exec(places.PYTHON, "-c", NODES, **fields)
            assert result.out == "moat-test-0 0o20640 7 3\nmoat-test/1 0o20666 0 3\nmoat-test-2 None\nnull 0o20666 0 0\n", (fields, result)
    run_one(session, "devices", inside(made), "device = 1:5\ndevice = /dev/moat-test/1\n"
            "[context other]\n[context full]\ncapabilities = all\n", check)


def with_files(number):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def needed_files(session):
    """What an agent with one service asks for, of the refusal of one that has too few."""
    text = f"[moat]\ninstance = itest-nofile-{os.getpid()}\nstate_dir = /run/itest-nofile-{os.getpid()}\nenforce = best-effort\n" \
           "[service spare]\ncommand = /bin/sleep 1000\n"
    status, said, _ = moatd.refuse(session.build, text, seconds=60 * session.patience, inside=("prlimit", "--nofile=40:40"))
    assert status == 1 and not os.path.exists(f"/run/itest-nofile-{os.getpid()}"), (status, said)
    found = re.search(r"40 descriptors are not enough for this configuration, which needs (\d+)", said)
    assert found, said
    return int(found[1])


def end_in_order(agent, running):
    """Kills these commands and stops the agent, which had descriptors enough for all that it did."""
    for each in running:
        agent.api().kill(each)
    status, left = agent.stop()
    assert status == 0 and not left and "Too many open files" not in agent.log(), (status, left, agent.log())


@test("with too few descriptors the start is refused, with the number that is needed; with that number all can be done", timeout=60)
def few_descriptors(session):
    session.require(not session.vm, "RLIMIT_NOFILE is the agent's own affair; the kernel programs take some more")
    number = needed_files(session)
    agent = moatd.Moatd(session.build, f"itest-few-{os.getpid()}", "[context other]\n[service spare]\ncommand = /bin/sleep 1000\n",
                        "best-effort")
    try:
        agent.start(30, preexec_fn=with_files(number))
        running = [agent.api().start("/bin/sleep", "1000") for _ in range(3)]
        for fields in ({}, {"isolated": True}, {"context": "other"}, {"context": "other", "isolated": True}):
            assert agent.api().exec("/bin/echo", "here", **{**fields, "env": {}}).out == "here\n", fields
        refused = None
        try:
            for _ in range(1000):
                running.append(agent.api().start("/bin/sleep", "1000"))
        except unixhttp.Refused as error:
            refused = error.code
        assert refused == "TOO_MANY_PROCESSES", (refused, len(running))
        end_in_order(agent, running)
    finally:
        agent.kill()
        agent.remove_files()


@test("with few descriptors many sessions that idle keep nobody from being served", timeout=60)
def idle_sessions(session):
    session.require(not session.vm, "RLIMIT_NOFILE is the agent's own affair")
    agent = moatd.Moatd(session.build, f"itest-idle-{os.getpid()}", "", "best-effort")
    try:
        agent.start(30, preexec_fn=with_files(320))
        for i in range(90):
            assert agent.api().exec("/bin/true", session=f"s{i}").exit == 0, i
        assert len(os.listdir(f"/proc/{agent.pid}/fd")) < 264
        assert agent.api().get("/v1/status")
        running = [agent.api().start("/bin/sleep", "1000") for _ in range(12)]
        assert agent.api().exec("/bin/echo", "here", session="s1").out == "here\n"
        end_in_order(agent, running)
    finally:
        agent.kill()
        agent.remove_files()


@test("silent connections keep neither a service from being started again nor a caller from being answered", timeout=60)
def silent_connections(session):
    session.require(not session.vm, "RLIMIT_NOFILE is the agent's own affair")
    agent = moatd.Moatd(session.build, f"itest-silent-{os.getpid()}", "[service spare]\ncommand = /bin/sleep 1000\n", "best-effort")
    silent = []
    try:
        agent.start(30, preexec_fn=with_files(256))
        before = agent.wait_ready("spare", 10)["pid"]
        for _ in range(300):
            silent.append(socket.socket(socket.AF_UNIX))
            silent[-1].connect(agent.socket)
        os.kill(before, signal.SIGKILL)
        # the first back-off is a second
        procs.wait_until(lambda: agent.service("spare")["pid"] not in (None, before), 5, "the service is there again")
        assert agent.api().exec("/bin/echo", "here").out == "here\n"
        assert "Too many open files" not in agent.log(), agent.log()
    finally:
        for each in silent:
            each.close()
        agent.kill()
        agent.remove_files()


def check(session, *before, preexec_fn=None):
    """What `moatd --check --json` says there: (exit status, {name: probe})."""
    done = subprocess.run([*before, os.path.join(session.build, "moatd"), "--check", "--json"], stdout=subprocess.PIPE, check=False,
                          timeout=60 * session.patience, preexec_fn=preexec_fn)
    return done.returncode, {each["name"]: each for each in json.loads(done.stdout)["probes"]}


def start_refused(session, enforce, *before, preexec_fn=None):
    text = f"[moat]\ninstance = itest-refused-{os.getpid()}\nstate_dir = /run/itest-refused-{os.getpid()}\nenforce = {enforce}\n"
    config = os.path.join(session.scratch, "refused.conf")
    with open(config, "w", encoding="utf-8") as file:
        file.write(text)
    done = subprocess.run([*before, os.path.join(session.build, "moatd"), "-c", config], stderr=subprocess.PIPE, text=True, check=False,
                          timeout=60 * session.patience, preexec_fn=preexec_fn)
    assert done.returncode == 1 and "nothing was started" in done.stderr, done
    assert not os.path.exists(f"/run/itest-refused-{os.getpid()}")
    return done.stderr


def without(*capabilities):
    return ("setpriv", "--bounding-set", ",".join("-" + each for each in capabilities), "--inh-caps", "-all")


@test("all capabilities that are missing are named at once, with the flags that add them, by moat check and by a start that is refused",
      timeout=60)
def missing_capabilities(session):
    status, all_there = check(session)
    assert all_there["privileges"]["ok"] and all_there["system-calls"]["ok"] and all_there["namespaces"]["ok"], all_there
    lacking = without("sys_admin", "sys_ptrace")
    flags = "missing: CAP_SYS_ADMIN, CAP_SYS_PTRACE; run as root in a container with --cap-add=SYS_ADMIN --cap-add=SYS_PTRACE"
    status, found = check(session, *lacking)
    assert status == 1 and not found["privileges"]["ok"] and found["privileges"]["detail"] == flags, found["privileges"]
    for enforce in ("require", "best-effort"):
        said = start_refused(session, enforce, *lacking)
        # as everything that follows from it
        assert flags in said and "namespaces:" in said and "proc-hidepid:" in said, said


# struct sock_filter: load the number of the call, answer these with an errno, allow the others
def refuse_calls(numbers, errno):
    program = [(0x20, 0, 0, 0)]
    for number in numbers:
        program += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | errno)]
    program.append((0x06, 0, 0, 0x7fff0000))
    code = b"".join(struct.pack("HBBI", *each) for each in program)

    def install():
        libc = ctypes.CDLL(None, use_errno=True)
        space = ctypes.create_string_buffer(code)
        wanted = struct.pack("HxxxxxxP", len(program), ctypes.addressof(space))
        if libc.prctl(22, 2, ctypes.c_char_p(wanted), 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    return install


CALLS = {"open_tree": 428, "move_mount": 429, "fsopen": 430, "mount_setattr": 442, "close_range": 436, "pidfd_open": 434, "clone3": 435,
         "execveat": 322, "pidfd_send_signal": 424}


@test("each system call that moat makes and a seccomp profile refuses is named, and the start refused before anything is there", timeout=60)
def refused_calls(session):
    for errno, names in ((1, sorted(CALLS)), (38, ["clone3", "execveat"]), (1, ["mount_setattr"])):
        filtered = refuse_calls([CALLS[each] for each in names], errno)
        status, found = check(session, preexec_fn=filtered)
        said = found["system-calls"]["detail"]
        assert status == 1 and not found["system-calls"]["ok"], said
        assert sorted(said.split(": ")[1].split(", ")) == names, said
        assert said in start_refused(session, "best-effort", preexec_fn=filtered)


@test("a user namespace is named as what keeps the kernel from enforcing", timeout=60)
def user_namespace(session):
    status, found = check(session, "unshare", "-Ur")
    if status == 1 and "CAP_SYS" in found["privileges"]["detail"]:
        raise AssertionError(found["privileges"])
    assert not found["user-namespace"]["ok"] and "rootless" in found["user-namespace"]["detail"], found["user-namespace"]
    assert "user-namespace: this is a user namespace" in start_refused(session, "require", "unshare", "-Ur")


@test("moat check counts the places for kernel programs that are left, one less for each agent", needs=("moat",), timeout=60)
def places_left(session):
    detail = check(session)[1]["places"]["detail"]
    free = int(re.match(r"(\d+) of the 38 places at a hook are free", detail)[1])
    assert free == (37 if session.enforced else 38), detail


@test("a context that is given a capability that the agent does not have is warned about", timeout=60)
def capability_of_a_context(session):
    session.require(not session.vm, "the warning is the agent's own")
    agent = moatd.Moatd(session.build, f"itest-caps-{os.getpid()}", "[context all]\ncapabilities = all\n"
                        "[context given]\ncapabilities = cap_chown, cap_syslog\n", "best-effort", inside=without("syslog"))
    try:
        agent.start(30)
        assert "context given does not get cap_syslog: the agent does not have it (--cap-add=syslog)" in agent.log(), agent.log()
        assert "context all does not get" not in agent.log() and "cap_chown" not in agent.log(), agent.log()
    finally:
        agent.stop()
        agent.remove_files()


# What engines give by default, and what has to be added (README, moatd(8)).
ENGINE = ("chown", "dac_override", "fowner", "fsetid", "kill", "net_bind_service", "setfcap", "setgid", "setpcap", "setuid", "sys_chroot")
ADDED = ("sys_admin", "sys_ptrace")
TO_ENFORCE = ("net_admin",)


@test("a container with the default capabilities, SYS_ADMIN and SYS_PTRACE (to enforce: NET_ADMIN), without new privileges and with "
      "cgroup2 read-only runs an agent and its commands", timeout=120)
def least_capabilities(session):
    given = ENGINE + ADDED + (TO_ENFORCE if session.vm else ())
    container = inside(READ_ONLY) + ("setpriv", "--no-new-privs", "--inh-caps", "-all", "--bounding-set",
                                     ",".join(["-all"] + ["+" + each for each in given]))

    def check_it(agent):
        with open(f"/proc/{agent.pid}/status", encoding="ascii") as file:
            mask = int(re.search(r"CapEff:\s*(\w+)", file.read())[1], 16)
        assert bin(mask).count("1") == len(given), bin(mask)
        assert agent.api().exec("/bin/echo", "here", isolated=True).out == "here\n"
        procs.wait_until(lambda: agent.service("spare")["state"] == "ready", 20, "the service is ready")
        if session.vm:
            assert agent.api().get("/v1/status")["enforcement"]["mode"] == "enforce"
        # without SYS_RESOURCE, and said so
        assert "warning: where memory ends" in agent.log(), agent.log()
        order = next(each for each in agent.api().get("/v1/status")["layers"]["cgroup"]["checks"] if each["name"] == "oom-order")
        assert not order["ok"] and "--cap-add=SYS_RESOURCE" in order["detail"], order
    run_one(session, "least", container, "[context other]\n[service spare]\ncommand = /bin/sleep 1000\nport = 9977\n", check_it)

ROOTLESS = (places.PYTHON, os.path.join(places.SOURCE, "tests/integration/tools/rootless.py"))
ROOTLESS_USER = 200000  # its root
LEAVES = "sleep 1001 & (setsid sleep 1002 & setsid sleep 1003 & sleep 1004) & sleep 1005 & wait"


def sleepers():
    return subprocess.run(["pgrep", "-f", "^sleep 100[1-5]$"], capture_output=True, text=True, check=False).stdout.split()


def check_covered(agent):
    """A file system that nobody in there can take off, and that no command is to reach."""
    look = ("/usr/bin/stat", "-f", "-c", "%T", "/srv")
    assert agent.enter(*look).stdout == "bpf_fs\n" and agent.enter("/usr/bin/umount", "/srv").returncode != 0
    for options in ((), ("-c", "all")):
        assert agent.moat("exec", *options, "--", *look).stdout == "tmpfs\n", options


class Rootless(moatd.Moatd):
    """An agent in such a container, which answers only who is in there with it."""

    def __init__(self, session, sections):
        super().__init__(session.build, f"itest-rootless-{os.getpid()}", sections, "best-effort", inside=ROOTLESS)
        os.chmod(self.directory, 0o755)
        os.mkdir(self.state_dir)
        os.chown(self.state_dir, ROOTLESS_USER, ROOTLESS_USER)

    def enter(self, *argv):
        with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
            enter = ("nsenter", "-U", "-m", "-p", "-t", file.read().split()[0])
        return subprocess.run([*enter, *argv], capture_output=True, text=True, check=False, timeout=60, env={"MOAT_SOCKET": self.socket})

    def moat(self, *arguments):
        return self.enter(os.path.join(self.build, "moat"), *arguments)

    def healthy(self):
        return os.path.exists(self.socket) and self.moat("health").returncode == 0

    def json(self, *arguments):
        done = self.moat(*arguments, "--json")
        assert done.stdout, done
        return json.loads(done.stdout)


@test("in a rootless container that was given no cgroup an agent with enforce = best-effort goes on without limits, says so, and ends what it "
      "has started", timeout=60)
def without_cgroup(session):
    session.require(not session.vm, "cgroups are the agent's own affair")
    agent = Rootless(session, "[context other]\nmemory_max = 64M\n[context all]\ncapabilities = all\n[service web]\ncommand = /usr/bin/python3 -m http.server 9978 --bind 127.0.0.1\n"
                     "directory = /usr/share\nport = 9978\nready = tcp:9978\n")
    try:
        agent.start(60)
        status = agent.json("status")
        assert status["cgroup"] == "" and [each["resource"] for each in status["notLimited"]] == ["memory", "pids", "cpu"], status
        assert all("Permission denied" in each["reason"] for each in status["notLimited"]), status["notLimited"]
        for said in ("there is no cgroup for what is started: cannot make cgroup", "the memory of context other cannot be limited",
                     "ports of services are not guarded: there is no cgroup"):
            assert said in agent.log(), agent.log()
        procs.wait_until(lambda: agent.moat("health", "--ready", "web").returncode == 0, 20, "the service is ready")
        assert [(each["port"], each["service"]) for each in agent.json("ports")["ports"]] == [(9978, "web")], agent.json("ports")
        for options in ((), ("-c", "other"), ("--secure",), ("-c", "other", "--secure")):
            result = agent.moat("exec", *options, "--", "/bin/echo", "here")
            assert result.stdout == "here\n", (options, result)
            result = agent.moat("exec", *options, "--timeout", "300ms", "--", "/bin/sh", "-c", LEAVES)
            assert result.returncode == 124 and not sleepers(), (options, result, sleepers())
        check_covered(agent)
        # by its socket, in a PID namespace that is not the agent's
        server = agent.moat("exec", "-c", "other", "--detach", "--", "/usr/bin/python3", "-m", "http.server", "9979", "--bind", "127.0.0.1").stdout.strip()
        procs.wait_until(lambda: (9979, "other", server) in [(each["port"], each.get("context"), each.get("id")) for each in
                                                             agent.json("ports")["ports"]], 10, "the port of a command")
        assert agent.moat("kill", server).returncode == 0
        # who has no parent any more and a session of his own is left, until his context is removed
        assert agent.moat("context", "create", "gone").returncode == 0
        result = agent.moat("exec", "-c", "gone", "--timeout", "300ms", "--", "/bin/sh", "-c", "(setsid sleep 1002 &) ; exec sleep 1001")
        assert result.returncode == 124 and len(sleepers()) == 1, (result, sleepers())
        assert agent.moat("context", "rm", "gone").returncode == 0
        procs.wait_until(lambda: not sleepers(), 10, "the end of what was left")
        refused = agent.moat("context", "create", "open", "-o", "pid=shared")
        assert refused.returncode and "pid = shared needs a cgroup" in refused.stderr, refused
        assert agent.moat("exec", "--detach", "--", "/bin/sh", "-c", LEAVES).returncode == 0
        procs.wait_until(lambda: len(sleepers()) == 5, 10, "its processes")
        assert agent.stop() == (0, []) and not sleepers(), (sleepers(), agent.log())
    finally:
        agent.kill()
        agent.remove_files()


@test("without a cgroup an agent that has to enforce, has a context with pid = shared, or is told its cgroup_dir is refused, and says why", timeout=60)
def needs_cgroup(session):
    session.require(not session.vm, "cgroups are the agent's own affair")
    name = f"itest-needs-{os.getpid()}"
    os.mkdir(f"/run/{name}")
    os.chown(f"/run/{name}", ROOTLESS_USER, ROOTLESS_USER)
    for mode, more, why in (("best-effort", "[context open]\npid = shared\n", "context open: pid = shared needs a cgroup, to end what it starts, and "
                             "cannot make cgroup"),
                            ("best-effort", "cgroup_dir = /sys/fs/cgroup\n", "cannot make cgroup|is not on a cgroup2 file system"),
                            ("require", "", "cgroup-kill: cannot make a cgroup in .*Permission denied")):
        text = f"[moat]\ninstance = {name}\nstate_dir = /run/{name}\nenforce = {mode}\n{more}"
        status, said, _ = moatd.refuse(session.build, text, seconds=60, inside=ROOTLESS)
        assert status == 1 and re.search(why, said), (status, said)
    os.rmdir(f"/run/{name}")


def clean_up(session, config):
    done = subprocess.run([os.path.join(session.build, "moatd"), "--cleanup", *config], capture_output=True, text=True, check=False,
                          timeout=60 * session.patience)
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout


@test("moatd --cleanup removes the pins of agents that are gone, and leaves those of one that lives", timeout=60)
def cleanup(session):
    place = f"/sys/fs/bpf/itest-clean-{os.getpid()}"
    config = os.path.join(session.scratch, "clean.conf")
    with open(config, "w", encoding="ascii") as file:
        file.write(f"[moat]\npin_dir = {place}\n")
    for each in ("dead/links", "dead/maps", "dead/programs", "dead_new/links", "dead_lock", "cut_new/links", "live/links",
                 "live_new/links", "live_lock"):
        os.makedirs(os.path.join(place, each))
    lock = os.open(f"{place}/live_lock", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = clean_up(session, ["-c", config])
        assert sorted(said.splitlines()) == [f"removed what instance {name} had left" for name in ("cut", "dead")], said
        assert sorted(os.listdir(place)) == ["live", "live_lock", "live_new"], os.listdir(place)
    finally:
        os.close(lock)
    assert clean_up(session, ["-c", config]) == "removed what instance live had left\n"
    assert not os.path.exists(place)


@test("what a probe that was killed has left in the cgroups is removed by the next; many at once are not in each other's way", timeout=60)
def probes(session):
    place = check(session)[1]["cgroup-kill"]["detail"].split(" at ")[1]
    os.makedirs(f"{place}/moat-probe", exist_ok=True)
    many = [subprocess.Popen([os.path.join(session.build, "moatd"), "--check", "--json"], stdout=subprocess.PIPE) for _ in range(8)]
    for each in many:
        found = {probe["name"]: probe for probe in json.loads(each.communicate(timeout=60 * session.patience)[0])["probes"]}
        assert found["cgroup-kill"]["ok"], found["cgroup-kill"]
    assert not [each for each in os.listdir(place) if each.startswith("moat-probe")], os.listdir(place)
