# SPDX-License-Identifier: Apache-2.0
"""
Jupyter: its server is a service, its kernels are user code. The kernelspec is the one that `moat jupyter-kernelspec` writes, the
kernels are real ones (ipykernel), and who starts and asks them is the real jupyter_client, or the real server.
"""

import glob
import json
import os
import subprocess
import urllib.error
import urllib.request

from lib import moatd, places, procs
from lib.session import JUPYTER_PORT, SECRET
from lib.tap import test

PATIENCE = 120  # seconds; starting a kernel is a thousand files of Python


def install(session, name, *arguments, json_too=True):
    command = [f"{session.build}/moat", "jupyter-kernelspec", "install", "--socket", session.agent.socket, "--prefix", session.jupyter,
               "--name", name, *(["--json"] if json_too else []), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=moatd.clean_environment())


def kernelspec(session, name, *arguments):
    done = install(session, name, *arguments)
    assert done.returncode == 0, done
    directory = f"{session.jupyter}/share/jupyter/kernels/{name}"
    assert json.loads(done.stdout) == {"name": name, "directory": directory}, done
    return directory


class Kernel:
    """One that jupyter_client has started, and a client of it."""

    def __init__(self, session, name, *arguments):
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import KernelManager

        kernelspec(session, name, *arguments)
        self.session = session
        specs = KernelSpecManager(kernel_dirs=[f"{session.jupyter}/share/jupyter/kernels"], ensure_native_kernel=False)
        self.manager = KernelManager(kernel_name=name, kernel_spec_manager=specs, connection_file=f"{session.scratch}/kernel-{name}.json",
                                     shutdown_wait_time=2 * PATIENCE * procs.SLACK)  # so that it is never killed for being slow

    def __enter__(self):
        self.log = open(f"{self.session.scratch}/kernel.log", "w+", encoding="utf-8")
        self.manager.start_kernel(stdout=self.log, stderr=self.log, env=moatd.clean_environment(CONTROL_PLANE_SECRET=SECRET))
        try:
            self.meet()
        except Exception as error:
            self.log.seek(0)
            said = self.log.read()
            self.__exit__()
            raise AssertionError(f"{error}: {said}") from error
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)
        self.log.close()

    def meet(self):
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE * procs.SLACK)

    def again(self, now):
        self.client.stop_channels()  # what the kernel before has answered is not to be taken for this one's
        self.manager.restart_kernel(now=now)
        self.meet()

    def run(self, code):
        return run(self.client, code)

    def launcher(self):
        return self.manager.provisioner.process

    def exec_id(self):
        """Of the command that the kernel is."""
        return next(each["id"] for each in self.session.api.get("/v1/processes")["processes"]
                    if each["state"] == "running" and "ipykernel_launcher" in " ".join(each["argv"] or ()))


class Served:
    """One that the server has started, and a client that has its key from the server's own file."""

    def __init__(self, session, name, *arguments):
        kernelspec(session, name, *arguments)
        self.number = serve("POST", "/api/kernels", {"name": name})["id"]
        (self.file,) = glob.glob(f"{session.agent.state_dir}/services/jupyter/home/.local/share/jupyter/runtime/kernel-{self.number}.json")

    def __enter__(self):
        from jupyter_client import BlockingKernelClient

        procs.wait_until(lambda: serve("GET", f"/api/kernels/{self.number}")["execution_state"] in ("idle", "starting"), PATIENCE, "it is there")
        procs.wait_until(lambda: self.met(BlockingKernelClient), PATIENCE * procs.SLACK, "it answers")
        return self

    def met(self, kind):
        self.client = kind(connection_file=self.file)
        self.client.load_connection_file()
        self.client.start_channels()
        try:
            self.client.wait_for_ready(timeout=PATIENCE * procs.SLACK)
        except RuntimeError:  # its heart does not beat yet
            self.client.stop_channels()
            return False
        return True

    def restart(self):
        kind = type(self.client)
        self.client.stop_channels()
        serve("POST", f"/api/kernels/{self.number}/restart")
        procs.wait_until(lambda: self.met(kind), PATIENCE * procs.SLACK, "it is back")

    def __exit__(self, *_):
        self.client.stop_channels()
        serve("DELETE", f"/api/kernels/{self.number}")

    def run(self, code):
        return run(self.client, code)

    def ports(self):
        return [self.client.get_connection_info()[f"{each}_port"] for each in ("shell", "iopub", "stdin", "control", "hb")]


def serve(method, path, body=None):
    """A request to the real server."""
    request = urllib.request.Request(f"http://127.0.0.1:{JUPYTER_PORT}{path}", method=method, data=body and json.dumps(body).encode(),
                                     headers={"Authorization": f"token {SECRET}"})
    with urllib.request.urlopen(request, timeout=300) as reply:
        answer = reply.read()
    return json.loads(answer) if answer else None


