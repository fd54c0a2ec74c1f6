# SPDX-License-Identifier: Apache-2.0
"""moat context, and what moat exec does with sessions and with variables that are no secrets."""

import json

from lib.tap import test
from test_cli import moat


def ok(session, *arguments):
    done = moat(session, *arguments)
    assert done.returncode == 0, done
    return done


def remove(session, name):
    moat(session, "context", "rm", name)


@test("moat context: create, show, set, list and rm do what the API does", needs=("moat",))
def whole(session):
    try:
        made = ok(session, "context", "create", "cli", "-e", "A=1", "-e", "B=2", "-C", "/usr", "-o", "no_new_privs=no", "-o", "pids_max=infinity")
        assert made.stdout == "" and made.stderr == "", made
        assert ok(session, "exec", "-c", "cli", "--", "/bin/sh", "-c", "echo $A$B; pwd").stdout == "12\n/usr\n"
        shown = ok(session, "context", "show", "cli").stdout.splitlines()
        assert {"env = A=1", "env = B=2", "directory = /usr", "no_new_privs = no", "pids_max = infinity", "namespace = user"} <= set(shown), shown
        ok(session, "context", "set", "cli", "-u", "A", "-e", "B=3", "-C", "/tmp")
        assert ok(session, "exec", "-c", "cli", "--", "/bin/sh", "-c", "echo $A$B; pwd").stdout == "3\n/tmp\n"
        lines = [line.split() for line in ok(session, "context", "list").stdout.splitlines()]
        assert lines[0][:4] == ["NAME", "NUMBER", "STATE", "RUNNING"], lines
        assert [line[2:4] for line in lines if line[0] == "cli"] == [["ready", "0"]], lines
        ok(session, "context", "rm", "cli")
        assert "cli" not in ok(session, "context", "list").stdout.split()
    finally:
        remove(session, "cli")


@test("moat context create takes a key that is a list once or several times, and show prints it as the configuration has it", needs=("moat",))
def lists(session):
    place = f"{session.scratch}/cli-lists"
    given = ("preset=python, node", "link=one -> /srv", "link=two -> /usr rw")
    try:
        ok(session, "context", "create", "cli-lists", "-o", f"workspace={place}", *(word for each in given for word in ("-o", each)))
        shown = [line for line in ok(session, "context", "show", "cli-lists").stdout.splitlines() if line.startswith(("preset", "link"))]
        assert shown == ["preset = python", "preset = node", "link = one -> /srv", "link = two -> /usr rw"], shown
        settings = json.loads(ok(session, "context", "show", "cli-lists", "--json").stdout)["settings"]
        for key in (key for key, value in settings.items() if isinstance(value, list)):  # whichever there are
            done = moat(session, "--json", "context", "set", "cli-lists", "-o", f"{key}=x")
            assert json.loads(done.stderr)["code"] == "IMMUTABLE", (key, done)
        done = moat(session, "--json", "context", "create", "cli-more", "-o", "tmp=shared", "-o", "tmp=private")
        assert "must be a string" in json.loads(done.stderr)["message"], done
        done = moat(session, "--json", "context", "create", "cli-more", "-o", "preset=cobol")
        assert "must be" in json.loads(done.stderr)["message"] and "array" not in done.stderr, done
    finally:
        remove(session, "cli-lists")


@test("moat context --json prints the answers, and refusals by their codes", needs=("moat",))
def as_json(session):
    try:
        assert json.loads(ok(session, "context", "create", "cli-json", "--json").stdout)["name"] == "cli-json"
        assert json.loads(ok(session, "context", "show", "cli-json", "--json").stdout)["settings"]["namespace"] == "user"
        assert json.loads(ok(session, "context", "set", "cli-json", "-e", "A=1", "--json").stdout)["settings"]["env"]["A"] == "1"
        assert "cli-json" in [each["name"] for each in json.loads(ok(session, "context", "list", "--json").stdout)["contexts"]]
        for arguments, code in ((("create", "cli-json"), "CONTEXT_EXISTS"), (("create", "session-x"), "BAD_VALUE"),
                                (("set", "cli-json", "-o", "pid=shared"), "IMMUTABLE"), (("show", "nobody"), "NO_SUCH_CONTEXT"),
                                (("rm", "default"), "IMMUTABLE"), (("create", "x", "-o", "nonsense=1"), "UNKNOWN_FIELD"),
                                (("create", "x", "-o", "nonsense"), "USAGE"), (("list", "x"), "USAGE"), (("frob",), "USAGE"), ((), "USAGE")):
            done = moat(session, "--json", "context", *arguments)
            assert done.returncode == 125 and json.loads(done.stderr)["code"] == code, (arguments, done)
        assert json.loads(ok(session, "context", "rm", "--keep", "cli-json", "--json").stdout)["removed"] is True
    finally:
        remove(session, "cli-json")


@test("moat exec --session makes the context of a session, whatever its id is, and moat context finds it", needs=("moat",))
def of_session(session):
    name = "session-a/b ä%"
    try:
        assert ok(session, "exec", "--session", "a/b ä%", "--", "/bin/echo", "there").stdout == "there\n"
        assert name in ok(session, "context", "list").stdout
        ok(session, "context", "set", name, "-e", "A=1")
        assert "env = A=1" in ok(session, "context", "show", name).stdout.splitlines()
        done = json.loads(ok(session, "exec", "--session", "a/b ä%", "--json", "--", "/bin/sh", "-c", "echo $A").stdout)
        assert (done["stdout"], done["context"], done["created"]) == ("1\n", name, False), done
    finally:
        remove(session, name)
    assert moat(session, "exec", "--session", "a", "-c", "default", "--", "/bin/true").returncode == 125


@test("moat exec --no-isolation gives variables among the others of the context, and warns of secrets", needs=("moat",))
def no_isolation(session):
    plain = ok(session, "exec", "--no-isolation", "-e", "PORT=3000", "--", "/bin/sh", "-c", "echo $PORT; stat -Lc %i /proc/self/ns/mnt")
    assert plain.stdout.split()[0] == "3000" and plain.stderr == "", plain
    assert plain.stdout.split()[1] == ok(session, "exec", "--", "/bin/stat", "-Lc", "%i", "/proc/self/ns/mnt").stdout.strip()
    apart = ok(session, "exec", "-e", "PORT=3000", "--", "/bin/stat", "-Lc", "%i", "/proc/self/ns/mnt")
    assert apart.stdout.strip() != plain.stdout.split()[1], apart
    secret = ok(session, "exec", "--no-isolation", "-e", "MY_TOKEN=hunter2", "--", "/bin/sh", "-c", "echo $MY_TOKEN")
    assert secret.stdout == "hunter2\n" and "warning: MY_TOKEN" in secret.stderr and "hunter2" not in secret.stderr, secret
    assert moat(session, "exec", "--no-isolation", "--secure", "--", "/bin/true").returncode == 125
    made = ok(session, "context", "create", "cli-secret", "-e", "DB_PASSWORD=hunter2")
    remove(session, "cli-secret")
    assert "warning: DB_PASSWORD" in made.stderr and "SECRET_IN_CONTEXT" in made.stderr and "hunter2" not in made.stderr, made


@test("a name that is no UTF-8 is refused rather than left out", needs=("moat",))
def no_utf8(session):
    for option in ("-c", "--session", "-C"):
        done = moat(session, "exec", option, b"/\xff", "--", "/bin/echo", "ran")
        assert done.returncode == 125 and done.stdout == "" and "UTF-8" in done.stderr, (option, done)
