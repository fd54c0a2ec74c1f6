# SPDX-License-Identifier: Apache-2.0
"""
The mode at run time: the control plane switches between enforcing and mere recording, nobody else does. Every test here leaves
the agent enforcing, also when it fails.
"""

import contextlib
import json
import os

import test_cli
from lib import attempts, exposition, places, privileges
from lib.tap import test


def put(session, body):
    return session.api.request("PUT", "/v1/mode", body)


def mode(session):
    return session.api.get("/v1/mode")["mode"]


@contextlib.contextmanager
def auditing(session):
    try:
        reply = put(session, {"mode": "audit"})
        assert reply.status == 200 and reply.json == {"mode": "audit", "previous": "enforce"}, reply
        yield
    finally:
        reply = put(session, {"mode": "enforce"})
        assert reply.status == 200 and reply.json["mode"] == mode(session) == "enforce", reply


def records(session, since=0):
    body = session.api.request("GET", f"/v1/events?since={since}").body.decode()
    return [json.loads(line) for line in body.splitlines()]


def last_record(session):
    return max((each.get("seq", 0) for each in records(session)), default=0)


def counted(session, hook):
    return next(each for each in session.api.get("/v1/status")["hooks"] if each["hook"] == hook)


def kill_0(session):
    """User code, in the PID namespace of the control plane, asks whether it may signal the service."""
    return session.attempts("shared", ["--pid", str(session.agent.service("spare")["pid"])], "kill_0")["kill_0"]


@test("the mode is that of /v1/status; setting it again is no switch; where nothing is enforced there is none to set", needs=("moat",))
def current(session):
    status = session.api.get("/v1/status")["enforcement"]
    assert mode(session) == status["mode"]
    reply, since = put(session, {"mode": "enforce"}), last_record(session)
    if status["active"]:
        assert reply.status == 200 and reply.json == {"mode": "enforce", "previous": "enforce"}, reply
    else:
        assert mode(session) == "off" and reply.status == 409 and reply.json["code"] == "ENFORCEMENT_INACTIVE", reply
    assert not [each for each in records(session, since) if each["type"] == "mode"]


@test("audit lets an attack succeed, counts it as would-deny and records it as not enforced; enforce refuses it again",
      needs=("moat", "lsm", "http"), timeout=60)
def switched(session):
    assert kill_0(session) == "EPERM"
    before, since = counted(session, "task_kill"), last_record(session)
    with auditing(session):
        assert kill_0(session) == "ok"
        status = session.api.get("/v1/status")
        assert status["enforcement"]["mode"] == "audit" and "signals" in status["notEnforced"], status["enforcement"]
        found = exposition.parse(session.api.request("GET", "/metrics").body.decode())
        assert exposition.value(found, "moat_enforcing") == 0 and exposition.value(found, "moat_mode", mode="audit") == 1
        after = counted(session, "task_kill")
    assert after["wouldDeny"] > before["wouldDeny"] and after["denied"] == before["denied"], (before, after)
    record = next(each for each in records(session, since) if each.get("hook") == "task_kill")
    assert record["verdict"] == "would-deny" and record["object"] == {"kind": "task", "value": session.agent.service("spare")["pid"]}, record
    assert kill_0(session) == "EPERM"
    assert counted(session, "task_kill")["denied"] > after["denied"]
    assert not session.api.get("/v1/status")["notEnforced"]


# By surface: one technique that harms nothing where it succeeds, and the hook that refuses it. Attacker and service are in the
# same PID namespace, so that the hook is asked.
SURFACES = {
    "signals": ("kill_0", "task_kill"), "control": ("getsid", "task_getsid"), "proc": ("proc_environ", "ptrace_access_check"),
    "mounts": ("mount_proc", "sb_kern_mount"), "files": ("file_write", "file_open"), "ports": ("bind_tcp4", "socket_bind"),
    "reach": ("reach_tcp4", "socket_connect"), "self": ("bpf_prog_ids", "bpf"),
}


class Round:
    """All of them once, as user code: what each answered, and by how much the counters of its hook rose."""

    def __init__(self, session, arguments, names):
        before = {each["hook"]: each for each in session.api.get("/v1/status")["hooks"]}
        self.answers = session.attempts("shared", arguments, *names)
        after = {each["hook"]: each for each in session.api.get("/v1/status")["hooks"]}
        self.rose = {hook: {kind: after[hook][kind] - before[hook][kind] for kind in ("denied", "wouldDeny")} for hook in after}

    def check(self, answers, kind, other, instead=()):
        """instead: name -> another answer that is right"""
        given = {name: answers[name] if got == dict(instead).get(name) else got for name, got in self.answers.items()}
        assert given == answers, (self.answers, answers)
        for surface, (name, hook) in SURFACES.items():
            rose = self.rose[hook]
            assert rose[kind] > 0 and rose[other] == 0, f"{surface}: {name} was no {kind} of {hook}: {rose}"


@test("in audit mode one technique of each surface succeeds as without moat and is counted as would-deny of its hook; before and "
      "after it is refused with the documented errno", needs=("moat", "lsm", "http"), timeout=120)
