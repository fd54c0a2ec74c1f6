# SPDX-License-Identifier: Apache-2.0
"""
What user code may not even see: what the attempts of the group "hidden" do not show. They are about a tree that `hide` names;
these are about moat's own files, what becomes of them, and who does see them.
"""

import os
import pathlib
import re
import shutil
import signal
import tempfile

from lib import moatd, places, procs, unixhttp
from lib.tap import test

# Prints the errno's name of each call, or ok.
CALLS = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def answered(result):
    if result: raise OSError(ctypes.get_errno(), "")
def clone_newns():
    answered(libc.unshare(0x20000) or libc.mount(None, b"/", None, 0x44000, None))
def uncovered(path):
    clone_newns()
    while os.path.isabs(path) and libc.umount2(path.encode(), 2) == 0: pass
    os.close(os.open(path, os.O_RDONLY))
for word in sys.argv[1:]:
    call, _, path = word.partition("=")
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        continue
    try:
        {"read": lambda: os.close(os.open(path, os.O_RDONLY)), "stat": lambda: os.stat(path), "list": lambda: os.listdir(path),
         "uncovered": lambda: uncovered(path), "umount": lambda: answered(libc.umount2(path.encode(), 0)),
         "umount_root": lambda: (clone_newns(), answered(libc.umount2(b"/", 0))),
         "rename": lambda: os.rename(path, path + ".moved"), "link": lambda: os.link(path, path + ".link"),
         "write": lambda: os.close(os.open(path, os.O_WRONLY)), "make": lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY))}[call]()
        print("ok", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
    os._exit(0)
"""


def answers(session, *calls, context="full"):
    result = session.exec(places.PYTHON, "-c", CALLS, *calls, context=context, timeout=60 * session.patience)
    return result.out.split() or result.err


def each(session, calls, *paths, context="full"):
    return answers(session, *(f"{call}={path}" for path in paths for call in calls), context=context)


@test("moat's configuration, state directory and audit log are not there for user code, covered or not", needs=("moat", "lsm"))
def own_files(session):
    own = [session.agent.config, session.agent.state_dir, session.audit_log]
    for context in ("full", "shared", "sealed"):
        got = each(session, ("uncovered",), *own, context=context)
        assert got == ["ENOENT"] * len(own), (context, got)
    assert each(session, ("read", "stat"), "/etc/passwd", session.single) == ["ok"] * 4


@test("what the operator renames over the configuration, or makes in its place, is hidden as well", needs=("moat", "lsm"))
def replaced(session):
    config = session.agent.config
    shutil.copy(config, config + ".new")
    os.rename(config + ".new", config)
    assert each(session, ("uncovered",), config) == ["ENOENT"]
    os.rename(config, config + "~")
    assert each(session, ("uncovered",), config + "~") == ["ENOENT"]
    shutil.copy(config + "~", config)
    assert each(session, ("uncovered", "write"), config) == ["ENOENT"] * 2
    os.unlink(config + "~")


@test("what the control plane makes in a hidden directory is hidden, and gets out of sight of nobody else", needs=("moat", "lsm"))
def made_later(session):
    fresh, free = f"{session.hidden}/fresh", f"{os.path.dirname(session.hidden)}/free"
    for path in (fresh, free):
        with open(path, "w", encoding="ascii") as file:
            file.write("later\n")
    assert each(session, ("uncovered", "stat"), fresh, free) == ["ENOENT", "ENOENT", "ok", "ok"]
    os.rename(fresh, fresh + ".2")
    assert each(session, ("stat",), fresh + ".2") == ["ENOENT"]
    os.unlink(fresh + ".2")


@test("umount2(/) of user code does not make the root file system read-only, in whatever mount namespace", needs=("moat", "lsm"))
def root_stays(session):
    assert answers(session, "umount=/", "umount_root=") == ["EPERM"] * 2
    with open(f"{session.scratch}/writable", "w", encoding="ascii") as file:
        file.write("still\n")


@test("a service sees what is hidden from user code but not moat's own files, and takes none of them elsewhere; it reaches the socket",
      needs=("moat", "lsm"), timeout=300)
def services(session):
    config = session.agent.config
    out = f"{session.scratch}/by-service"
    script = f"{session.scratch}/look.py"
    with open(script, "w", encoding="ascii") as file:
        file.write(CALLS + "\nimport socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(os.environ['SOCKET'])\nprint('connected', flush=True)\n")
    instance = f"hidden-{os.getpid()}"
    calls = [f"read={session.hidden}/file", f"stat={session.hidden}", f"list={session.hidden}", *(
        f"{call}={path}" for path in ("CONFIG", "STATE") for call in ("read", "rename")), "link=CONFIG"]
    state = f"/run/{instance}"
    command = f"/bin/sh -c '{places.PYTHON} {script} {' '.join(calls)} > {out} 2>&1; exec sleep 1000'"
    agent = moatd.Moatd(session.build, instance, "", "require")
    text = f"""hide = {session.hidden}

[service look]
command = {command.replace("CONFIG", agent.config).replace("STATE", state)}
env = SOCKET={state}/moat.sock
restart = no

[context seeing]
namespace = private
capabilities = all
no_new_privs = no
show = {session.hidden}

[context full]
capabilities = all
no_new_privs = no
"""
    with open(agent.config, "a", encoding="ascii") as file:
        file.write(text)
    assert config != agent.config
    try:
        agent.start(60 * session.patience)
        session.require(agent.running(), "a second agent")
        from lib import procs
        found = procs.wait_until(lambda: os.path.exists(out) and re.search("connected|Error", open(out, encoding="ascii").read())
                                 and open(out, encoding="ascii").read().split(), 60 * session.patience, "the service's answers")
        assert found == ["ok"] * 3 + ["ENOENT"] * 5 + ["connected"], found
        api = agent.api()
        for context, wanted in (("seeing", ["ok", "ok", "EPERM"]), ("full", ["ENOENT"] * 3)):
            words = [f"{call}={session.hidden}/file" for call in ("read", "stat", "write")]
            got = api.exec(places.PYTHON, "-c", CALLS, *words, context=context, timeout=60 * session.patience).out.split()
            assert got == wanted, (context, got)
        agent.stop()
    finally:
        agent.kill()
        agent.remove_files()


@test("where only covers hide, no command starts in a namespace that is made again while something hidden is away: it would be in sight "
      "when it comes back; then all is as before", needs=(), timeout=120)
def missing(session):
    session.require(not session.vm, "there the kernel hides it by its name, whether or not it is there")
    with tempfile.TemporaryDirectory(prefix="moat-test-") as directory:
        path = f"{directory}/key"
        pathlib.Path(path).write_text("secret\n", encoding="ascii")
        agent = moatd.Moatd(session.build, f"itest-missing-{os.getpid()}",
                            f"hide = {path}\n[service s]\ncommand = /bin/sleep 1000000\n", "best-effort")
        try:
            agent.start(60 * procs.SLACK)
            assert agent.api().exec("/bin/cat", path).out == ""
            os.rename(path, path + ".away")
            spaces = {each["name"]: each["pid"] for each in agent.api().get("/v1/status")["namespaces"]}
            os.kill(spaces["user"], signal.SIGKILL)
            procs.wait_until(lambda: f"{path} is to be hidden and is not there" in agent.log(), 20, "it is said")
            try:
                found = agent.api().exec("/bin/echo", "on").out
            except unixhttp.Refused as error:
                found = error.code
            assert found == "NAMESPACE_LOST", found
            os.rename(path + ".away", path)

            def works():
                try:
                    return agent.api().exec("/bin/echo", "on").out == "on\n"
                except unixhttp.Refused:
                    return False
            procs.wait_until(works, 20, "the namespace is back")
            assert agent.api().exec("/bin/cat", path).out == ""
        finally:
            agent.stop()
            agent.remove_files()
