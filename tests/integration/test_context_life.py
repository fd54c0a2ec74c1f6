# SPDX-License-Identifier: Apache-2.0
"""Contexts that are made, changed and removed while the agent runs."""

import contextlib
import json
import os
import resource
import time
import urllib.parse

from lib import moatd, procs, unixhttp
from lib.tap import test
from lib.unixhttp import Refused


def call(session, method, path, body=None, status=200):
    """The answer, decoded; what is not of that status is Refused."""
    reply = session.api.request(method, path, body)
    if reply.status != status:
        raise Refused(reply)
    return reply.json


def place(name):
    return "/v1/contexts/" + urllib.parse.quote(name, safe="")


@contextlib.contextmanager
def made(session, name, **keys):
    try:
        yield call(session, "POST", "/v1/contexts", {"name": name, **keys}, 201)
    finally:
        session.api.request("DELETE", place(name))


def refused(session, method, path, body=None):
    """(HTTP status, code, field) of what has to be refused."""
    reply = session.api.request(method, path, body)
    assert reply.status >= 400, reply
    return reply.status, reply.json["code"], reply.json.get("details", {}).get("field")


def names(session):
    return [each["name"] for each in call(session, "GET", "/v1/contexts")["contexts"]]


@test("a context is made with the keys of the configuration, listed, read and used", needs=("moat",))
def create(session):
    keys = {"directory": "/usr", "env": {"GREETING": "hello", "BYTES": {"base64": "/w=="}}, "no_new_privs": True, "tmp": "private",
            "careful": False, "seccomp": "off", "shell": "never", "namespace": "user", "pid": "private", "capabilities": "cap_kill cap_chown", "pids_max": "infinity",
            "memory_max": "infinity", "cpu_max": "infinity", "home": "/usr/share"}
    with made(session, "made", **keys) as answer:
        assert answer["warnings"] == [] and answer["running"] == 0 and answer["state"] == "ready" and not answer["session"], answer
        got = call(session, "GET", "/v1/contexts/made")
        assert got["settings"] == {**keys, "workspace": None, "preset": [], "link": [], "capabilities": "cap_chown cap_kill"}, got
        assert "made" in names(session) and "default" in names(session)
        ran = session.exec("/bin/sh", "-c", "echo $GREETING $HOME; pwd; grep CapBnd /proc/self/status", context="made")
        assert ran.out == "hello /usr/share\n/usr\nCapBnd:\t0000000000000021\n", ran
    assert "made" not in names(session)


@test("a new context has the settings of default, and what is changed in one is not changed in the other", needs=("moat",))
def copies(session):
    call(session, "PATCH", "/v1/contexts/default", {"env": {"COPIED": "1"}})
    try:
        with made(session, "copy", env={"OWN": "1"}):
            assert session.exec("/bin/sh", "-c", "echo $COPIED$OWN", context="copy").out == "11\n"
            call(session, "PATCH", "/v1/contexts/copy", {"env": {"COPIED": "2"}})
            call(session, "PATCH", "/v1/contexts/default", {"env": {"COPIED": None}})
            assert session.exec("/bin/sh", "-c", "echo $COPIED", context="copy").out == "2\n"
            assert session.exec("/bin/sh", "-c", "echo $COPIED$OWN").out == "\n"
    finally:
        call(session, "PATCH", "/v1/contexts/default", {"env": {"COPIED": None}})


@test("PATCH merges env, null removes, directory changes, and what runs keeps what it began with", needs=("moat",))
def change(session):
    with made(session, "patched", env={"A": "1", "B": "2"}, directory="/usr"):
        identifier = session.api.start("/bin/sh", "-c", "sleep 1; echo $A$B$C; pwd", context="patched")
        procs.wait_until(lambda: session.api.process(identifier)["state"] == "running", 10, "it runs")
        answer = call(session, "PATCH", "/v1/contexts/patched", {"env": {"A": None, "B": "3", "C": "4"}, "directory": "/tmp"})
        assert answer["settings"]["env"] == {"B": "3", "C": "4"} and answer["settings"]["directory"] == "/tmp", answer
        assert session.exec("/bin/sh", "-c", "echo $A$B$C; pwd", context="patched").out == "34\n/tmp\n"
        secure = session.exec("/bin/sh", "-c", "echo $A$B$C; pwd", context="patched", isolated=True)
        assert secure.out == "34\n/tmp\n", secure
        procs.wait_until(lambda: session.api.process(identifier)["state"] == "ended", 10, "it ended")
        assert session.api.process(identifier)["stdout"] == "12\n/usr\n"
        assert call(session, "PATCH", "/v1/contexts/patched", {"directory": None})["settings"]["directory"] is None
        assert session.exec("/bin/pwd", context="patched").out == "/\n"