def each_surface(session):
    assert set(SURFACES) == {surface for _, surface, _ in places.hooks()} - {"label"}
    assert all(surface == next(each[1] for each in places.hooks() if each[0] == hook) for surface, (_, hook) in SURFACES.items())
    program, names = places.attempt(session.build), [name for name, _ in SURFACES.values()]
    refused = {each.name: each.seen for each in attempts.table(program) if each.name in names}
    arguments = session.target_arguments(session.agent.service("spare")["pid"])
    alone = attempts.run(program, *arguments, *names, become=privileges.of_context(session, "shared"))
    assert alone == dict.fromkeys(names, "ok"), alone

    Round(session, arguments, names).check(refused, "denied", "wouldDeny")
    with auditing(session):
        Round(session, arguments, names).check(alone, "wouldDeny", "denied")
    # What was looked up while nothing was refused, the kernel goes on to find, and says EPERM (proc_pid_permission()).
    Round(session, arguments, names).check(refused, "denied", "wouldDeny", instead={"proc_environ": "EPERM"})


@test("each switch is a record of its own type that says who it was, and a warning where enforcement ends", needs=("moat", "lsm"))
def recorded(session):
    since, logged = last_record(session), session.agent.log().count("warning: mode audit")
    with auditing(session):
        pass
    found = [each for each in records(session, since) if each["type"] == "mode"]
    assert [(each["from"], each["to"]) for each in found] == [("enforce", "audit"), ("audit", "enforce")], found
    assert all(each["caller"] == {"pid": os.getpid(), "uid": 0} and "hook" not in each for each in found), found
    assert session.agent.log().count("warning: mode audit") == logged + 1
    shown = test_cli.moat(session, "events", "--since", str(since)).stdout
    assert f"mode audit, was enforce: by pid {os.getpid()}, uid 0" in shown, shown


@test("moat mode prints the mode, and switches it", needs=("moat", "lsm"))
def command(session):
    def run(*arguments):
        done = test_cli.moat(session, "mode", *arguments)
        return done.returncode, done.stdout
    try:
        assert run() == (0, "enforce\n")
        assert run("audit") == (0, "audit, was enforce\n") and mode(session) == "audit"
        assert json.loads(run("--json")[1]) == {"mode": "audit"}
        assert json.loads(run("enforce", "--json")[1]) == {"mode": "enforce", "previous": "audit"}
        assert run("off")[0] == run("audit", "enforce")[0] == 125 and mode(session) == "enforce"
    finally:
        put(session, {"mode": "enforce"})


def as_user(session, context, path, *arguments):
    return session.exec(os.path.join(session.build, "moat"), "mode", *arguments, "--socket", path, context=context)


@test("user code cannot switch: it finds no socket, and by another hard link of it the connection is refused", needs=("moat", "lsm"))
def not_by_user_code(session):
    control = test_cli.moat(session, "mode", "--socket", session.agent.alias)
    assert (control.returncode, control.stdout) == (0, "enforce\n"), control
    program = f"import socket; print(socket.socket(socket.AF_UNIX).connect_ex({session.agent.alias!r}))"
    for context in ("default", "full", "shared"):
        for path in (session.agent.socket, session.agent.alias):
            result = as_user(session, context, path, "audit")
            assert result.exit == 125 and "cannot reach the agent" in result.err, (context, path, result)
        assert session.exec(places.PYTHON, "-c", program, context=context).out == "1\n", context  # EPERM
    assert mode(session) == "enforce"


@test("also in audit mode, where the kernel lets it connect, user code is told FORBIDDEN and switches nothing", needs=("moat", "lsm"))
def not_in_audit_either(session):
    with auditing(session):
        for arguments in (("enforce",), ("audit",), ()):
            result = as_user(session, "shared", session.agent.alias, *arguments)
            assert result.exit == 125 and "FORBIDDEN" in result.err, result
        assert mode(session) == "audit"


MALFORMED = [
    (b"", "BAD_JSON"), (b"{", "BAD_JSON"), (b'"audit"', "BAD_JSON"), (b'{"mode": "audit"} x', "BAD_JSON"),
    (b'{"mode": "enforce", "mode": "audit"}', "BAD_JSON"), ({}, "MISSING_FIELD"), ({"mode": "off"}, "BAD_VALUE"),
    ({"mode": ""}, "BAD_VALUE"), ({"mode": "AUDIT"}, "BAD_VALUE"), ({"mode": "audit "}, "BAD_VALUE"), ({"mode": None}, "BAD_VALUE"),
    ({"mode": 1}, "BAD_VALUE"), ({"mode": ["audit"]}, "BAD_VALUE"), ({"mode": "audit", "force": True}, "UNKNOWN_FIELD"),
    ({"Mode": "audit"}, "UNKNOWN_FIELD"),
]


@test("nothing is switched by a request that is malformed, nor by another method", needs=("moat",))
def malformed(session):
    before, since = mode(session), last_record(session)
    for body, code in MALFORMED:
        reply = put(session, body)
        assert reply.status == 400 and reply.json["code"] == code, (body, reply)
    for method, path, code in (("POST", "/v1/mode", "METHOD_NOT_ALLOWED"), ("DELETE", "/v1/mode", "METHOD_NOT_ALLOWED"),
                               ("PUT", "/v1/mode?mode=audit", "UNKNOWN_FIELD"), ("PUT", "/v1/mode/audit", "NOT_FOUND")):
        reply = session.api.request(method, path, {"mode": "audit"})
        assert reply.status >= 400 and reply.json["code"] == code, (method, path, reply)
    assert mode(session) == before
    assert not [each for each in records(session, since) if each["type"] == "mode"]