def run(client, code):
    """What a cell writes; of an error its name, of a result its text."""
    said = []

    def on_output(message):
        content = message["content"]
        said.append({"stream": lambda: content["text"], "error": lambda: content["ename"],
                     "execute_result": lambda: content["data"]["text/plain"]}.get(message["msg_type"], str)())

    client.execute_interactive(code, store_history=False, timeout=PATIENCE * procs.SLACK, output_hook=on_output)
    return "".join(said)


def need_kernels(session):
    if not places.ipykernel():
        session.missing("ipykernel is not installed: make deps-test")


@test("a kernelspec is written as Jupyter reads it, over the one before; what could not be started is refused", needs=("moat",))
def written(session):
    directory = kernelspec(session, "other.kernel-1", "-c", "plain", "--display-name", "Other", "--language", "R", "--",
                           "/usr/bin/R", "--args={connection_file}")
    directory = kernelspec(session, "other.kernel-1", "-c", "plain", "-C", "/srv", "--display-name", "Ändere", "--language", "R", "--",
                           "/usr/bin/R", "-e", "main('{connection_file}')")
    with open(f"{directory}/kernel.json", encoding="utf-8") as file:
        spec = json.load(file)
    assert os.listdir(directory) == ["kernel.json"] and os.stat(f"{directory}/kernel.json").st_mode & 0o777 == 0o644
    assert spec == {"argv": [f"{session.build}/moat", "exec", "--socket", session.agent.socket, "--context", "plain", "--directory", "/srv",
                             "--secure", "--interrupts", "--stdin-file", "{connection_file}", "--",
                             "/usr/bin/R", "-e", "main('/proc/self/fd/0')"],
                    "display_name": "Ändere", "language": "R", "interrupt_mode": "signal"}, spec
    shared = kernelspec(session, "shared", "--no-isolation")
    with open(f"{shared}/kernel.json", encoding="utf-8") as file:
        argv = json.load(file)["argv"]
    assert "--no-isolation" in argv and "--secure" not in argv and argv[-5:] == ["python3", "-m", "ipykernel_launcher", "-f",
                                                                                 "/proc/self/fd/0"], argv
    for name, more, word in (("../up", (), "a name is of"), (".hidden", (), "a name is of"), ("x", ("--prefix", "relative"), "absolute"),
                             ("x", ("--", "python3"), "{connection_file}")):
        done = install(session, name, *more)
        assert done.returncode == 125 and json.loads(done.stderr)["code"] == "USAGE" and word in done.stderr, (name, done)
    assert not os.path.exists(f"{session.jupyter}/share/jupyter/kernels/x")
    done = install(session, "x", "--prefix", "/dev/null")
    assert done.returncode == 125 and "cannot write /dev/null/share/jupyter/kernels/x/kernel.json: Not a directory" in done.stderr, done


@test("a kernel runs cells in its context, has nothing of the server's environment, and its connection lies in no directory",
      needs=("moat",), timeout=PATIENCE)
def execute(session):
    need_kernels(session)
    with Kernel(session, "one", "-c", "plain") as kernel:
        assert kernel.run("print('out'); 1 + 1") == "out\n2"
        assert kernel.run("import os; print(os.getcwd(), os.environ['GREETING'])") == "/usr hello\n"
        assert kernel.run("[name for name in os.environ if name in ('CONTROL_PLANE_SECRET', 'JPY_PARENT_PID')]") == "[]"
        assert kernel.run("import subprocess; subprocess.run('cat', capture_output=True).stdout") == "b''", "standard input is empty"
        assert kernel.run("from ipykernel import get_connection_file; get_connection_file()") == "'/proc/self/fd/0'"
        assert kernel.run("import sys; sys.stderr.write('x' * 100000)").startswith("x" * 100000)
        assert kernel.run("1 / 0") == "ZeroDivisionError"


@test("each interrupt stops a cell and none the kernel, whose children it reaches as well", needs=("moat",), timeout=PATIENCE)
def interrupt(session):
    need_kernels(session)
    with Kernel(session, "one", "-c", "plain") as kernel:
        before = kernel.run("import os, subprocess, time; os.getpid()")
        for cell in ("print('on', flush=True); time.sleep(10000)", "print('on', flush=True); subprocess.run(['sleep', '86472'])") * 2:
            said = []

            def on_output(message, said=said):
                said.append(message["content"].get("ename"))
                if message["msg_type"] == "stream":
                    kernel.manager.interrupt_kernel()

            kernel.client.execute_interactive(cell, timeout=PATIENCE * procs.SLACK, output_hook=on_output)
            assert "KeyboardInterrupt" in said, (cell, said)
        assert kernel.run("os.getpid()") == before
        assert "86472" not in kernel.run("print(subprocess.run(['ps', 'ax'], capture_output=True, text=True).stdout)")


@test("a kernel is restarted on the same ports, asked or by SIGKILL of its launcher, and nothing of the one before goes on",
      needs=("moat",), timeout=2 * PATIENCE)