WRONG = [  # body of POST, status, code, field
    ({}, 400, "MISSING_FIELD", "name"),
    ({"name": 7}, 400, "BAD_VALUE", "name"),
    ({"name": "A"}, 400, "BAD_VALUE", "name"),
    ({"name": ""}, 400, "BAD_VALUE", "name"),
    ({"name": "a" * 33}, 400, "BAD_VALUE", "name"),
    ({"name": "session-a"}, 400, "BAD_VALUE", "name"),
    ({"name": "default"}, 409, "CONTEXT_EXISTS", None),
    ({"name": "w", "nonsense": 1}, 400, "UNKNOWN_FIELD", "nonsense"),
    ({"name": "w", "directory": "usr"}, 400, "BAD_VALUE", "directory"),
    ({"name": "w", "directory": "/a/../b"}, 400, "BAD_VALUE", "directory"),
    ({"name": "w", "directory": 1}, 400, "BAD_VALUE", "directory"),
    ({"name": "w", "namespace": "host"}, 400, "BAD_VALUE", "namespace"),
    ({"name": "w", "namespace": None}, 400, "BAD_VALUE", "namespace"),
    ({"name": "w", "no_new_privs": "yes"}, 400, "BAD_VALUE", "no_new_privs"),
    ({"name": "w", "capabilities": "cap_nonsense"}, 400, "BAD_VALUE", "capabilities"),
    ({"name": "w", "memory_max": 5}, 400, "BAD_VALUE", "memory_max"),
    ({"name": "w", "pids_max": 0}, 400, "BAD_VALUE", "pids_max"),
    ({"name": "w", "cpu_max": []}, 400, "BAD_VALUE", "cpu_max"),
    ({"name": "w", "env": []}, 400, "BAD_VALUE", "env"),
    ({"name": "w", "env": {"A": 1}}, 400, "BAD_VALUE", "env.A"),
    ({"name": "w", "env": {"": "x"}}, 400, "BAD_VALUE", "env."),
    ({"name": "w", "env": {"A B": "x"}}, 400, "BAD_VALUE", "env.A B"),
    ({"name": "w", "env": {"A=B": "x"}}, 400, "BAD_VALUE", "env.A=B"),
    ({"name": "w", "env": {"A=B": None}}, 400, "BAD_VALUE", "env.A=B"),
    ({"name": "w", "env": {"": None}}, 400, "BAD_VALUE", "env."),
    ({"name": "w", "show": ["/srv"]}, 409, "IMMUTABLE", "show"),
    ({"name": "w", "env": {"BIG": "x" * 65536}}, 413, "ENVIRONMENT_TOO_LARGE", "env.BIG"),
]


@test("what is wrong with a new context is said by code and field, and none is made", needs=("moat",))
def wrong(session):
    before = names(session)
    for body, *answer in WRONG:
        found = refused(session, "POST", "/v1/contexts", body)
        assert found == tuple(answer), (str(body)[:200], found)
    assert names(session) == before


@test("the environment of a context has a limit, and what is just below it is taken", needs=("moat",))
def limits(session):
    with made(session, "full-of-it", env={f"K{i}": "" for i in range(1000)}) as answer:
        inherited = len(answer["settings"]["env"]) - 1000
        more = {f"M{i}": "" for i in range(1024 - 1000 - inherited)}
        call(session, "PATCH", "/v1/contexts/full-of-it", {"env": more})
        assert refused(session, "PATCH", "/v1/contexts/full-of-it", {"env": {"ONE": ""}})[1] == "ENVIRONMENT_TOO_LARGE"
        assert session.exec("/bin/sh", "-c", "env | grep -c '^[KM][0-9]'", context="full-of-it").out.strip() == str(1024 - inherited)


