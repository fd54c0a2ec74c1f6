# SPDX-License-Identifier: Apache-2.0
"""A credential given to one exec is that exec's alone, and gone with it."""

import json
import threading

from lib import places, procs
from lib.tap import test

NAME, VALUE = "AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI-secret-123"

# Reads every environ that can be read, by every name that /proc has for it; prints the pids that show the needle.
SEARCH = """
import json, os, sys
needle, found = sys.argv[1].encode()[::-1], []
for pid in os.listdir("/proc"):
    for path in (f"/proc/{pid}/environ", f"/proc/{pid}/task/{pid}/environ", f"/proc/{pid}/cmdline"):
        try:
            if pid.isdigit() and int(pid) != os.getpid() and needle in open(path, "rb").read():
                found.append(path)
        except OSError:
            pass
print(json.dumps(found))
"""
NEEDLE = VALUE[::-1]  # backwards, so that the searcher's own arguments do not have it


def search(session, context, **fields):
    return json.loads(session.exec(places.PYTHON, "-c", SEARCH, NEEDLE, context=context, **fields).out)


def holder(session, context, seconds=86430):
    """A running exec that has the credential."""
    identifier = session.api.start("/bin/sleep", str(seconds), context=context, env={NAME: VALUE})
    pid = procs.wait_until(lambda: next((p for p in procs.pids() if procs.name(p) == "sleep" and VALUE.encode() in quiet(p)), None),
                           5, "it has the credential")
    return identifier, pid


def quiet(pid):
    try:
        return procs.environ(pid)
    except OSError:
        return b""


@test("an exec that brings env runs in secure, sees its credential, and the next one does not", needs=("moat",))
def routing(session):
    identifier = session.api.start("/bin/sleep", "86431", env={NAME: VALUE})
    assert session.api.process(identifier)["namespace"].startswith("secure"), session.api.process(identifier)
    session.api.kill(identifier)
    assert session.exec("/usr/bin/printenv", NAME, env={NAME: VALUE}).out == VALUE + "\n"
    assert session.exec("/usr/bin/printenv", NAME).out == ""


@test("isolated without env runs in secure, too", needs=("moat",))
def isolated(session):
    identifier = session.api.start("/bin/sleep", "86432", isolated=True)
    assert session.api.process(identifier)["namespace"].startswith("secure"), session.api.process(identifier)
    session.api.kill(identifier)


@test("the search of these tests finds a credential where there is one", needs=("moat",))
def search_works(session):
    program = (f"import os, subprocess, sys; child = subprocess.Popen(['sleep', '60'], env={{'{NAME}': sys.argv[1][::-1]}}); "
               "import time; time.sleep(0.5); code = sys.argv[2]; sys.argv = ['-', sys.argv[1]]; exec(code); child.kill()")
    found = json.loads(session.exec(places.PYTHON, "-c", program, NEEDLE, SEARCH, context="full").out)
    assert found, "a child with the credential was not found"


@test("while it runs, no exec of any user context finds it in /proc", needs=("moat",), timeout=60)
def concurrent_user(session):
    contexts = ("default", "full", "shared", "other") if session.enforced else ("default", "full")
    for owner in ("default", "shared") if session.enforced else ("default",):
        identifier, _ = holder(session, owner)
        for context in contexts:
            assert search(session, context) == [], (owner, context)
        session.api.kill(identifier)


@test("while it runs, no other secure exec finds it either, not even of the same context", needs=("moat", "lsm"), timeout=60)
def concurrent_secure(session):
    for owner in ("default", "shared"):
        identifier, _ = holder(session, owner)
        for context in ("default", "full", "shared", "other"):
            assert search(session, context, env={"OTHER": "1"}) == [], (owner, context)
            assert search(session, context, isolated=True) == [], (owner, context)
        session.api.kill(identifier)