def restart(session):
    need_kernels(session)
    with Kernel(session, "one", "-c", "plain") as kernel:
        with open(kernel.manager.connection_file, encoding="ascii") as file:
            ports = file.read()
        kernel.run("import subprocess; child = subprocess.Popen(['sleep', '86473'], start_new_session=True)")
        for now in (True, False):
            first, launcher = kernel.exec_id(), kernel.launcher().pid
            assert kernel.run("x = 1; x") == "1"
            kernel.again(now)
            assert kernel.run("x") == "NameError"
            assert kernel.launcher().pid != launcher and kernel.exec_id() != first
            assert gone(session, first)["signal"] == ("SIGKILL" if now else None)
            assert not procs.with_argument("86473")
        with open(kernel.manager.connection_file, encoding="ascii") as file:
            assert json.load(file)["shell_port"] == json.loads(ports)["shell_port"]


def gone(session, identifier):
    """Of a command, when nothing of it runs any more."""
    return procs.wait_until(lambda: (each := session.api.process(identifier))["state"] == "ended" and each, 30 * procs.SLACK, "it has ended")


@test("a kernel that is shut down, ends itself or is killed by a cell is seen to be dead by who started it, and can be started again", needs=("moat",), timeout=2 * PATIENCE)
def ends(session):
    need_kernels(session)
    with Kernel(session, "one", "-c", "plain") as kernel:
        for cell, status in (("import os; os._exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)):
            identifier, launcher = kernel.exec_id(), kernel.launcher()
            assert kernel.manager.is_alive()
            kernel.client.execute(cell)
            procs.wait_until(lambda: not kernel.manager.is_alive(), PATIENCE * procs.SLACK, f"{cell}: it is dead")
            assert launcher.wait(10) == status and gone(session, identifier), (cell, launcher.returncode)
            kernel.again(now=True)
        identifier, launcher, path = kernel.exec_id(), kernel.launcher(), kernel.manager.connection_file
        kernel.manager.shutdown_kernel()
        ended = gone(session, identifier)
        assert (launcher.wait(10), ended["exitCode"], os.path.exists(path)) == (0, 0, False), (launcher.returncode, ended, os.path.exists(path))


@test("the real server starts a kernel, interrupts, restarts and ends it, with its launcher among the control plane's processes and the kernel "
      "among the context's", needs=("moat", "jupyter"), timeout=2 * PATIENCE)
def served(session):
    need_kernels(session)
    with Served(session, "moat", "-c", "plain") as kernel:
        assert kernel.run("import os, time; os.environ['GREETING']") == "'hello'"
        command = next(each for each in session.api.get("/v1/processes")["processes"] if "ipykernel_launcher" in " ".join(each["argv"] or ()))
        assert (command["context"], command["namespace"]) == ("plain", "secure"), command
        launcher = next(pid for pid in procs.with_argument("--stdin-file") if procs.parent(pid) == session.agent.service("jupyter")["pid"])
        assert procs.cgroup(launcher) == procs.cgroup(session.agent.service("jupyter")["pid"])
        assert kernel.client.get_connection_info()["key"].decode() not in procs.environ(launcher).decode()

        def on_output(message):
            if message["msg_type"] == "stream":
                serve("POST", f"/api/kernels/{kernel.number}/interrupt")

        reply = kernel.client.execute_interactive("print(1, flush=True); time.sleep(10000)", timeout=PATIENCE * procs.SLACK, output_hook=on_output)
        assert reply["content"]["ename"] == "KeyboardInterrupt", reply
        kernel.restart()
        assert kernel.run("os") == "NameError" and gone(session, command["id"])
    assert not procs.with_argument("ipykernel_launcher") and not os.path.exists(kernel.file)


@test("a server that is configured as moat.conf(5) says starts no kernel but moat's and no terminal", needs=("moat", "jupyter"), timeout=PATIENCE)
def alone(session):
    kernelspec(session, "moat")
    kernelspec(session, "other")
    assert set(serve("GET", "/api/kernelspecs")["kernelspecs"]) == {"moat"} and serve("GET", "/api/kernelspecs")["default"] == "moat"
    for path, body in (("/api/kernels", {"name": "python3"}), ("/api/kernels", {"name": "other"}), ("/api/terminals", {})):
        try:
            raise AssertionError(serve("POST", path, body))
        except urllib.error.HTTPError as error:
            assert error.code in (404, 500), (path, body, error)
    assert not procs.with_argument("ipykernel_launcher") and serve("GET", "/api/kernels") == []
    with open(f"{places.SOURCE}/userspace/man/moat.conf.5", encoding="utf-8") as file, \
            open(f"{places.CONTROL_PLANE}/jupyter/jupyter_server_config.py", encoding="ascii") as used:
        assert used.read() in file.read(), "the manual has what is tested here"
