# SPDX-License-Identifier: Apache-2.0
"""
Where the kernel takes no LSM programs, programs of user code's cgroup guard the ports of services, and the counters, records, pins
and the take-over are those of the others. What the two have in common is test_ports'.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys

from lib import attempts, leaks, moatd, places, privileges, procs
from lib.session import HTTP_PORT, SPARE_PORT, ports
from lib.tap import test

# Both sets of capabilities, with a PID namespace of its own and without; and without the filter of system calls, which
# refuses some of it before these programs are asked.
ALL = {"capabilities": "all", "no_new_privs": False}
CONTEXTS = {"loose": {}, "loose-full": ALL, "loose-modest": {"pid": "shared"}, "loose-shared": {"pid": "shared", **ALL}}
# Ways that only the LSM's programs see.
OTHER = {"reach_packet", "reach_smc", "bind_own_netns", "bind_any_port"}
# Answers that differ from theirs: there is no such socket (NOT_HERE), or the attempt gets as far as the port.
OWN_ANSWERS = {"bind_tcp4_foreign": ("EADDRINUSE", "ok"),
               **dict.fromkeys(("bind_udplite", "bind_sctp", "bind_sctp_bindx", "reach_sctp", "reach_sctp_connectx"), ("NOT_HERE", "NOT_HERE"))}
PORT, OWN_PORT = ports(45471, 45473)


@contextlib.contextmanager
def made(session, *names):
    try:
        for name in names:
            answer = session.api.request("POST", "/v1/contexts", {"name": name, "seccomp": "off", **CONTEXTS[name]})
            assert answer.status in (200, 201), answer
        yield
    finally:
        for name in names:
            session.api.request("DELETE", f"/v1/contexts/{name}")


def guarded(session):
    session.require(session.guarded_by_cgroup, "LSM programs guard ports here")


def techniques(session):
    return [each for each in attempts.table(places.attempt(session.build))
            if each.group in ("ports", "service") and each.name not in OTHER and
            each.name.startswith(("bind_", "reach_", "listen_", "connect_", "compat_")) and not each.name.startswith("bind_device")]


def without_moat(session, context, names):
    """The same attempts on a port of nobody's, by a process that is not user code, with the privileges of the context's commands."""
    level = privileges.of_context(session, context)
    known = session.memory.setdefault("ports without moat", {})
    if level.key not in known:
        known[level.key] = attempts.run(places.attempt(session.build), "--fresh", "--port", str(OWN_PORT), *names, become=level)
    return known[level.key]


@test("every way to bind a service's port, and to reach it, is refused with its errno from either PID namespace and with either set of "
      "capabilities, works on a port of nobody's, and works without moat", needs=("ports", "http"), timeout=120)
def every_way(session):
    guarded(session)
    cases, wrong = techniques(session), []
    contexts = list(CONTEXTS)[::3] if session.vm else list(CONTEXTS)  # in a machine each of both once: its time is short
    with made(session, *contexts):
        for context in contexts:
            wrong += wrong_answers(session, context, cases)
    assert not wrong, "\n".join(wrong)


def wrong_answers(session, context, cases):
    wrong = []
    names = [each.name for each in cases]
    assert {"bind_tcp4", "bind_reuseport", "bind_io_uring", "listen_autobind", "reach_tcp6_mapped", "reach_udp_sendto", "reach_fastopen"} <= set(names)
    service = session.attempts(context, session.target_arguments(session.agent.service("http")["pid"]), *names)
    own = session.attempts(context, ["--fresh", "--port", str(OWN_PORT)], *names)
    alone = without_moat(session, context, names)
    for each in cases:
        expected = OWN_ANSWERS.get(each.name, (each.seen, each.own))
        got = (service[each.name], own[each.name])
        if alone[each.name] == attempts.NOT_HERE:
            expected = (attempts.NOT_HERE, attempts.NOT_HERE)
        elif not each.never and each.name != "reach_raw" and alone[each.name] != "ok":
            wrong.append(f"{context}: {each.name} without moat: {alone[each.name]}")
        if got != expected:
            wrong.append(f"{context}: {each.name}: {got}, {expected} was expected")
    return wrong


SOCKETS = """
import errno, socket, sys
for kind, protocol in ((1, 6), (1, 262), (2, 17), (2, 1), (3, 1), (1, 132), (2, 136), (2, 115), (3, 255), (3, 6)):
    try:
        socket.socket(socket.AF_INET, kind, protocol).close()
        print("ok", end=" ")
    except OSError as error:
        print(errno.errorcode[error.errno], end=" ")