@test("what cannot change is a 409 IMMUTABLE, a wrong change changes nothing", needs=("moat",))
def immutable(session):
    with made(session, "fixed", env={"A": "1"}):
        for key, value in {"namespace": "secure", "pid": "shared", "capabilities": "none", "no_new_privs": False, "home": "/tmp",
                           "tmp": "private", "seccomp": "off", "careful": False, "memory_max": "1G", "pids_max": 5, "cpu_max": 1, "show": ["/a"],
                           "name": "other"}.items():
            assert refused(session, "PATCH", "/v1/contexts/fixed", {key: value}) == (409, "IMMUTABLE", key), key
        assert refused(session, "PATCH", "/v1/contexts/fixed", {"env": {"A": "2"}, "directory": "x"})[1] == "BAD_VALUE"
        assert call(session, "GET", "/v1/contexts/fixed")["settings"]["env"]["A"] == "1"
    assert refused(session, "DELETE", "/v1/contexts/default") == (409, "IMMUTABLE", None)
    assert session.exec("/bin/echo", "still here").out == "still here\n"


@test("of a context that is not there, nothing can be asked", needs=("moat",))
def missing(session):
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        assert refused(session, method, "/v1/contexts/nobody", body)[:2] == (404, "NO_SUCH_CONTEXT"), method
    assert refused(session, "DELETE", "/v1/contexts/nobody?keep=maybe")[1] == "NO_SUCH_CONTEXT"
    with made(session, "somebody"):
        assert refused(session, "DELETE", "/v1/contexts/somebody?keep=maybe") == (400, "BAD_VALUE", "keep")
        assert refused(session, "DELETE", "/v1/contexts/somebody?force=true") == (400, "UNKNOWN_FIELD", "force")
        assert "somebody" in names(session)


@test("DELETE ends what runs in a context, is answered when that is gone, and no number comes back", needs=("moat",))
def remove(session):
    numbers = set()
    for _ in range(3):
        numbers.add(call(session, "POST", "/v1/contexts", {"name": "gone"}, 201)["number"])
        identifier = session.api.start("/bin/sh", "-c", "setsid sleep 86440 & sleep 86440", context="gone")
        secret = session.api.start("/bin/sleep", "86440", context="gone", env={"A": "1"})
        procs.wait_until(lambda: len(procs.with_argument("86440")) == 3, 10, "three run")
        assert call(session, "DELETE", "/v1/contexts/gone") == {"name": "gone", "removed": True}
        assert procs.with_argument("86440") == []
        assert [session.api.process(each)["signal"] for each in (identifier, secret)] == ["SIGKILL"] * 2
        assert session.api.process(identifier)["context"] == "gone", "its results stay"
        try:
            session.exec("/bin/true", context="gone")
            raise AssertionError("it still runs commands")
        except Refused as error:
            assert error.code == "NO_SUCH_CONTEXT", error
    assert len(numbers) == 3, numbers


@test("with keep a context is forgotten when the last of its commands has ended", needs=("moat",))
def keep(session):
    call(session, "POST", "/v1/contexts", {"name": "kept"}, 201)
    identifier = session.api.start("/bin/sh", "-c", "sleep 2; echo done", context="kept")
    procs.wait_until(lambda: session.api.process(identifier)["state"] == "running", 10, "it runs")
    assert call(session, "DELETE", "/v1/contexts/kept?keep=true", status=202) == {"name": "kept", "removed": False}
    assert call(session, "GET", "/v1/contexts/kept")["state"] == "ending"
    for method, path, body in (("POST", "/v1/exec", {"argv": ["/bin/true"], "context": "kept"}),
                               ("PATCH", "/v1/contexts/kept", {"env": {"A": "1"}})):
        assert refused(session, method, path, body)[:2] == (409, "CONTEXT_ENDING"), path
    assert refused(session, "POST", "/v1/contexts", {"name": "kept"})[:2] == (409, "CONTEXT_EXISTS")
    procs.wait_until(lambda: "kept" not in names(session), 20, "it is gone")
    assert session.api.process(identifier)["stdout"] == "done\n"
    assert call(session, "POST", "/v1/contexts", {"name": "kept"}, 201)["state"] == "ready"
    assert call(session, "DELETE", "/v1/contexts/kept?keep=true") == {"name": "kept", "removed": True}


