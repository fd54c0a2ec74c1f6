# SPDX-License-Identifier: Apache-2.0
"""
The audit trail from end to end: one denial is the same record wherever it is read, as it happens and afterwards, and of a flood
each denial is accounted for: by a record of its own, by the number folded into one, or by what waits for the next record.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from datetime import datetime, timezone

import test_cli
import test_mode
from lib import exposition, labels, places, procs
from lib.session import SPARE_PORT
from lib.tap import test
from test_bpf import bpftool, pins

with open(os.path.join(places.SOURCE, "bpf/record.h"), encoding="utf-8") as _file:
    RECORDS_PER_SECOND = int(re.search(r"#define RECORDS_PER_WINDOW (\d+)", _file.read())[1])


def events(session, since=0):
    body = session.api.request("GET", f"/v1/events?since={since}").body.decode()
    return [json.loads(line) for line in body.splitlines()]


def newest(session):
    return max((each["seq"] for each in events(session) if "seq" in each), default=0)


def log(session):
    with open(session.audit_log, encoding="utf-8") as file:
        return [json.loads(line) for line in file.read().splitlines()]


def of_exec(records, identifier):
    return [each for each in records if each["type"] == "denial" and each["subject"]["exec"] == identifier]


def seconds(record):
    """Its time, which is in UTC and has three digits behind the point, since the epoch."""
    assert re.search(r"\.\d{3}Z$", record["time"]), record
    return datetime.strptime(record["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()


@contextlib.contextmanager
def following(session, *arguments):
    """`moat events -f` while it runs: a function that tells the lines that it has printed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        program = subprocess.Popen([os.path.join(session.build, "moat"), "events", "-f", *arguments], stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=subprocess.STDOUT, env={"MOAT_SOCKET": session.agent.socket})

        def lines():
            assert program.poll() is None, f"moat events -f ended with {program.returncode}"
            return os.pread(out.fileno(), 1 << 20, 0).decode().splitlines()
        try:
            yield lines
            program.send_signal(signal.SIGTERM)
            assert program.wait(60) == -signal.SIGTERM, program.returncode
        finally:
            program.kill()
            program.wait()


class Denial:
    """Made by an exec that lives on, so that it can be asked who it is."""

    def __init__(self, session, context, hook, errno, kind, value, comm, *argv):
        self.context, self.hook, self.errno, self.object, self.comm = context, hook, errno, {"kind": kind, "value": value}, comm
        self.began = time.time()
        self.exec = session.api.start(*argv, context=context)

    def find(self, records):
        """Its record: there is no other of this exec."""
        found = of_exec(records, self.exec)
        assert len(found) <= 1, found
        return found[0] if found else None

    def expected(self, session, record):
        """seq and time are of the record; everything else is known from elsewhere."""
        pid, = [each for each in labels.of_exec(session, self.exec) if procs.name(each) == self.comm]
        context = labels.label(session, pid)[1]
        surface = next(each[1] for each in places.hooks() if each[0] == self.hook)
        return {"seq": record["seq"], "type": "denial", "time": record["time"], "instance": session.instance, "hook": self.hook,
                "surface": surface, "verdict": "denied", "errno": self.errno,
                "subject": {"pid": pid, "comm": self.comm, "context": context, "contextName": self.context, "exec": self.exec},
                "object": self.object, "folded": 0}

    def line(self, record):
        subject = record["subject"]
        return (f"{record['seq']} {record['time']} denied {self.hook} {self.errno}: pid {subject['pid']} ({self.comm}) of context "
                f"{self.context} ({subject['context']}), exec {self.exec}, on {self.object['kind']} {self.object['value']}")


BIND = (f"import signal, socket\ntry: socket.socket().bind(('127.0.0.1', {SPARE_PORT}))\nexcept OSError: pass\n"
        "signal.pause()")


def denials(session):
    """One whose subject is in the control plane's PID namespace, and one whose pid is another there."""
    service = session.agent.service("spare")["pid"]
    return [Denial(session, "shared", "task_kill", "EPERM", "task", service, "sh", "/bin/sh", "-c", f"kill -9 {service}; sleep 86481"),
            Denial(session, "default", "socket_bind", "EADDRINUSE", "port", SPARE_PORT, "python3", places.PYTHON, "-c", BIND)]