@test("many secure execs at once each see their own credential and no other", needs=("moat", "lsm"), timeout=90)
def many(session):
    program = ("import os, time\nmine = os.environ['TOKEN']\ntime.sleep(0.5)\nothers = []\n"
               "for pid in os.listdir('/proc'):\n    try:\n        text = open(f'/proc/{pid}/environ', 'rb').read()\n"
               "    except OSError: continue\n"
               "    if b'TOKEN=token-' in text and mine.encode() not in text: others.append(pid)\nprint(mine, others)")
    results = {}

    def one(number):
        results[number] = session.exec(places.PYTHON, "-c", program, context="full", env={"TOKEN": f"token-{number}-end"}).out
    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == {number: f"token-{number}-end []\n" for number in range(6)}, results


@test("afterwards it is in no environ of any process of the machine", needs=("moat",))
def afterwards(session):
    assert session.exec("/usr/bin/printenv", NAME, env={NAME: VALUE}).out == VALUE + "\n"
    procs.wait_until(lambda: not [p for p in procs.pids() if VALUE.encode() in quiet(p)], 5, "no environ has it")
    for context in ("default", "full"):
        assert search(session, context) == [], context


@test("what a secure exec leaves running is killed with it", needs=("moat",))
def stragglers(session):
    result = session.exec("/bin/sh", "-c", "setsid sleep 86433 & sleep 86433 & exit 0", env={NAME: VALUE}, context="full")
    assert result.exit == 0, result
    procs.wait_until(lambda: not [p for p in procs.pids() if VALUE.encode() in quiet(p)], 5, "the stragglers are gone")


@test("the value is in no log, no listing and no error", needs=("moat",))
def not_logged(session):
    session.exec("/bin/true", env={NAME: VALUE})
    texts = [session.agent.log()]
    for path in ("/v1/processes", "/v1/status", "/v1/services", "/v1/events"):
        texts.append(session.api.request("GET", path).body.decode())
    for body in ({"argv": ["/nonexistent"], "env": {NAME: VALUE}}, {"argv": ["/bin/true"], "env": {NAME: VALUE}, "nonsense": 1},
                 {"argv": ["/bin/true"], "env": {NAME + "=": VALUE}}):
        reply = session.api.request("POST", "/v1/exec", body)
        assert reply.status >= 400, reply
        texts.append(reply.body.decode())
    assert not any(VALUE in text for text in texts), [text for text in texts if VALUE in text]


@test("the agent's memory that held it is wiped soon after", needs=("moat",), timeout=60)
def wiped(session):
    value = "wiped-" + "0123456789abcdef"
    session.exec("/bin/true", env={NAME: value})
    session.api.get("/v1/health")
    assert count_in_memory(session.agent.pid, value.encode()) == 0


@test("what it has printed stays in the agent's memory while it is listed, and not once it is forgotten", needs=("moat",), timeout=90)
def output_wiped(session):
    halves = ["printed-", "fedcba9876543210"]
    program = "import sys; print((sys.argv[1] + sys.argv[2] + ' ') * int(sys.argv[3]))"
    identifiers = [session.exec(places.PYTHON, "-c", program, *halves, times, env={NAME: VALUE}).id for times in ("1", "20000")]
    needle = "".join(halves).encode()
    assert count_in_memory(session.agent.pid, needle) >= 20001  # the search finds it where it is
    for _ in range(256):
        session.exec("/bin/true")
    assert all(session.api.request("GET", f"/v1/processes/{each}").status == 404 for each in identifiers)
    assert count_in_memory(session.agent.pid, needle) == 0


def count_in_memory(pid, needle):
    found = 0
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            place, permissions = line.split()[:2]
            start, end = (int(each, 16) for each in place.split("-"))
            if not permissions.startswith("rw") or "[v" in line or end - start > 1 << 26:
                continue
            memory.seek(start)
            try:
                found += memory.read(end - start).count(needle)
            except OSError:
                pass
    return found