@test("a variable that looks like a secret works, with a warning and a record of its name alone", needs=("moat",))
def secrets(session):
    newest = max([0] + [each["seq"] for each in events(session, 0)])
    value = "hunter2-in-settings"
    with made(session, "leaky", env={"API_KEY": value, "PORT": "1"}) as answer:
        assert [(each["code"], each["name"]) for each in answer["warnings"]] == [("SECRET_IN_CONTEXT", "API_KEY")], answer
        patched = call(session, "PATCH", "/v1/contexts/leaky", {"env": {"DB_PASSWORD": value, "GITHUB_TOKEN": None}})
        assert [each["name"] for each in patched["warnings"]] == ["DB_PASSWORD"], patched
        assert session.exec("/bin/sh", "-c", "echo $API_KEY", context="leaky").out == value + "\n"
        found = events(session, newest)
        records = [(each["context"], each["variable"]) for each in found if each["type"] == "secret-name"]
        assert records == [("leaky", "API_KEY"), ("leaky", "DB_PASSWORD")], found
        assert value not in json.dumps(found)


def events(session, since):
    reply = session.api.request("GET", f"/v1/events?since={since}")
    return [each for each in map(json.loads, reply.body.splitlines()) if each["type"] != "gap"]


@test("a session is a context that its first command makes, which says so", needs=("moat",))
def sessions(session):
    longest = "ä/.. %2F" + "x" * (128 - len("ä/.. %2F".encode()))
    for identifier in ("abc", longest, "default"):
        first = session.exec("/bin/sh", "-c", "echo $$ > /dev/shm/mark; echo made", session=identifier)
        assert (first.out, first.fields["context"], first.fields["created"]) == ("made\n", "session-" + identifier, True), first.fields
        again = session.exec("/bin/cat", "/dev/shm/mark", session=identifier)
        assert again.exit == 0 and again.fields["created"] is False, again.fields
        got = call(session, "GET", place("session-" + identifier))
        assert got["session"] is True and got["name"] == "session-" + identifier, got
        assert call(session, "DELETE", place("session-" + identifier))["removed"] is True
        assert session.exec("/bin/cat", "/dev/shm/mark", session=identifier).fields["created"] is True, "a new one of that name"
        call(session, "DELETE", place("session-" + identifier))
    # what an answer gives as the context can be given as such, whatever its length
    longest = session.exec("/bin/true", session="x" * 128).fields["context"]
    assert session.exec("/bin/echo", "here", context=longest).out == "here\n"
    call(session, "DELETE", place(longest))
    events = list(session.api.stream("/bin/true", session="streamed"))
    assert events[0]["created"] is True and events[-1]["context"] == "session-streamed", events
    call(session, "DELETE", "/v1/contexts/session-streamed")


@test("what is no id of a session is refused, and a refused command makes none", needs=("moat",))
def no_session(session):
    before = names(session)
    for fields, code in (({"session": ""}, "BAD_VALUE"), ({"session": "x" * 129}, "BAD_VALUE"), ({"session": "a\nb"}, "BAD_VALUE"),
                         ({"session": "a\x7f"}, "BAD_VALUE"), ({"session": "\x9b"}, "BAD_VALUE"), ({"session": 7}, "BAD_VALUE"),
                         ({"session": "a", "context": "default"}, "BAD_VALUE"), ({"session": "a", "cwd": "x"}, "BAD_VALUE"),
                         ({"session": "a", "argv": ["x" * 200000, "x" * 200000]}, "ARGUMENTS_TOO_LARGE")):
        assert refused(session, "POST", "/v1/exec", {"argv": ["/bin/true"], **fields})[1] == code, fields
    assert names(session) == before