def check_record(session, each, shown):
    record = each.find(events(session))
    assert record == each.expected(session, record), (record, each.expected(session, record))
    at = seconds(record)
    assert each.began - 1 <= at <= time.time() + 1, (each.began, record["time"])
    assert each.find(log(session)) == record, "the audit log has another"
    assert each.find([json.loads(line) for line in shown["--json"]()]) == record, "moat events -f --json has another"
    assert each.line(record) in shown["text"](), (each.line(record), shown["text"]())
    assert each.line(record) in test_cli.moat(session, "events", "--since", str(record["seq"] - 1)).stdout.splitlines()


@test("a denial is printed by moat events -f as it happens, and is the same record in /v1/events and in the audit log: time, "
      "instance, hook, verdict, errno, pid, comm, context and exec of the subject, object", needs=("moat", "lsm"), timeout=60)
def same_record(session):
    since = str(newest(session))
    with following(session, "--since", since) as text, following(session, "--since", since, "--json") as as_json:
        made = denials(session)
        try:
            for each in made:
                procs.wait_until(lambda one=each: any(f"exec {one.exec}," in line for line in text()), 5, "it is printed")
                procs.wait_until(lambda one=each: any(f'"exec":"{one.exec}"}}' in line.replace(" ", "") for line in as_json()), 5,
                                 "it is printed as JSON")
                check_record(session, each, {"text": text, "--json": as_json})
        finally:
            for each in made:
                session.api.kill(each.exec)


@test("the audit log has every record that there was, in order, also switches of the mode; only its owner may read it",
      needs=("moat", "lsm"))
def whole_log(session):
    with test_mode.auditing(session):
        pass
    kept = [each for each in events(session) if each["type"] != "gap"]
    written = log(session)
    assert [each["type"] for each in kept[-2:]] == ["mode", "mode"], kept[-2:]
    assert [each["seq"] for each in written] == list(range(1, len(written) + 1)), len(written)
    assert written[kept[0]["seq"] - 1:kept[-1]["seq"]] == kept
    status = os.stat(session.audit_log)
    assert status.st_mode & 0o7777 == 0o600 and status.st_uid == 0, oct(status.st_mode)


# Is refused again and again, until the file is there; says how often.
FLOOD = """
import os, socket, sys, time
count, end = 0, time.monotonic() + 300
while not os.path.exists(sys.argv[1]) and time.monotonic() < end:
    for _ in range(50):
        with socket.socket() as each:
            try:
                each.bind(("127.0.0.1", int(sys.argv[2])))
                sys.exit("was not refused")
            except OSError:
                count += 1
print(count)
"""


class Counted:
    def __init__(self, session):
        self.status = session.api.get("/v1/status")
        self.found = exposition.parse(session.api.request("GET", "/metrics").body.decode())

    def denied(self, hook):
        return next(each["denied"] for each in self.status["hooks"] if each["hook"] == hook)

    def unrecorded(self, reason):
        return exposition.value(self.found, "moat_unrecorded_denials_total", reason=reason)


def pending(session, identifier):
    """Denials of an exec that wait for its next record; its window in the kernel."""
    dump = [each["formatted"] for each in bpftool("map", "dump", "pinned", pins(session, "maps") + "/windows")]
    return sum(each["value"]["folded"] for each in dump if f"x{each['key']['exec']}" == identifier)


def is_closing(record):
    """Made by the agent, of what had no record when the second was over."""
    return record["object"] == {"kind": "none", "value": 0}


def check_limited(records):
    """No more than RECORDS_PER_SECOND in each second since the first one, and what was folded is in the first of a second."""
    times = [seconds(each) for each in records]
    windows = int(times[-1] - times[0] + 0.1) + 1
    assert RECORDS_PER_SECOND < len(records) <= RECORDS_PER_SECOND * windows, (len(records), times)
    assert [each["folded"] for each in records[:RECORDS_PER_SECOND]] == [0] * RECORDS_PER_SECOND, records
    assert records[RECORDS_PER_SECOND]["folded"] > 0, records[RECORDS_PER_SECOND]


def check_single(session, flooding):
    """Another exec of the same context is refused once."""
    since = newest(session)
    result = session.exec("/bin/kill", "-9", str(session.agent.pid), context="shared")
    assert result.exit == 1, result
    procs.wait_until(lambda: of_exec(events(session, since), result.id), 5, "it has a record of its own")
    single = of_exec(events(session, since), result.id)
    assert [(each["hook"], each["folded"]) for each in single] == [("task_kill", 0)], single
    assert session.api.process(flooding)["state"] == "running", "the flood was over before"