"""


@test("of the Internet's sockets user code makes those that are judged: TCP, MPTCP, UDP and ping; no other protocol, and raw ones not at all; in a "
      "network namespace of its own all", needs=("ports",))
def sockets(session):
    guarded(session)
    ours = "ok ok ok ok ok EPROTONOSUPPORT EPROTONOSUPPORT EPROTONOSUPPORT EPERM EPERM"
    with made(session, "loose-full"):
        assert session.exec(places.PYTHON, "-c", SOCKETS, context="loose-full").out.split() == ours.split()
        own = session.exec("/usr/bin/unshare", "--net", places.PYTHON, "-c", SOCKETS, context="loose-full").out.split()
    assert own[-2:] == ["ok", "ok"], own


REACH = "import socket; print(socket.create_connection(('127.0.0.1', {}), 20).getpeername()[1])"


@test("a port that the configuration opens is reached by user code, which still cannot bind it; the others are reached by who is not user code",
      needs=("ports", "http"), timeout=60)
def opened(session):
    guarded(session)
    with agent_of_its_own(session, "opened", f"command = {places.PYTHON} -m http.server {PORT}\nport = {PORT}\nready = tcp:{PORT}\nreachable = yes\n") as agent:
        agent.wait_ready("web", 30)
        reached = agent.api().exec(places.PYTHON, "-c", REACH.format(PORT))
        assert reached.out == f"{PORT}\n", reached
        taken = agent.api().exec("nc", "-l", "127.0.0.1", str(PORT))
        assert taken.exit and "in use" in taken.err, taken
    refused = session.exec(places.PYTHON, "-c", REACH.format(HTTP_PORT))
    assert "Connection refused" in refused.err, refused
    assert session.health()["pid"] == session.agent.service("http")["pid"]


@test("each denial is counted and recorded with hook, errno, context, exec and port", needs=("ports", "http"))
def recorded(session):
    guarded(session)
    before = {each["hook"]: each["denied"] for each in session.api.get("/v1/status")["hooks"]}
    result = session.exec("nc", "-l", "127.0.0.1", str(SPARE_PORT), context="modest")
    assert result.exit and "in use" in result.err, result
    after = {each["hook"]: each["denied"] for each in session.api.get("/v1/status")["hooks"]}
    assert after["cgroup_bind4"] > before["cgroup_bind4"]

    def record():
        with open(session.audit_log, encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        return next((each for each in records if each["type"] == "denial" and each["subject"]["exec"] == result.id), None)
    found = procs.wait_until(record, 20, "it is recorded")
    assert (found["hook"], found["surface"], found["errno"], found["verdict"]) == ("cgroup_bind4", "ports", "EADDRINUSE", "denied"), found
    assert found["subject"]["contextName"] == "modest" and found["subject"]["comm"] == "nc", found
    assert found["object"] == {"kind": "port", "value": SPARE_PORT}, found


LEAVE = """
import ctypes, errno, os, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
top = next(line.split()[4] for line in open("/proc/self/mountinfo") if line.split(" - ")[1].startswith("cgroup2"))
for place in ("", "/user", "/control", "/control/service-http"):
    try:
        directory = os.open(top + place, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        print(place or "/", errno.errorcode[error.errno])
        continue
    arguments = struct.pack("=11Q", 0x200000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, directory)
    pid = libc.syscall(435, arguments, len(arguments))
    if pid == 0:
        for make in (lambda s: s.bind(("127.0.0.1", int(sys.argv[1]))), lambda s: s.connect(("127.0.0.1", int(sys.argv[2])))):
            try:
                with socket.socket() as each:
                    make(each)
                answer = "ok"
            except OSError as error:
                answer = errno.errorcode[error.errno]
            os.write(1, f"{place or '/'} {answer}\\n".encode())
        os._exit(0)
    if pid < 0:
        print(place or "/", errno.errorcode[ctypes.get_errno()], flush=True)
    else:
        os.waitpid(pid, 0)
"""


@test("user code that starts a process in a cgroup above its own has left no rule behind: it binds and reaches no port of a service from there, "
      "and into the control plane's cgroups there is no way", needs=("ports", "http"))
def leaving(session):
    guarded(session)
    for context in ("loose", "loose-modest"):
        with made(session, context):
            result = session.exec(places.PYTHON, "-c", LEAVE, str(SPARE_PORT), str(HTTP_PORT), context=context)
        answers = [line.split() for line in result.out.splitlines()]
        assert {place for place, _ in answers} == {"/", "/user", "/control", "/control/service-http"}, result
        refused = {"/": {"EPERM", "EBUSY"}, "/user": {"EADDRINUSE", "ECONNREFUSED", "EBUSY"}, "/control": {"EBADF"}, "/control/service-http": {"ENOENT"}}
        assert all(answer in refused[place] for place, answer in answers), (context, result)


# A cgroup2 of one's own, where one may mount; else the handles of the cgroups that are there, where one may open by handle. Then
# as a process in the cgroup of the service. Prints what the port of the service is then answered.
ENTER = """
import ctypes, errno, os, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
service, port = sys.argv[1], int(sys.argv[2])
top = next(line.split()[4] for line in open("/proc/self/mountinfo") if line.split(" - ")[1].startswith("cgroup2"))
def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def by_mount():
    os.makedirs("/tmp/cgroup-of-my-own", exist_ok=True)
    checked(libc.mount(b"cgroup2", b"/tmp/cgroup-of-my-own", b"cgroup2", 0, None))
    with open(f"/tmp/cgroup-of-my-own/control/{service}/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
def by_handle():
    handle = struct.pack("=IIQ", 8, 0xfe, int(sys.argv[3]))  # FILEID_KERNFS
    directory = checked(libc.open_by_handle_at(os.open(top, os.O_RDONLY), handle, os.O_RDONLY))
    arguments = struct.pack("=11Q", 0x200000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, directory)
    pid = checked(libc.syscall(435, arguments, len(arguments)))
    if pid:
        os.waitpid(pid, 0)
        os._exit(0)
for way in (by_mount, by_handle):
    try:
        way()
        with socket.socket() as each:
            each.bind(("127.0.0.1", port))
        print(way.__name__, "ok", flush=True)
    except OSError as error:
        print(way.__name__, errno.errorcode[error.errno], flush=True)
"""


@test("into the cgroup of a service no user code gets with CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE and CAP_SYS_PTRACE; "
      "with CAP_SYS_ADMIN, and by handle where system calls are not filtered, it does, as THREATS.md and the status say", needs=("ports", "http"))
def entering(session):
    guarded(session)
    pid = session.agent.service("http")["pid"]
    path = procs.cgroup(pid)
    number = os.stat(f"{leaks.cgroup_roots()[0]}{path}").st_ino
    more = {"capabilities": "cap_dac_override cap_dac_read_search cap_sys_ptrace cap_net_raw cap_setuid cap_chown"}
    for settings, mounted, opened, held in ((more, "EPERM", "EPERM", True), ({**more, "seccomp": "off"}, "EPERM", "ok", False), (ALL, "ok", "EPERM", False)):
        answer = session.api.request("POST", "/v1/contexts", {"name": "entering", **settings})
        assert answer.status in (200, 201), answer
        try:
            result = session.exec(places.PYTHON, "-c", ENTER, path.rpartition("/")[2], str(SPARE_PORT), str(number), context="entering")
            a3 = next(each for each in session.api.get("/v1/status")["requirements"] if each["id"] == "A3")
        finally:
            session.api.request("DELETE", "/v1/contexts/entering")
        assert result.out.split() == ["by_mount", mounted, "by_handle", opened], (settings, result)
        assert ("entering" in a3["notFor"]) != held, (settings, a3)


@test("who gets where moat-inits and what commands are cloned from are makes no socket of the Internet's there, others do; a service does in its own cgroup",
      needs=("ports", "http"))
def among_inits(session):
    guarded(session)
    code = ("import errno, socket, sys\nopen(sys.argv[1] + '/cgroup.procs', 'w').write('0')\nfor family in (socket.AF_INET, socket.AF_INET6, "
            "socket.AF_UNIX):\n    try:\n        socket.socket(family)\n        print('ok')\n    except OSError as error:\n        "
            "print(errno.errorcode[error.errno])")
    inside = next(each["pid"] for each in session.api.get("/v1/status")["namespaces"] if each["name"] == "user")
    for pid, answers in ((inside, ["EPERM", "EPERM", "ok"]), (session.agent.service("http")["pid"], ["ok"] * 3)):
        place = f"{leaks.cgroup_roots()[0]}{procs.cgroup(pid)}"
        done = subprocess.run([places.PYTHON, "-c", code, place], capture_output=True, text=True, check=False)
        assert done.stdout.split() == answers, (place, done)


@test("the benchmark of guarded ports has a number for every operation", needs=("ports",), timeout=60)
def bench(session):
    guarded(session)
    done = subprocess.run([sys.executable, f"{places.SOURCE}/tests/bench/ports", "--build", session.build, "--rounds", "2", "--slice", "0.5", "--json"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    for operation, each in json.loads(done.stdout).items():
        assert set(each["us"]) == {"guarded", "free", "again"} and each["ratio"] > 0, (operation, each)


@test("the status says that the cgroup guards ports, which are guarded then, and that nothing guards the rest", needs=("ports", "http"))
def status(session):
    guarded(session)
    got = session.api.get("/v1/status")
    assert not got["enforcement"]["active"] and got["layers"]["cgroup"]["state"] == "active", got["layers"]
    assert "ports" not in got["notEnforced"] and {"reach", "signals", "files"} <= set(got["notEnforced"]), got["notEnforced"]
    access = {(each["protocol"], each.get("port")): each["access"] for each in got["listening"]}
    assert access["tcp", HTTP_PORT] == "guarded", got["listening"]
    assert {each["access"] for each in got["listening"] if each["protocol"] == "unix"} <= {"not guarded", "reachable"}, got["listening"]


@contextlib.contextmanager
def agent_of_its_own(session, name, service=f"command = /bin/sleep 1000000\nport = {PORT}\n"):
    agent = moatd.Moatd(session.build, f"{name}-{os.getpid()}",
                        f"[service web]\n{service}[context shared]\npid = shared\ncapabilities = all\n", "best-effort")
    try:
        agent.start(60 * session.patience)
        yield agent
    finally:
        agent.kill()
        agent.remove_files()


def bpftool(*arguments):
    done = subprocess.run(["/usr/sbin/bpftool", "-j", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def denied(agent, hook="cgroup_bind4"):
    return next(each["denied"] for each in agent.api().get("/v1/status")["hooks"] if each["hook"] == hook)


def check_refused(agent, context="shared"):
    result = agent.api().exec("nc", "-l", "127.0.0.1", str(PORT), context=context)
    assert result.exit and "in use" in result.err, result


@test("the programs, their links and maps are pinned, bpftool reads them, an agent after one that was killed takes the counts over and guards "
      "the same ports, and nothing of them stays when it ends", needs=("ports",), timeout=60)
def life(session):
    guarded(session)
    names = {f"moat_{hook}" for hook, _, _ in places.hooks("CGROUP")} | {"moat_cgroup_astray"}
    with agent_of_its_own(session, "guard-life") as agent:
        pins = f"/sys/fs/bpf/moat/{agent.instance}"
        assert set(os.listdir(f"{pins}/programs")) == set(os.listdir(f"{pins}/links")) == names
        ports = [each["formatted"]["key"]["port"] for each in bpftool("map", "dump", "pinned", f"{pins}/maps/ports")]
        assert ports == [PORT], ports
        assert bpftool("link", "show", "pinned", f"{pins}/links/moat_cgroup_bind4")["type"] == "cgroup"
        check_refused(agent)
        before = denied(agent)
        agent.unlink_alias()
        os.kill(agent.pid, signal.SIGKILL)
        agent.process.wait()
        assert set(os.listdir(f"{pins}/programs")) == names
        agent.start(60 * session.patience)
        assert denied(agent) >= before > 0
        check_refused(agent)
        assert denied(agent) > before
        assert "taking over" in agent.log()
        status, left = agent.stop()
        assert (status, left) == (0, []), (status, left)
        assert not os.path.exists(pins)