@test("with isolated: false a command has its variables among the others of its context", needs=("moat",))
def not_isolated(session):
    fields = {"context": "full", "env": {"MARK": "86442"}, "isolated": False}
    identifier = session.api.start("/bin/sleep", "86442", **fields)
    pid = procs.wait_until(lambda: session.api.process(identifier)["pid"], 10, "it has a pid")
    assert session.api.process(identifier)["namespace"] == "context-full"
    seen = session.exec("/bin/sh", "-c", f"tr '\\0' '\\n' < /proc/{pid}/environ | grep MARK; kill {pid}", context="full")
    assert seen.out == "MARK=86442\n" and seen.exit == 0, seen
    procs.wait_until(lambda: session.api.process(identifier)["state"] == "ended", 10, "it was killed by its neighbour")
    apart = session.exec("/bin/sh", "-c", "echo $MARK", context="full", env={"MARK": "1"})
    assert apart.out == "1\n" and session.api.process(apart.id)["namespace"].startswith("secure"), apart
    assert refused(session, "POST", "/v1/exec", {"argv": ["/bin/true"], "isolated": False, "context": "sealed"})[1:] == ("BAD_VALUE", "isolated")


@test("isolated: false with what looks like a secret warns in every form of the answer, and names are recorded", needs=("moat",))
def not_isolated_secret(session):
    newest = max([0] + [each["seq"] for each in events(session, 0)])
    fields = {"env": {"MY_TOKEN": "hunter2", "PORT": "1"}, "isolated": False}
    whole = session.exec("/bin/sh", "-c", "echo $MY_TOKEN", **fields)
    stream = list(session.api.stream("/bin/true", **fields))
    detached = session.api.request("POST", "/v1/exec", {"argv": ["/bin/true"], "wait": False, **fields}).json
    for answer in (whole.fields, stream[0], detached):
        assert [each["name"] for each in answer["warnings"]] == ["MY_TOKEN"], answer
    assert whole.out == "hunter2\n" and "warnings" not in session.exec("/bin/true", env={"MY_TOKEN": "x"}).fields
    found = [each for each in events(session, newest) if each["type"] == "secret-name"]
    assert [(each["context"], each["variable"]) for each in found] == [("default", "MY_TOKEN")] * 3, found


@test("more capabilities than the configuration gives are refused; fewer are had", needs=("moat",))
def capabilities(session):
    with made(session, "weak", capabilities="none", pid="shared"):
        assert "0000000000000000" in session.exec("/bin/grep", "CapBnd", "/proc/self/status", context="weak").out
        secure = session.exec("/bin/grep", "CapBnd", "/proc/self/status", context="weak", isolated=True)
        assert "0000000000000000" in secure.out, secure


@test("a context made at run time is kept apart from the others as one of the configuration is", needs=("moat", "lsm"))
def apart(session):
    keys = {"pid": "shared", "capabilities": "all", "no_new_privs": False}
    with made(session, "newcomer", **keys), made(session, "neighbour", **keys):
        for owner, attacker in (("newcomer", "other"), ("other", "newcomer"), ("newcomer", "neighbour")):
            identifier = session.api.start("/bin/sleep", "86441", context=owner)
            pid = procs.wait_until(lambda identifier=identifier: session.api.process(identifier)["pid"], 10, "it has a pid")
            killed = session.exec("/bin/kill", "-KILL", str(pid), context=attacker)
            assert killed.exit != 0 and "permitted" in killed.err, (owner, attacker, killed)
            assert session.exec("/bin/kill", "-TERM", str(pid), context=owner).exit == 0
            procs.wait_until(lambda identifier=identifier: session.api.process(identifier)["state"] == "ended", 10, "it ended")


@test("what no context of the configuration needed is there for one made at run time: secure execs in the agent's PID namespace",
      needs=(), timeout=60)
def first_shared(session):
    agent = moatd.Moatd(session.build, "ctxlife", "", enforce="best-effort")
    try:
        agent.start(60)
        made_shared = {"name": "shared", "pid": "shared"}
        assert agent.api().request("POST", "/v1/contexts", made_shared).status == 201
        assert "secure-shared" not in [each["name"] for each in agent.api().get("/v1/status")["namespaces"]]
        for fields in ({}, {"isolated": True}, {"env": {"A": "1"}}):
            done = agent.api().exec("/bin/readlink", "/proc/self/ns/pid", context="shared", **fields)
            assert done.out.strip() == os.readlink(f"/proc/{agent.pid}/ns/pid"), (fields, done)
        assert agent.api().process(done.id)["namespace"] == "secure-shared"
        strong = {"name": "strong", "capabilities": "all"}
        assert agent.api().request("POST", "/v1/contexts", strong).json["code"] == "CAPABILITIES_UNAVAILABLE"
        status, left = agent.stop()
        assert status == 0 and not left, (status, left, agent.log())
    finally:
        agent.kill()
        agent.remove_files()