def flood(session, stop):
    """(the exec, how often it was refused)"""
    before = Counted(session)
    identifier = session.api.start(places.PYTHON, "-c", FLOOD, stop, str(SPARE_PORT), context="shared")
    procs.wait_until(lambda: Counted(session).unrecorded("folded") > before.unrecorded("folded"), 20, "the limit is reached")
    check_single(session, identifier)
    procs.wait_until(lambda: len(of_exec(events(session), identifier)) > 2 * RECORDS_PER_SECOND, 20, "a third second")
    open(stop, "w", encoding="ascii").close()
    ended = procs.wait_until(lambda: (p := session.api.process(identifier))["state"] == "ended" and p, 20, "the flood ends")
    assert ended["exitCode"] == 0, ended
    return identifier, int(ended["stdout"])


@test("of a flood each denial is a record, is folded into one, or waits for the next; what has no record is counted; another "
      "exec's single denial has its own", needs=("moat", "lsm"), timeout=120)
def flooded(session):
    since, before = newest(session), Counted(session)
    with tempfile.TemporaryDirectory(prefix="moat-audit-") as directory:
        identifier, refused = flood(session, os.path.join(directory, "stop"))

    def accounted():
        records = of_exec(events(session, since), identifier)
        return records if sum(1 + each["folded"] for each in records) + pending(session, identifier) == refused else None
    records = procs.wait_until(accounted, 5, f"{refused} denials are accounted for")
    assert {each["hook"] for each in records} == {"socket_bind"}, records
    check_limited([each for each in records if not is_closing(each)])
    assert of_exec(log(session), identifier) == records, "the audit log has others"
    after = Counted(session)
    assert after.denied("socket_bind") - before.denied("socket_bind") == refused
    assert after.unrecorded("folded") - before.unrecorded("folded") == refused - len([each for each in records if not is_closing(each)])
    assert after.unrecorded("ring_full") == before.unrecorded("ring_full")
    assert after.status["events"]["folded"] == after.unrecorded("folded"), after.status["events"]
    shown = test_cli.moat(session, "events", "--since", str(records[RECORDS_PER_SECOND]["seq"] - 1)).stdout.splitlines()[0]
    assert shown.endswith(f", and {records[RECORDS_PER_SECOND]['folded']} more"), shown


BURST = f"""
import os, socket, sys
for _ in range(50):
    try:
        socket.socket().bind(("127.0.0.1", {SPARE_PORT}))
    except OSError:
        pass
"""


@test("of an exec that ends with 50 refusals each has a record or is in the one that closes the account", needs=("moat", "lsm"), timeout=60)
def closed_account(session):
    since = newest(session)
    result = session.exec(places.PYTHON, "-c", BURST, context="shared")

    def closed():
        records = of_exec(events(session, since), result.id)
        return records if records and is_closing(records[-1]) else None
    records = procs.wait_until(closed, 10, "the account is closed")
    assert sum(1 + each["folded"] for each in records) == 50, records
    assert {each["hook"] for each in records} == {"socket_bind"} and pending(session, result.id) == 0, records


@test("looking at /proc leaves one record with the number of what was not shown, and does not blind the log for a kill in the same second",
      needs=("moat", "lsm"), timeout=60)
def look_around(session):
    since = newest(session)
    script = f"for i in 1 2 3; do ls /proc > /dev/null; done; kill -9 {session.agent.pid}; ls /proc > /dev/null"
    result = session.exec("/bin/sh", "-c", script, context="shared")

    def looked():
        return [each for each in of_exec(events(session, since), result.id) if each["hook"] == "ptrace_access_check"]
    procs.wait_until(looked, 10, "the account is closed")
    hidden = [each["folded"] + 1 for each in looked()]
    assert len(hidden) <= 2 and sum(hidden) > 8, hidden  # at most one for each second
    kills = [each for each in of_exec(events(session, since), result.id) if each["hook"] == "task_kill"]
    assert [(each["object"]["value"], each["folded"]) for each in kills] == [(session.agent.pid, 0)], kills


@test("the denial that the agent tried itself on says so", needs=("moat", "lsm"))
def self_test(session):
    first = log(session)[0]
    assert (first["hook"], first["subject"]["contextName"], first["subject"]["context"]) == ("task_kill", "self-test", 0), first
