# SPDX-License-Identifier: Apache-2.0
"""
What the tests of one run share: one agent with a real control plane, started on first use.

The services: `http`, a Bun server (a Python one where Bun is not installed) on 8080 with /health; `jupyter` on 8888 when a
selected test needs it; `sockets`, with unix sockets that have no file and with http's port of ::1; `spare`, which never listens on
its port, so that nobody but moat can refuse it; `own`, `named` and `shared` when a selected test needs "places", see test_places; `broken`, which cannot start and so is always between a crash and a restart. The
contexts: `default` as it is without configuration; `full`, every capability; `shared` and `other`, every capability and the PID
namespace of the control plane; `adm` and `adm-shared` the same, for commands that change the mounts of theirs; `modest`, the default capabilities and the PID namespace of the control
plane; `sealed` and `sealed-shared`, every capability and each exec apart from all others, in a PID namespace of their own and in
the control plane's; `small` and `roomy`, with limits; `plain`, which changes nothing but its directory and environment.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

from lib import attempts, kernels, moatd, places, procs
from lib.tap import Skip



def ports(*numbers):
    """Outside a virtual machine any free ones will do: somebody else may have these, or be running these tests."""
    if os.environ.get("MOAT_VM"):
        return list(numbers)
    with contextlib.ExitStack() as held:  # all of them at once, so that no two are the same
        sockets = [held.enter_context(socket.socket()) for _ in numbers]
        for each in sockets:
            each.bind(("0.0.0.0", 0))
        return [each.getsockname()[1] for each in sockets]


# The last three are in the ephemeral range, where the kernel itself could give them away. The free one is odd: connect(2)
# takes even ones first, and nothing keeps it from this one.
HTTP_PORT, JUPYTER_PORT, SPARE_PORT, BROKEN_PORT, FREE_PORT = ports(8080, 8888, 45454, 45455, 45457)
SECRET = "control-plane-secret-7f3a"
PIDS_FROM = 20000  # no PID namespace of user code ever counts this far in a test run


class Session:
    def __init__(self, build, whole=True):
        """whole: see kernels.whole()."""
        self.whole, self.build = whole, places.build_dir(build)
        self.vm = os.environ.get("MOAT_VM")
        self.patience = 3 if self.vm else 1  # how much longer things go on; how long is waited for one: procs.SLACK
        self.needs = set()
        self.instance = f"itest-{os.getpid()}"
        self.agent, self.agent_error = None, None
        self.log_shown = 0
        self.scratch = tempfile.mkdtemp(prefix="moat-test-")
        self.tree, self.alias = make_tree(self.scratch)
        self.single = make_protected(self.scratch)
        self.hidden, self.hidden_alias = make_tree(self.scratch, "hidden")
        self.uncovered = uncovered(self.hidden) if self.vm and not kernels.without_bpf(self.vm) else self.hidden
        self.audit_log = f"{self.scratch}/audit.log"
        self.jupyter = f"{self.scratch}/jupyter"  # kernelspecs
        self.bare = {}        # attempts without moat: name -> answer
        self.memory = {}      # what one test leaves for a later one

    # What is there

    def require(self, condition, reason):
        if not condition:
            raise Skip(reason)

    def prepare(self, needs):
        """Before a test's clock starts."""
        if "bun" in needs and not places.bun(self.build):
            self.missing("Bun is not installed: make deps-test")
        if "jupyter" in needs and not places.jupyter():
            self.missing("Jupyter is not installed: make deps-test")
        if needs & {"moat", "lsm", "ports", "jupyter", "bun"}:
            self.start()
        if "lsm" in needs:
            self.need_lsm()
        if "ports" in needs and not self.enforced and not self.guarded_by_cgroup:
            self.missing("nothing guards ports here: " + self.status()["layers"]["cgroup"]["reason"])
        if "bun" in needs or "http" in needs:
            self.agent.wait_ready("http", 60)
        if "jupyter" in needs:
            self.agent.wait_ready("jupyter", 300)

    def missing(self, reason):
        """In a virtual machine everything has to be there: a test that never runs proves nothing."""
        if self.vm and not os.environ.get("MOAT_TESTS_MAY_SKIP"):
            raise AssertionError(reason)
        raise Skip(reason)

    def need_lsm(self):
        if not self.status()["enforcement"]["active"]:
            self.missing("this kernel enforces nothing: " + self.status()["enforcement"]["reason"])

    @property
    def enforced(self):
        return self.status()["enforcement"]["active"]

    @property
    def guarded_by_cgroup(self):
        """Whether programs of user code's cgroup stand in for the LSM's."""
        return self.status()["layers"]["cgroup"]["state"] == "active"

    def status(self):
        if "status" not in self.memory:
            self.memory["status"] = self.api.get("/v1/status")
        return self.memory["status"]

    # The agent

    @property
    def api(self):
        return self.agent.api()

    def http_command(self):
        bun = places.bun(self.build)
        if bun and not kernels.without_bpf(self.vm):  # there time is short, and it is not about real programs
            return f"{bun} run {places.CONTROL_PLANE}/server.ts"
        return f"{places.PYTHON} {places.CONTROL_PLANE}/server.py"

    def sections(self):
        text = f"""audit_log = {self.audit_log}
hide = {self.hidden}
device = /dev/cpu_dma_latency
device = 204:*
reach = /dev/log
reach = @{self.instance}.reach

[service http]
command = {self.http_command()}
port = {HTTP_PORT}
ready = tcp:{HTTP_PORT}
env = CONTROL_PLANE_SECRET={SECRET}
env = PORT={HTTP_PORT}
protect = {self.tree}
protect = {self.single}
protect = {self.scratch}/to-code
protect = {self.scratch}/volume
protect = {self.scratch}/ext4/code
protect = {self.scratch}/overlay/code
{self.protected_subvolumes()}

[service spare]
command = /bin/sleep 1000000
port = {SPARE_PORT}

[service sockets]
command = {places.PYTHON} {places.CONTROL_PLANE}/sockets.py {self.instance} {HTTP_PORT} {self.tree}/socket {self.scratch}/listening/service.socket
reachable = @{self.instance}.open

[service broken]
command = /nonexistent/program --token {SECRET}
port = {BROKEN_PORT}

[context full]
capabilities = all
no_new_privs = no

[context shared]
pid = shared
capabilities = all
no_new_privs = no

[context other]
pid = shared
capabilities = all
no_new_privs = no

[context adm]
capabilities = all
no_new_privs = no

[context adm-shared]
pid = shared
capabilities = all
no_new_privs = no

[context modest]
pid = shared

[context sealed]
namespace = secure
capabilities = all
no_new_privs = no

[context sealed-shared]
namespace = secure
pid = shared
capabilities = all
no_new_privs = no

[context small]
memory_max = 64M
pids_max = 50
cpu_max = 0.5

[context roomy]
memory_max = 512M
cpu_max = 1

[context apart]
tmp = private
home = /usr/share
careful = no

[context bare]
capabilities = none

[context plain]
directory = /usr
env = GREETING=hello
env = EMPTY=
"""
        if "jupyter" in self.needs:
            os.makedirs(self.jupyter, exist_ok=True)
            text += f"""
[service jupyter]
command = {places.JUPYTER} --allow-root --no-browser --ip=127.0.0.1 --port={JUPYTER_PORT} --ServerApp.token={SECRET} --config={places.CONTROL_PLANE}/jupyter/jupyter_server_config.py
port = {JUPYTER_PORT}
ready = tcp:{JUPYTER_PORT}
start_timeout = 600
env = JUPYTER_PATH={self.jupyter}/share/jupyter
protect = {self.jupyter}
"""
        if "places" in self.needs:
            text += self.found("own", "")
            for name, more in (("named", ""), ("shared", f"shares = {self.scratch}/places/shared\nfollow = yes\n")):
                place = f"{self.scratch}/places/{name}"
                os.makedirs(f"{place}/home", exist_ok=True)
                text += self.found(name, f"directory = {place}\nenv = HOME={place}/home\n{more}")
        return text

    def found(self, name, more):
        return f"""
[service {name}]
command = {places.PYTHON} -m found
env = PYTHONPATH={places.CONTROL_PLANE}
env = CONTROL_PLANE_SECRET={SECRET}
{more}"""

    def protected_subvolumes(self):
        return "".join(f"protect = {self.scratch}/btrfs/{name}/same\n" for name in "ab" if self.vm)

    def start(self):
        if self.agent_error:
            raise AssertionError(self.agent_error)
        if self.agent:
            if not self.agent.running():
                raise AssertionError("moatd is gone")
            return
        if self.vm:
            count_pids_from(PIDS_FROM)
        agent = moatd.Moatd(self.build, self.instance, self.sections(), "require" if self.vm and not kernels.without_bpf(self.vm) else "best-effort",
                            whole_machine=bool(self.vm), scratch=self.scratch)
        started = time.monotonic()
        try:
            agent.start(60 * procs.SLACK)
        except Exception as error:
            self.agent_error = str(error)
            agent.kill()
            raise
        self.agent = agent
        self.memory["start_seconds"] = time.monotonic() - started

    def stop(self):
        """(exit status, what is left behind) of the agent; it is not started again."""
        agent, self.agent = self.agent, None
        self.agent_error = "moatd has been stopped"
        try:
            return agent.stop()
        finally:
            agent.remove_files()

    def close(self):
        if self.agent:
            try:
                self.agent.stop()
            except Exception:
                self.agent.kill()
            self.agent.remove_files()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def diagnostics(self):
        """What moatd has said since it was last asked."""
        if not self.agent:
            return ""
        lines = self.agent.log().splitlines()
        fresh, self.log_shown = lines[self.log_shown:], len(lines)
        text = "".join(f"\n  {line}" for line in [each for each in fresh if "service broken" not in each][-15:])
        if not self.agent.running():
            text += f"\n  moatd ended with status {self.agent.process.returncode}"
        return text

    # Doing things

    def exec(self, *argv, **fields):
        return self.api.exec(*argv, **fields)

    def attempts(self, context, target, *cases, before=(), **fields):
        """Runs cases of attempt as user code of a context. before: what executes it. Returns name -> answer."""
        arguments = list(target) + (["--enforced"] if self.enforced else []) + list(cases)
        result = self.exec(*before, places.attempt(self.build), *arguments, context=context, **fields)
        return attempts.parse(result.out, result.err)

    def targets(self):
        """The processes that user code must not touch, as (name, pid)."""
        spaces = {each["name"]: each["pid"] for each in self.api.get("/v1/status")["namespaces"]}
        return [("service", self.agent.service("http")["pid"]), ("moatd", self.agent.pid), *(
            (f"moat-init {name}", pid) for name, pid in spaces.items() if name in ("template", "secure-shared", "context-other"))]

    def target_arguments(self, pid):
        return ["--pid", str(pid), "--pgid", str(procs.pgid(pid)), "--tid", str(procs.second_thread(pid)),
                "--port", str(SPARE_PORT), "--listener", str(HTTP_PORT), "--cgroup", procs.cgroup(pid).partition(f"/moat-{self.instance}")[2],
                "--abstract", self.instance, "--socket", self.agent.socket, "--link", self.agent.alias,
                "--pin", f"/sys/fs/bpf/moat/{self.instance}/maps/settings", "--tree", self.tree, "--alias", self.alias,
                "--hidden", self.uncovered, "--hidden-alias", self.hidden_alias,
                *self.machine_arguments()]

    def machine_arguments(self):
        """What of the machine is attacked: a disk, where there is one that nobody needs."""
        if self.vm and "disk" not in self.memory:
            self.memory["disk"] = make_disk(self.scratch)
        return ["--disk", str(self.memory["disk"])] if self.vm else []

    def health(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{HTTP_PORT}/health", timeout=60 * self.patience) as reply:
            return json.load(reply)


def make_tree(parent, kind="protected"):
    """A tree of files to protect or hide, as tools/attempt/{files,hidden}.c want it, and another name of one of its files."""
    tree, alias = f"{parent}/{kind}/tree", f"{parent}/alias-{kind}"
    os.makedirs(f"{tree}/sub")
    os.symlink("file", f"{tree}/link")
    for name in ("file", "linked"):
        with open(f"{tree}/{name}", "w", encoding="ascii") as file:
            file.write("#!/bin/true\n")
        os.chmod(f"{tree}/{name}", 0o755)
    os.link(f"{tree}/linked", alias)
    return tree, alias


def uncovered(path):
    """Another way to path, past the mount that covers it in the namespaces of user code: only the kernel programs are in it."""
    above, tree = os.path.split(path)
    seen = f"{above}-seen"
    os.mkdir(seen)
    subprocess.run(["/bin/mount", "--bind", above, seen], check=True)
    return f"{seen}/{tree}"


def make_protected(parent):
    """Other things to protect, see test_protect. Returns the path of the single file."""
    os.makedirs(f"{parent}/code")
    os.mkdir(f"{parent}/listening")
    os.makedirs(f"{parent}/volume/mounted")
    os.symlink("code", f"{parent}/to-code")
    if os.environ.get("MOAT_VM"):
        subprocess.run(["/bin/mount", "-t", "tmpfs", "tmpfs", f"{parent}/volume/mounted"], check=True)
        mount_others(parent)
        mount_btrfs(parent)
    for path in ("single", "code/main", "volume/mounted/data", "ext4/code/main", "ext4/free/main", "overlay/code/main",
                 "overlay/free/main"):
        os.makedirs(os.path.dirname(f"{parent}/{path}"), exist_ok=True)
        with open(f"{parent}/{path}", "w", encoding="ascii") as file:
            file.write("as it was\n")
    return f"{parent}/single"


def mount_others(parent):
    """An ext4, and an overlay of a directory on it and a tmpfs: two file systems, so that its directories' numbers do not last."""
    os.mkdir(f"{parent}/ext4")
    subprocess.run(["/bin/mount", "-o", "loop", make_image(f"{parent}/image"), f"{parent}/ext4"], check=True)
    lower, top, place = f"{parent}/ext4/lower", f"{parent}/top", f"{parent}/overlay"
    os.mkdir(top)
    subprocess.run(["/bin/mount", "-t", "tmpfs", "tmpfs", top], check=True)  # whose numbers begin at 1, as those of the overlay
    for directory in (f"{lower}/code", f"{lower}/free", f"{top}/upper", f"{top}/work", place, *(f"{lower}/many/{n}" for n in range(60))):
        os.makedirs(directory)
    options = f"xino=off,redirect_dir=on,lowerdir={lower},upperdir={top}/upper,workdir={top}/work"
    subprocess.run(["/bin/mount", "-t", "overlay", "-o", options, "overlay", place], check=True)
    for name in os.listdir(f"{place}/many"):
        os.stat(f"{place}/many/{name}")  # takes a number


def mount_btrfs(parent):
    """Three subvolumes, with a file of the same number in each."""
    place = f"{parent}/btrfs"
    os.mkdir(place)
    with open(f"{parent}/btrfs-image", "wb") as file:
        file.truncate(128 << 20)
    subprocess.run(["/sbin/mkfs.btrfs", "-q", f"{parent}/btrfs-image"], check=True, capture_output=True)
    subprocess.run(["/sbin/modprobe", "btrfs"], check=True)
    subprocess.run(["/bin/mount", "-o", "loop", f"{parent}/btrfs-image", place], check=True)
    for name in "abc":
        subprocess.run(["/usr/bin/btrfs", "-q", "subvolume", "create", f"{place}/{name}"], check=True)
        with open(f"{place}/{name}/same", "w", encoding="ascii") as file:
            file.write("as it was\n")


def make_image(path):
    """A small file with a file system."""
    with open(path, "wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", path], check=True)
    subprocess.run(["/sbin/modprobe", "loop"], check=True)
    return path


def make_disk(parent):
    """The device number of a block device with a file system."""
    image = make_image(f"{parent}/disk")
    done = subprocess.run(["/sbin/losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    return os.stat(done.stdout.strip()).st_rdev


def count_pids_from(number):
    try:
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as file:
            file.write(str(number))
    except OSError:
        pass


def listening(port):
    with socket.socket() as each:
        each.settimeout(5)
        return each.connect_ex(("127.0.0.1", port)) == 0