def rss(session):
    with open(f"/proc/{session.agent.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) * 1024


def children(session):
    """How many processes the agent has: services, and each moat-init."""
    with open(f"/proc/{session.agent.pid}/task/{session.agent.pid}/children", encoding="ascii") as file:
        return len(file.read().split())


MANY = 10000


@test("10,000 contexts are made, used and removed; those that idle cost no process and less than 4 KiB", needs=("moat",), timeout=400)
def many(session):
    count = MANY if not session.vm else 1000
    processes, before = children(session), rss(session)
    began = time.monotonic()
    with keep_alive(session) as api:
        for number in range(count):
            assert api("POST", "/v1/contexts", {"name": f"many-{number}", "env": {"NUMBER": str(number)}})[0] == 201
        each = (rss(session) - before) / count
        seconds = time.monotonic() - began
        print(f"# {count} contexts: {each:.0f} bytes and {seconds / count * 1e6:.0f} us each, HTTP included")
        assert each < 4096, each
        assert children(session) <= processes, "those of other contexts may have ended meanwhile"
        assert len(names(session)) >= count
        assert len(session.api.get("/v1/status")["limits"]) < 200, "only those in use are listed there"
        for number in range(0, count, 20 if session.vm else 1):  # each, and some in namespaces of their own
            answer = api("POST", "/v1/exec", {"argv": ["/bin/sh", "-c", "echo $NUMBER"], "context": f"many-{number}",
                                              "isolated": number % 200 != 0})
            assert answer[1]["stdout"] == f"{number}\n", answer
        for number in range(count):
            assert api("DELETE", f"/v1/contexts/many-{number}")[0] == 200
    assert not [name for name in names(session) if name.startswith("many-")]


@test("1,000 contexts, or as many as the agent has descriptors for, run something at once, each its own; they end with what runs in them",
      needs=("moat",), timeout=400)
def many_at_once(session):
    count = min(MANY // 10, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 24)  # 3 of 16 descriptors are for contexts, of which each takes 4; some are held by others
    with keep_alive(session) as api:
        began = time.monotonic()
        for number in range(count):
            assert api("POST", "/v1/contexts", {"name": f"busy-{number}"})[0] == 201
        started = [api("POST", "/v1/exec", {"command": f"sleep 100000 & echo {number}; wait", "context": f"busy-{number}", "wait": False}) for number in range(count)]
        assert all(status == 202 for status, _ in started), [each for each in started if each[0] != 202][:3]
        running = {each["id"]: each for each in api("GET", "/v1/processes")[1]["processes"] if each["state"] == "running"}
        assert all(each["id"] in running for _, each in started) and len({running[each["id"]]["namespace"] for _, each in started}) == count
        seconds = time.monotonic() - began
        print(f"# {count} contexts run something after {seconds:.1f} s", flush=True)
        for number, (_, each) in list(enumerate(started))[::50]:
            assert api("GET", f"/v1/processes/{each['id']}")[1]["stdout"] == f"{number}\n"
            assert api("POST", "/v1/exec", {"argv": ["/usr/bin/pgrep", "-c", "sleep"], "context": f"busy-{number}"})[1]["stdout"] == "1\n"
        for number in range(count):
            assert api("DELETE", f"/v1/contexts/busy-{number}")[0] == 200
        left = {each["id"] for each in api("GET", "/v1/processes")[1]["processes"] if each["state"] == "running"}
        assert not left & {each["id"] for _, each in started}


@contextlib.contextmanager
def keep_alive(session):
    """Requests over one connection: (status, answer)."""
    connection = unixhttp.Connection(session.agent.socket, 600)

    def request(method, path, body=None):
        connection.request(method, path, body=json.dumps(body).encode() if body is not None else None)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    try:
        yield request
    finally:
        connection.close()
