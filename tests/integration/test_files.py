# SPDX-License-Identifier: Apache-2.0
"""Files of a context over the API: read and written by moat-run, with the context's rights."""

import contextlib
import hashlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.parse

from lib import moatd, procs, rawhttp
from lib.tap import test


def place(path, context="default", **query):
    words = {"path": path, **{name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}}
    return f"/v1/contexts/{context}/files?{urllib.parse.urlencode(words, quote_via=urllib.parse.quote)}"


def get(session, path, context="default", headers=None, **query):
    return session.api.request("GET", place(path, context, **query), headers=headers)


def put(session, path, body, context="default", **query):
    return session.api.request("PUT", place(path, context, **query), body)


def post(session, path, context="default", **fields):
    return session.api.request("POST", place(path, context), fields)


def delete(session, path, context="default", **query):
    return session.api.request("DELETE", place(path, context, **query))


def code(reply):
    assert reply.status >= 400, reply
    return reply.json["code"]


def content(path):
    with open(path, "rb") as file:
        return file.read()


@contextlib.contextmanager
def tree(session):
    path = tempfile.mkdtemp(prefix="files-", dir=session.scratch)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@test("a file that is written is read again, whole and in ranges", needs=("moat",))
def write_read(session):
    with tree(session) as base:
        wrote = put(session, f"{base}/new/sub/a%b ü+c.txt", b"0123456789")
        assert wrote.status == 201 and wrote.json["created"] and wrote.json["size"] == 10, wrote
        assert wrote.json["sha256"] == hashlib.sha256(b"0123456789").hexdigest(), wrote
        assert content(f"{base}/new/sub/a%b ü+c.txt") == b"0123456789"
        os.rename(f"{base}/new/sub/a%b ü+c.txt", f"{base}/f")
        for asked, status, answer in (("bytes=0-", 206, b"0123456789"), ("bytes=2-4", 206, b"234"), ("bytes=-3", 206, b"789"),
                                      ("bytes=8-99", 206, b"89"), ("bytes=-99", 206, b"0123456789"), ("lines=1-2", 200, b"0123456789"),
                                      ("bytes=1-2,4-5", 200, b"0123456789"), ("bytes=x", 200, b"0123456789")):
            reply = get(session, f"{base}/f", headers={"Range": asked})
            assert (reply.status, reply.body) == (status, answer), (asked, reply)
        assert code(get(session, f"{base}/f", headers={"Range": "bytes=10-"})) == "RANGE_NOT_SATISFIABLE"
        assert put(session, f"{base}/empty", b"").json["size"] == 0 and get(session, f"{base}/empty").body == b""


@test("a large file goes in and out as it is, and the agent holds none of it", needs=("moat",))
def large(session):
    blocks = 8 if session.vm else 128  # MiB: an emulated processor takes seconds for the hash of each
    with tree(session) as base:
        block = os.urandom(1 << 20)
        wrote = put(session, f"{base}/large", block * blocks)
        assert wrote.status == 201 and wrote.json["size"] == blocks << 20, wrote
        whole = hashlib.sha256(block * blocks).hexdigest()
        assert wrote.json["sha256"] == whole, wrote
        reply = get(session, f"{base}/large")
        assert reply.status == 200 and hashlib.sha256(reply.body).hexdigest() == whole
        assert resident(session) < 64 << 20, f"{resident(session) >> 20} MiB"


def resident(session):
    with open(f"/proc/{session.agent.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS"))


@test("a client that does not read holds up its own answer and nobody else's", needs=("moat",))
def slow_reader(session):
    with tree(session) as base:
        with open(f"{base}/large", "wb") as file:
            file.truncate(256 << 20)
        with rawhttp.Raw(session) as slow:
            slow.send(f"GET {place(base + '/large')} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
            assert b"268435456" in slow.read_head()
            time.sleep(1)
            assert resident(session) < 64 << 20, resident(session)
            assert put(session, f"{base}/other", b"x").status == 201
        rawhttp.unharmed(session)


@test("a replaced file keeps mode and owner, and nobody ever sees half of it", needs=("moat",))
def atomic(session):
    with tree(session) as base:
        path = f"{base}/f"
        with open(path, "wb") as file:
            file.write(b"a" * 100000)
        os.chown(path, 1234, 5678)
        os.chmod(path, 0o640)
        seen, done = set(), threading.Event()

        def watch():
            while not done.is_set():
                seen.add(content(path))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for letter in b"bcd":
                assert put(session, path, bytes([letter]) * 100000).status == 200
        finally:
            done.set()
            watcher.join()
        assert seen <= {bytes([letter]) * 100000 for letter in b"abcd"}, [len(each) for each in seen]
        now = os.stat(path)
        assert (now.st_uid, now.st_gid, now.st_mode & 0o7777) == (1234, 5678, 0o640), now
        assert os.listdir(base) == ["f"]
        fresh = put(session, f"{base}/mode", b"", mode="0600").json
        assert fresh["mode"] == "0600", fresh


@test("in place a file stays the same one, and its other names with it", needs=("moat",))
def in_place(session):
    with tree(session) as base:
        assert put(session, f"{base}/f", b"long content").status == 201
        os.link(f"{base}/f", f"{base}/g")
        assert put(session, f"{base}/f", b"short", atomic=False).status == 200
        assert content(f"{base}/g") == b"short"
        assert put(session, f"{base}/f", b"other").status == 200
        assert content(f"{base}/g") == b"short", "by default another file takes its place"


@test("what is appended comes behind what is there", needs=("moat",))
def append(session):
    with tree(session) as base:
        assert put(session, f"{base}/log", b"one\n", append=True).status == 201
        assert put(session, f"{base}/log", b"two\n", append=True).status == 200
        assert content(f"{base}/log") == b"one\ntwo\n"


@test("conditions: nothing is written over a file that must not be there, or has changed", needs=("moat",))
def conditions(session):
    with tree(session) as base:
        path = f"{base}/f"
        assert code(put(session, path, b"x", ifMatch="0" * 64)) == "NO_SUCH_FILE"
        first = put(session, path, b"first", ifNoneMatch="*")
        assert first.status == 201, first
        assert code(put(session, path, b"x", ifNoneMatch="*")) == "FILE_EXISTS"
        assert get(session, path, stat=True, hash=True).json["sha256"] == first.json["sha256"]
        second = put(session, path, b"second", ifMatch=first.json["sha256"])
        assert second.status == 200, second
        reply = put(session, path, b"x", ifMatch=first.json["sha256"])
        assert reply.status == 412 and code(reply) == "FILE_CHANGED", reply
        assert content(path) == b"second"
        assert code(put(session, path, b"x", ifMatch="zz")) == "BAD_VALUE"
        assert code(post(session, path, op="replace", old="second", new="third", ifMatch=first.json["sha256"])) == "FILE_CHANGED"
        assert post(session, path, op="replace", old="second", new="third", ifMatch=second.json["sha256"]).status == 200


@test("a text is replaced where it is there exactly so many times", needs=("moat",))
def replace(session):
    with tree(session) as base:
        path = f"{base}/f"
        put(session, path, b"one two two three")
        for fields, count in (({"old": "two"}, 2), ({"old": "four"}, 0), ({"old": "two", "count": 3}, 2)):
            reply = post(session, path, op="replace", new="2", **fields)
            assert code(reply) == "NOT_REPLACED" and reply.json["details"]["count"] == count, (fields, reply)
        assert content(path) == b"one two two three"
        done = post(session, path, op="replace", old="two", new="zwei", count=2)
        assert content(path) == b"one zwei zwei three" and done.json["sha256"] == hashlib.sha256(content(path)).hexdigest(), done
        assert post(session, path, op="replace", old="one ", new="").status == 200 and content(path) == b"zwei zwei three"
        # across the edges of any window
        put(session, path, b"x" * 262143 + b"needle" + b"y" * 300000 + b"needle")
        assert post(session, path, op="replace", old="needle", new="pin", count=2).status == 200
        assert content(path) == b"x" * 262143 + b"pin" + b"y" * 300000 + b"pin"
        assert code(post(session, f"{base}/none", op="replace", old="a", new="b")) == "NO_SUCH_FILE"
        assert os.listdir(base) == ["f"]


@test("directories are made, listed and removed; names are changed", needs=("moat",))
def names(session):
    with tree(session) as base:
        assert post(session, f"{base}/a/b/c", op="mkdir", mode="0700").status == 201
        assert post(session, f"{base}/a/b/c", op="mkdir").status == 200
        assert code(post(session, f"{base}/a/b/c", op="mkdir", mkdirs=False)) == "FILE_EXISTS"
        assert code(post(session, f"{base}/x/y", op="mkdir", mkdirs=False)) == "NO_SUCH_FILE"
        assert put(session, f"{base}/a/f", b"12345").status == 201
        os.symlink("b/c", f"{base}/a/l")
        listed = get(session, f"{base}/a", list=True).json
        assert {(each["path"], each["type"], each.get("target")) for each in listed["entries"]} == \
            {("b", "directory", None), ("f", "file", None), ("l", "link", "b/c")} and not listed["truncated"], listed
        deep = get(session, base, list=True, recursive=True).json["entries"]
        assert {each["path"] for each in deep} == {"a", "a/b", "a/b/c", "a/f", "a/l"}, deep
        short = get(session, base, list=True, recursive=True, limit=2).json
        assert len(short["entries"]) == 2 and short["truncated"], short
        stat = get(session, f"{base}/a/f", stat=True).json
        assert (stat["type"], stat["size"], stat["mode"]) == ("file", 5, "0644"), stat
        assert get(session, f"{base}/a/l", stat=True).json["target"] == "b/c"
        assert get(session, f"{base}/a/f", exists=True).json["exists"] and not get(session, f"{base}/a/g", exists=True).json["exists"]
        assert not get(session, f"{base}/a/f/g", exists=True).json["exists"]
        assert post(session, f"{base}/a/f", op="rename", to=f"{base}/n/g").status == 200 and content(f"{base}/n/g") == b"12345"
        put(session, f"{base}/h", b"h")
        assert code(post(session, f"{base}/h", op="rename", to=f"{base}/n/g", overwrite=False)) == "FILE_EXISTS"
        assert post(session, f"{base}/h", op="rename", to=f"{base}/n/g").status == 200 and content(f"{base}/n/g") == b"h"
        assert code(delete(session, f"{base}/a")) == "NOT_EMPTY"
        gone = delete(session, f"{base}/a/l")
        assert gone.status == 200, gone
        assert os.path.isdir(f"{base}/a/b/c"), "of a link only itself is removed"
        assert delete(session, f"{base}/a", recursive=True).json == {"removed": True} and not os.path.exists(f"{base}/a")
        assert code(delete(session, f"{base}/a")) == "NO_SUCH_FILE"


@test("a link within a removed tree is not followed", needs=("moat",))
def remove_link(session):
    with tree(session) as base:
        os.makedirs(f"{base}/keep/sub")
        os.makedirs(f"{base}/gone")
        os.symlink(f"{base}/keep", f"{base}/gone/link")
        assert delete(session, f"{base}/gone", recursive=True).status == 200
        assert os.path.isdir(f"{base}/keep/sub") and os.listdir(base) == ["keep"]


@test("what is no file has a code for each kind, and nothing of it is opened", needs=("moat",))
def kinds(session):
    with tree(session) as base:
        os.mkfifo(f"{base}/fifo")
        os.symlink("loop", f"{base}/loop")
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"{base}/socket")
        put(session, f"{base}/f", b"")
        for path, expected in ((f"{base}/fifo", "IS_A_FIFO"), (f"{base}/socket", "IS_A_SOCKET"), ("/dev/null", "IS_A_DEVICE"),
                               (base, "IS_A_DIRECTORY"), (f"{base}/loop", "TOO_MANY_LINKS"), (f"{base}/f/g", "NOT_A_DIRECTORY"),
                               (f"{base}/none", "NO_SUCH_FILE"), (f"{base}/{'n' * 256}", "BAD_PATH")):
            assert code(get(session, path)) == expected, path
            if expected not in ("NO_SUCH_FILE",):
                assert code(put(session, path, b"x")) == expected, path
            if expected.startswith("IS_A"):
                assert code(put(session, path, b"x", append=True)) == expected, path
        for path in ("/", f"{base}/..", f"{base}/."):
            assert code(put(session, path, b"x")) == "BAD_PATH", path
        assert code(get(session, f"{base}/f", list=True)) == "NOT_A_DIRECTORY"
        server.close()


@test("a link is written through, wherever in the root it leads", needs=("moat",))
def through_link(session):
    with tree(session) as base:
        os.makedirs(f"{base}/d/e")
        os.symlink("../f", f"{base}/d/relative")
        os.symlink(f"{base}/g", f"{base}/d/absolute")
        os.symlink("d/e", f"{base}/directory")
        for link, real in (("d/relative", "f"), ("d/absolute", "g"), ("directory/h", "d/e/h")):
            for text in (b"one", b"two"):
                assert put(session, f"{base}/{link}", text).status in (200, 201)
                assert content(f"{base}/{real}") == text and get(session, f"{base}/{link}").body == text
        assert os.path.islink(f"{base}/d/relative") and os.path.islink(f"{base}/d/absolute")


@test("an upload that is cut off leaves the old file whole, and nothing beside it", needs=("moat",))
def cut_off(session):
    with tree(session) as base:
        path = f"{base}/f"
        put(session, path, b"old")
        before = rawhttp.descriptors(session)
        for query in ({}, {"append": True}, {"atomic": False}):
            with rawhttp.Raw(session) as raw:
                raw.send(f"PUT {place(path, **query)} HTTP/1.1\r\nHost: m\r\nContent-Length: 10000000\r\n\r\n".encode() + b"x" * 100000)
                time.sleep(0.3)
        procs.wait_until(lambda: os.listdir(base) == ["f"], 10, "nothing is left beside it")
        rawhttp.settles(session, before)
        assert content(path) == b"old" and os.listdir(base) == ["f"]
        rawhttp.unharmed(session)


@test("a file system that is full leaves the old file whole, and the client learns it after it has sent all", needs=("moat",))
def full_disk(session):
    base = "/dev/shm/files"  # the namespace's own, which has a size
    try:
        assert put(session, f"{base}/f", b"old").status == 201
        session.exec("/bin/dd", "if=/dev/zero", f"of={base}/fill", "bs=64k", "status=none")
        for query in ({}, {"append": True}, {"atomic": False}):
            reply = put(session, f"{base}/f", b"x" * (9 << 20), **query)
            assert reply.status == 507 and code(reply) == "NO_SPACE", (query, reply)
            assert get(session, f"{base}/f").body == b"old", query
        reply = put(session, base, tar_of([("f", b"x" * (9 << 20))]), archive="tar")
        assert reply.status == 507 and code(reply) == "NO_SPACE" and get(session, f"{base}/f").body == b"old", reply
        names = {each["path"] for each in get(session, base, list=True).json["entries"]}
        assert names == {"f", "fill"}, names
        delete(session, f"{base}/fill")
        assert put(session, f"{base}/f", b"x" * (9 << 20)).status == 200
    finally:
        delete(session, base, recursive=True)


@test("names that are not UTF-8 come and go as they are", needs=("moat",))
def bytes_names(session):
    with tree(session) as base:
        assert session.api.request("PUT", place(base) + "%2F%ff", b"x").status == 201
        assert os.listdir(os.fsencode(base)) == [b"\xff"]
        entry = get(session, base, list=True).json["entries"][0]
        assert entry["path"] == "/w==" and entry["pathEncoding"] == "base64", entry


@test("a query that is wrong is refused with the field", needs=("moat",))
def wrong(session):
    for method, query, expected in (
            ("GET", "", ("MISSING_FIELD", "path")), ("GET", "path=", ("BAD_VALUE", "path")), ("GET", "path=%zz", ("BAD_VALUE", "path")),
            ("GET", "path=a%00b", ("BAD_VALUE", "path")), ("GET", "path=/&stat&list", ("BAD_VALUE", "list")),
            ("GET", "path=/&list&limit=0", ("BAD_VALUE", "limit")), ("GET", "path=/&list=yes", ("BAD_VALUE", "list")),
            ("GET", "path=/&mode=1", ("UNKNOWN_FIELD", "mode")), ("PUT", "path=/tmp/x&mode=888", ("BAD_VALUE", "mode")),
            ("PUT", "path=/tmp/x&mode=4755", ("BAD_VALUE", "mode")), ("PUT", "path=/tmp/x&ifNoneMatch=y", ("BAD_VALUE", "ifNoneMatch")),
            ("GET", "path=" + "a" * 5000, ("BAD_VALUE", "path"))):
        reply = session.api.request(method, f"/v1/contexts/default/files?{query}", b"x" if method == "PUT" else None)
        assert (code(reply), reply.json["details"]["field"]) == expected, (query, reply)
    assert code(get(session, "/", context="nobody", list=True)) == "NO_SUCH_CONTEXT"
    for body, field in (({"op": "chmod"}, "op"), ({"op": "rename"}, "to"), ({"op": "replace", "new": ""}, "old"),
                        ({"op": "replace", "old": "", "new": "x"}, "old"), ({}, "op")):
        reply = session.api.request("POST", place("/tmp/x"), body)
        assert reply.json["details"]["field"] == field, (body, reply)


@test("a request for files is no command: it is not listed, and waits for nobody", needs=("moat",))
def not_listed(session):
    with tree(session) as base:
        with open(f"{base}/large", "wb") as file:
            file.truncate(256 << 20)
        before = {each["id"] for each in session.api.get("/v1/processes")["processes"]}
        with rawhttp.Raw(session) as slow:
            slow.send(f"GET {place(base + '/large')} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
            slow.read_head()
            assert {each["id"] for each in session.api.get("/v1/processes")["processes"]} <= before
            assert "moat-files" in session.exec("/bin/ps", "axww", "-o", "args").out, "but it is there"
        procs.wait_until(lambda: "moat-files" not in session.exec("/bin/ps", "axww", "-o", "args").out, 10, "it ends with its client")
        later = session.api.get("/v1/processes")["processes"]
        assert {each["id"] for each in later if each["state"] != "ended"} <= before, "only the commands that looked are new"


@test("what is hidden from the commands of a context, or protected from them, is so from its files", needs=("moat", "lsm"))
def guarded(session):
    for context in ("default", "full"):
        for hidden in (session.hidden, session.uncovered):  # behind a mount that covers it, and past that
            for answer in (get(session, f"{hidden}/file", context=context), get(session, f"{hidden}/file", context=context, stat=True),
                           put(session, f"{hidden}/file", b"x", context=context), delete(session, f"{hidden}/file", context=context)):
                assert code(answer) in ("NO_SUCH_FILE", "PERMISSION_DENIED", "READ_ONLY"), (context, hidden, answer)
            listed = get(session, hidden, context=context, list=True)
            assert listed.status >= 400 or listed.json["entries"] == [], listed
        assert code(get(session, session.hidden_alias, context=context)) in ("NO_SUCH_FILE", "PERMISSION_DENIED")
        for answer in (put(session, f"{session.tree}/new", b"x", context=context), put(session, session.single, b"x", context=context),
                       put(session, session.single, b"x", context=context, atomic=False),
                       delete(session, session.single, context=context),
                       post(session, session.single, context=context, op="rename", to=f"{session.scratch}/moved"),
                       delete(session, session.tree, context=context, recursive=True)):
            assert code(answer) in ("PERMISSION_DENIED", "READ_ONLY", "FILE_IN_USE"), (context, answer)
        assert get(session, f"{session.tree}/file", context=context).status == 200, "it may be read"
    assert sorted(os.listdir(session.tree))[:3] == ["file", "link", "linked"] and content(f"{session.hidden}/file") == b"#!/bin/true\n"
    with tree(session) as base:
        assert put(session, f"{base}/f", b"x").status == 201 and delete(session, f"{base}/f").status == 200


@contextlib.contextmanager
def workspace(session, name="worker", **keys):
    """A context with a workspace that is made with it, and the path of that."""
    with tree(session) as base:
        reply = session.api.request("POST", "/v1/contexts", {"name": name, "workspace": f"{base}/deep/work", **keys})
        assert reply.status == 201, reply
        try:
            yield f"{base}/deep/work"
        finally:
            session.api.request("DELETE", f"/v1/contexts/{name}")


@test("a workspace is there when its context is, and commands start, live and find their programs in it", needs=("moat",))
def workspace_made(session):
    with workspace(session) as work:
        assert os.path.isdir(work) and os.stat(work).st_mode & 0o7777 == 0o755
        assert session.api.get("/v1/contexts/worker")["settings"]["workspace"] == work
        ran = session.exec("/bin/sh", "-c", "pwd; echo $HOME $PWD; echo $PATH", context="worker")
        assert ran.out.splitlines()[:2] == [work, f"{work} {work}"], ran
        assert ran.out.splitlines()[2].startswith(f"{work}/.venv/bin:{work}/node_modules/.bin:/usr/"), ran
        assert session.exec("/usr/bin/printenv", "PWD", context="worker", cwd="/usr").out == "/usr\n"
        assert put(session, "node_modules/.bin/own", b"#!/bin/sh\necho own program\n", context="worker", mode="0755").status == 201
        assert session.exec("own", context="worker").out == "own program\n"
        changed = session.api.request("PATCH", "/v1/contexts/worker", {"workspace": "/tmp"})
        assert code(changed) == "IMMUTABLE", changed


@test("a secure command takes no program from the workspace", needs=("moat",))
def workspace_secure(session):
    with workspace(session) as work:
        put(session, ".venv/bin/true", b"#!/bin/sh\necho taken in\n", context="worker", mode="0755")
        assert session.exec("true", context="worker").out == "taken in\n", "an ordinary one does"
        ran = session.exec("true", context="worker", env={"TOKEN": "secret"})
        assert ran.exit == 0 and ran.out == "", ran
        path = session.exec("/usr/bin/printenv", "PATH", context="worker", isolated=True).out
        assert work not in path and path.startswith("/usr/"), path


@test("a workspace that cannot be made is an error, and its context is not there", needs=("moat",))
def workspace_failed(session):
    for where, expected in (("/dev/null/work", "NOT_A_DIRECTORY"), ("/proc/work", "NO_SUCH_FILE")):
        reply = session.api.request("POST", "/v1/contexts", {"name": "failed", "workspace": where})
        assert code(reply) == expected, reply
        procs.wait_until(lambda: "failed" not in [each["name"] for each in session.api.get("/v1/contexts")["contexts"]], 10, "it is gone")
    for where in ("/", "relative", ""):
        reply = session.api.request("POST", "/v1/contexts", {"name": "failed", "workspace": where})
        assert code(reply) == "BAD_VALUE" and reply.json["details"]["field"] == "workspace", reply


@test("files of a workspace are beneath it: neither a path, nor .., nor a link leads out", needs=("moat",))
def beneath(session):
    with workspace(session) as work:
        outside = os.path.dirname(work)
        with open(f"{outside}/secret", "wb") as file:
            file.write(b"secret")
        os.symlink(f"{outside}/secret", f"{work}/absolute")
        os.symlink("../secret", f"{work}/relative")
        os.symlink("..", f"{work}/up")
        os.makedirs(f"{work}/a/b")
        os.symlink("../f", f"{work}/a/within")
        put(session, "f", b"inside", context="worker")
        for path in ("f", f"{work}/f", f"{work}//a/../f", "a/within", "./a/b/../../f"):
            assert get(session, path, context="worker").body == b"inside", path
        for path in (f"{outside}/secret", "/etc/passwd", f"{work}2/f", "../secret", "a/../../secret", f"{work}/../secret", "absolute",
                     "relative", "up/secret"):
            assert code(get(session, path, context="worker")) == "OUTSIDE_WORKSPACE", path
            assert code(put(session, path, b"x", context="worker")) == "OUTSIDE_WORKSPACE", path
        for path in ("../secret", "up/secret", f"{outside}/secret"):
            assert code(delete(session, path, context="worker")) == "OUTSIDE_WORKSPACE", path
            assert code(post(session, path, context="worker", op="mkdir")) == "OUTSIDE_WORKSPACE", path
            assert code(post(session, "f", context="worker", op="rename", to=path)) == "OUTSIDE_WORKSPACE", path
        assert content(f"{outside}/secret") == b"secret" and sorted(os.listdir(outside)) == ["secret", "work"]
        listed = get(session, ".", context="worker", list=True, recursive=True).json["entries"]
        assert "up/secret" not in [each["path"] for each in listed] and len(listed) == 7, listed


@test("what a context links to is among its files by either name, read-only unless it says rw, and by the configuration whatever becomes of the link",
      needs=("moat",))
def links(session):
    with tree(session) as base:
        for name in ("skills", "data"):
            os.mkdir(f"{base}/{name}")
            with open(f"{base}/{name}/f", "wb") as file:
                file.write(name.encode())
        with workspace(session, link=[f".solven/skills/system -> {base}/skills", f"data -> {base}/data rw"], preset=["python"]) as work:
            assert os.readlink(f"{work}/.solven/skills/system") == f"{base}/skills" and os.readlink(f"{work}/data") == f"{base}/data"
            settings = session.api.get("/v1/contexts/worker")["settings"]
            assert (settings["link"], settings["preset"]) == ([f".solven/skills/system -> {base}/skills", f"data -> {base}/data rw"], ["python"])
            assert session.exec("/bin/cat", ".solven/skills/system/f", context="worker").out == "skills"
            environ = session.exec("/usr/bin/env", context="worker").out.splitlines()
            assert "MPLBACKEND=Agg" in environ and not [each for each in environ if "node_modules" in each], environ
            for path in (".solven/skills/system/f", f"{work}/.solven//skills/system/f", f"{base}/skills/f"):
                assert get(session, path, context="worker").body == b"skills", path
                assert code(put(session, path, b"x", context="worker")) == "READ_ONLY", path
                assert code(delete(session, path, context="worker")) == "READ_ONLY", path
            assert get(session, ".solven/skills/system", context="worker", list=True).json["entries"][0]["path"] == "f"
            assert put(session, "data/new/g", b"x", context="worker").status == 201 and content(f"{base}/data/new/g") == b"x"
            assert code(post(session, "data/f", context="worker", op="rename", to="f")) == "OTHER_FILESYSTEM"
            assert post(session, "data/f", context="worker", op="rename", to=f"{base}/data/h").status == 200
            os.symlink("/etc", f"{base}/data/out")
            for path in ("data/out/passwd", f"{base}/data/out/passwd", f"{base}/skills/../data/h", base):
                assert code(get(session, path, context="worker")) == "OUTSIDE_WORKSPACE", path
            os.unlink(f"{work}/.solven/skills/system")
            os.symlink("/etc", f"{work}/.solven/skills/system")  # as user code may
            assert get(session, ".solven/skills/system/f", context="worker").body == b"skills"
            assert code(get(session, ".solven/skills/system/passwd", context="worker")) == "NO_SUCH_FILE"
            # made anew: over another link, not over a file
            again = {"name": "again", "workspace": work, "link": [f".solven/skills/system -> {base}/skills"]}
            assert session.api.request("POST", "/v1/contexts", again).status == 201
            assert os.readlink(f"{work}/.solven/skills/system") == f"{base}/skills"
            session.api.request("DELETE", "/v1/contexts/again")
            put(session, "plain", b"file", context="worker")
            reply = session.api.request("POST", "/v1/contexts", {**again, "link": [f"plain -> {base}/skills"]})
            assert code(reply) == "FILE_EXISTS" and content(f"{work}/plain") == b"file", reply
        for wrong in ({"link": ["a -> b"]}, {"link": ["../a -> /b"]}, {"link": ["a -> /b", "a/c -> /d"]}, {"preset": ["ruby"]}, {"preset": 1}):
            reply = session.api.request("POST", "/v1/contexts", {"name": "again", "workspace": base, **wrong})
            assert code(reply) == "BAD_VALUE" and reply.json["details"]["field"].split("[")[0] in wrong, reply
        reply = session.api.request("POST", "/v1/contexts", {"name": "again", "link": ["a -> /b"]})
        assert code(reply) == "BAD_VALUE" and reply.json["details"]["field"] == "link", reply


def tar_of(entries, mtime=1234567890, **more):
    """A tar archive of (name, what) pairs: bytes are a file, "-> x" a link, None a directory, else a type."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **more) as archive:
        for name, what in entries:
            info = tarfile.TarInfo(name)
            info.mtime = mtime
            if isinstance(what, bytes):
                info.size, info.mode = len(what), 0o640
            elif what is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o750
            elif isinstance(what, str):
                info.type, info.linkname = tarfile.SYMTYPE, what.removeprefix("-> ")
            else:
                info.type, info.linkname = what
            archive.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return out.getvalue()


def untarred(data):
    """name -> content, "-> x" or None, as Python reads an archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {each.name: archive.extractfile(each).read() if each.isreg() else f"-> {each.linkname}" if each.issym() else None
                for each in archive.getmembers()}


LONG = "/".join(["d" * 90] * 4) + "/" + "n" * 200
MANY = [("a", None), ("a/f", b"one"), ("./a/b/c/g", b"x" * 70001), ("empty", b""), ("a/link", "-> ../empty"), ("ä b", b"\0\xff" * 300),
        (LONG, b"long"), ("far", "-> " + "x/" * 120 + "y")]


@test("many files go in by one archive, of each format of tar, with mode and time, and come out by one", needs=("moat",))
def archive(session):
    expected = {name.removeprefix("./"): what for name, what in MANY}
    for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with workspace(session) as work:
            done = put(session, "in", tar_of(MANY, format=format_), context="worker", archive="tar")
            assert done.status == 201 and done.json["type"] == "directory", done
            assert content(f"{work}/in/a/f") == b"one" and content(f"{work}/in/{LONG}") == b"long"
            seen = os.stat(f"{work}/in/a/f")
            assert (seen.st_mode & 0o7777, seen.st_mtime, os.stat(f"{work}/in/a").st_mode & 0o7777) == (0o640, 1234567890, 0o750), seen
            again = put(session, "in", tar_of([("a/f", b"two")]), context="worker", archive="tar")
            assert again.status == 200 and content(f"{work}/in/a/f") == b"two"
            os.mkfifo(f"{work}/in/fifo")
            reply = get(session, "in", context="worker", archive="tar")
            assert reply.status == 200, reply
            found = untarred(reply.body)
            made = {name for name in found if found[name] is None}
            assert {name: what for name, what in found.items() if name not in made} == \
                {name: b"two" if name == "a/f" else what for name, what in expected.items() if what is not None}, found.keys()
            assert {"a", "a/b", "a/b/c"} <= made and "fifo" not in found, made
            listed = subprocess.run(["/usr/bin/tar", "-tf", "-"], input=reply.body, check=True, capture_output=True).stdout.decode()
            assert LONG in listed, listed
            assert put(session, "out", reply.body, context="worker", archive="tar").status == 201, "what comes out goes in"
            assert content(f"{work}/out/{LONG}") == b"long" and os.readlink(f"{work}/out/far") == "x/" * 120 + "y"
            assert not [name for _, _, names in os.walk(work) for name in names if name.startswith(".moat")]


@test("owners that the header of an archive has no room for are told all the same; a time before 1970 is the beginning of 1970", needs=("moat",))
def archive_numbers(session):
    with workspace(session) as work:
        assert put(session, "in", tar_of([("f", b"x")], mtime=-5, format=tarfile.GNU_FORMAT), context="worker", archive="tar").status == 201
        assert os.stat(f"{work}/in/f").st_mtime == 0
        os.chown(f"{work}/in/f", 3000000, 2097151)
        with tarfile.open(fileobj=io.BytesIO(get(session, "in", context="worker", archive="tar").body)) as found:
            member = found.getmember("f")
            assert (member.uid, member.gid) == (3000000, 2097151), (member.uid, member.gid)


@test("an archive writes nothing outside, makes no link that leads out, and no FIFO or device; what is wrong with it is an error", needs=("moat",))
def archive_refused(session):
    whole = tar_of([("f", b"x" * 5000)])
    broken = bytearray(whole)
    broken[10] ^= 1
    with workspace(session) as work:
        outside = os.path.dirname(work)
        os.symlink("..", f"{work}/up")
        for entries, expected in (
                ([("../f", b"x")], "OUTSIDE_WORKSPACE"), ([("/f", b"x")], "OUTSIDE_WORKSPACE"), ([("a/../f", b"x")], "OUTSIDE_WORKSPACE"),
                ([("up/f", b"x")], "OUTSIDE_WORKSPACE"), ([("l", "-> /etc/passwd")], "OUTSIDE_WORKSPACE"), ([("l", "-> ../x")], "OUTSIDE_WORKSPACE"),
                ([("a/l", "-> ../../x")], "OUTSIDE_WORKSPACE"), ([("a/l", "-> b/../../../x")], "OUTSIDE_WORKSPACE"),
                # by a link that came before, which is no directory further down
                ([("s", "-> ."), ("s/s/s/x", "-> ../../../etc")], "OUTSIDE_WORKSPACE"), ([("s", "-> ."), ("x", "-> s/..")], "OUTSIDE_WORKSPACE"),
                ([("s", "-> ."), ("x", "-> s/s/../..")], "OUTSIDE_WORKSPACE"),
                ([("f", (tarfile.FIFOTYPE, ""))], "IS_A_FIFO"), ([("f", (tarfile.CHRTYPE, ""))], "IS_A_DEVICE"),
                ([("f", (tarfile.BLKTYPE, ""))], "IS_A_DEVICE"), ([("f", b"x"), ("g", (tarfile.LNKTYPE, "f"))], "BAD_ARCHIVE"),
                ([("f", b"x"), ("f/g", b"y")], "NOT_A_DIRECTORY"), ([("d", None), ("d", b"y")], "IS_A_DIRECTORY"), ([("..", None)], "OUTSIDE_WORKSPACE"),
                ([("n" * 256, b"x")], "BAD_PATH")):
            for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
                assert code(put(session, ".", tar_of(entries, format=format_), context="worker", archive="tar")) == expected, entries
        for data in (b"", b"no archive", whole[:512], whole[:3000], bytes(broken), whole[:5632], b"\0" * 511, os.urandom(2048)):
            reply = put(session, "cut", data, context="worker", archive="tar")
            assert code(reply) == "BAD_ARCHIVE", (data[:20], reply)
            assert os.path.exists(f"{work}/cut/f") == (data == whole[:5632]), "what came whole is there, what did not is not"
            delete(session, "cut", context="worker", recursive=True)
        for path, expected in (("f", "NOT_A_DIRECTORY"), ("none", "NO_SUCH_FILE"), ("up", "OUTSIDE_WORKSPACE")):
            put(session, "f", b"x", context="worker")
            assert code(get(session, path, context="worker", archive="tar")) == expected, path
        for query in ({"archive": "zip"}, {"archive": "tar", "append": True}, {"archive": "tar", "mode": "0644"}):
            reply = put(session, "x", whole, context="worker", **query)
            assert code(reply) == "BAD_VALUE" and reply.json["details"]["field"] == "archive", reply
        assert code(put(session, ".", tar_of([("f", b"new")]), context="worker", archive="tar", ifNoneMatch="*")) == "FILE_EXISTS"
        assert content(f"{work}/f") == b"x" and sorted(os.listdir(outside)) == ["work"]


@test("an archive is as large as it likes, and the agent holds none of it", needs=("moat",))
def archive_large(session):
    with tree(session) as base:
        os.mkdir(f"{base}/many")
        for number in range(2000):
            with open(f"{base}/many/{number}", "wb") as file:
                file.write(b"%d" % number)
        with open(f"{base}/large", "wb") as file:
            file.truncate(128 << 20)
        reply = get(session, base, archive="tar")
        with tarfile.open(fileobj=io.BytesIO(reply.body)) as packed:
            assert len(packed.getmembers()) == 2002 and packed.getmember("large").size == 128 << 20
        assert resident(session) < 64 << 20, resident(session)
        assert put(session, f"{base}/again", reply.body, archive="tar").status == 201
        assert len(os.listdir(f"{base}/again/many")) == 2000 and os.path.getsize(f"{base}/again/large") == 128 << 20
        assert resident(session) < 64 << 20, resident(session)
        before = rawhttp.descriptors(session)
        with rawhttp.Raw(session) as cut:  # who goes in the middle of it
            cut.send(f"PUT {place(base + '/cut', archive='tar')} HTTP/1.1\r\nHost: m\r\nContent-Length: 9999999\r\n\r\n".encode())
            cut.send(tar_of([("a", b"whole"), ("b", b"x" * 100000)])[:50000])
            procs.wait_until(lambda: os.path.exists(f"{base}/cut/a"), 20, "the first is there")
        rawhttp.settles(session, before)
        procs.wait_until(lambda: os.listdir(f"{base}/cut") == ["a"] and content(f"{base}/cut/a") == b"whole", 20, "and nothing of the second")
        with rawhttp.Raw(session) as slow:
            slow.send(f"GET {place(base, archive='tar')} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
            slow.read_head()
        procs.wait_until(lambda: "moat-files" not in session.exec("/bin/ps", "axww", "-o", "args").out, 10, "it ends with its client")


SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
while True:
    libc.renameat2(-100, b"here", -100, b"there", 2)
"""


@test("somebody who swaps a directory and a link that leads out gets nothing out and nothing in", needs=("moat",))
def race(session):
    with workspace(session) as work:
        outside = os.path.dirname(work)
        os.mkdir(f"{work}/here")
        os.symlink(outside, f"{work}/there")
        for path, text in ((f"{outside}/f", b"outside"), (f"{work}/here/f", b"inside")):
            with open(path, "wb") as file:
                file.write(text)
        swapper = session.api.start("/usr/bin/python3", "-c", SWAP, work, context="worker")
        seen = set()
        procs.wait_until(lambda: seen.add(content(f"{work}/here/f")) or b"outside" in seen, 20, "a plain open is led out")
        answers = set()
        for round_ in range(400):
            reply = get(session, "here/f", context="worker") if round_ % 2 else put(session, "here/f", b"inside", context="worker")
            answers.add(reply.body if reply.status == 200 and round_ % 2 else reply.status if reply.status < 300 else code(reply))
        session.api.kill(swapper)
        assert answers <= {b"inside", 200, "OUTSIDE_WORKSPACE"} and b"inside" in answers, answers
        swapper, packed = session.api.start("/usr/bin/python3", "-c", SWAP, work, context="worker"), set()
        for round_ in range(200):
            done = put(session, ".", tar_of([("here/g", b"inside"), ("here/d/h", b"inside")]), context="worker", archive="tar")
            assert done.status == 200 or code(done) == "OUTSIDE_WORKSPACE", done
            reply = get(session, "here" if round_ % 2 else ".", context="worker", archive="tar")
            packed |= {what for what in untarred(reply.body).values() if what} if reply.status == 200 else {code(reply)}
        session.api.kill(swapper)
        assert packed <= {b"inside", f"-> {outside}", "OUTSIDE_WORKSPACE"} and b"inside" in packed, packed
        assert content(f"{outside}/f") == b"outside" and sorted(os.listdir(outside)) == ["f", "work"]


@test("what would leave a file system is refused: a rename, and the removal of what has one mounted beneath it", needs=("moat",))
def other_filesystem(session):
    with tree(session) as base:
        os.makedirs(f"{base}/d/mounted")
        mounted = session.exec("/bin/mount", "-t", "tmpfs", "tmpfs", f"{base}/d/mounted", context="adm")
        assert mounted.exit == 0, mounted
        try:
            assert put(session, f"{base}/d/mounted/f", b"there", context="adm").status == 201
            assert get(session, f"{base}/d/mounted/f", context="adm").body == b"there" and not os.listdir(f"{base}/d/mounted")
            assert code(post(session, f"{base}/d/mounted/f", context="adm", op="rename", to=f"{base}/f")) == "OTHER_FILESYSTEM"
            assert code(delete(session, f"{base}/d", context="adm", recursive=True)) == "OTHER_FILESYSTEM"
            assert code(delete(session, f"{base}/d/mounted", context="adm")) == "FILE_IN_USE"
            assert get(session, f"{base}/d/mounted/f", context="adm").body == b"there"
        finally:
            session.exec("/bin/umount", f"{base}/d/mounted", context="adm")
        assert delete(session, f"{base}/d", context="adm", recursive=True).status == 200


@test("moat files reads, writes, lists and edits from the command line, and its errors are those of the API", needs=("moat",))
def command_line(session):
    def run(*words, text=b"", status=0):
        done = subprocess.run([f"{session.build}/moat", "--socket", session.agent.socket, "files", *words], input=text, check=False,
                              capture_output=True, timeout=60 * session.patience)
        assert done.returncode == status, (words, done)
        return done.stdout if status == 0 else done.stderr

    with workspace(session) as work:
        big = os.urandom(3 << 20)
        run("-c", "worker", "write", "-m", "600", "sub/big & ü", text=big)
        assert content(f"{work}/sub/big & ü") == big and os.stat(f"{work}/sub/big & ü").st_mode & 0o777 == 0o600
        assert run("-c", "worker", "read", "sub/big & ü") == big
        run("-c", "worker", "write", "f", text=b"one")
        run("-c", "worker", "write", "-a", "f", text=b" two")
        assert b"(FILE_EXISTS)" in run("-c", "worker", "write", "-n", "f", text=b"x", status=125)
        run("-c", "worker", "replace", "f", "two", "three")
        assert run("-c", "worker", "read", f"{work}/f") == b"one three"
        assert b"(NOT_REPLACED)" in run("-c", "worker", "replace", "f", "two", "x", status=125)
        digest = hashlib.sha256(b"one three").hexdigest()
        assert digest.encode() in run("-c", "worker", "stat", "f")
        run("-c", "worker", "write", "--if-match", digest, "f", text=b"four")
        assert b"(FILE_CHANGED)" in run("-c", "worker", "write", "--if-match", digest, "f", text=b"five", status=125)
        run("-c", "worker", "mkdir", "d/e")
        run("-c", "worker", "mv", "f", "d/e/g")
        listed = run("-c", "worker", "ls", "-R").decode()
        assert "d/e/g" in listed and "sub/big & ü" in listed and "directory" in listed, listed
        assert b"(NOT_EMPTY)" in run("-c", "worker", "rm", "d", status=125)
        run("-c", "worker", "rm", "-R", "d")
        assert b"(NO_SUCH_FILE)" in run("-c", "worker", "read", "d/e/g", status=125)
        packed = run("-c", "worker", "pack", "sub")
        assert untarred(packed) == {"big & ü": big}
        run("-c", "worker", "unpack", "copy", text=packed)
        assert content(f"{work}/copy/big & ü") == big
        assert b"(FILE_EXISTS)" in run("-c", "worker", "unpack", "-n", "copy", text=packed, status=125)
        assert b"(BAD_ARCHIVE)" in run("-c", "worker", "unpack", "copy", text=packed[:1000], status=125)
        assert b"(OUTSIDE_WORKSPACE)" in run("-c", "worker", "read", "/etc/passwd", status=125)
        assert b"(USAGE)" in run("mv", "one", status=125)
    assert run("read", "/etc/hostname") == content("/etc/hostname"), "context default has no workspace"


@test("the workspaces of the configuration are made before the first command can be asked for")
def workspace_configured(session):
    with tree(session) as base:
        sections = (f"[service spare]\ncommand = /bin/sleep 1000\n[context default]\nworkspace = {base}/one\n"
                    f"[context second]\nworkspace = {base}/two\n[context third]\nworkspace = /dev/null/x\n")
        agent = moatd.Moatd(session.build, f"itest-files-{os.getpid()}", sections, "best-effort")
        try:
            agent.start(90 * session.patience)
            assert agent.api().exec("/bin/pwd").out == f"{base}/one\n"
            assert agent.api().exec("/bin/pwd", context="second").out == f"{base}/two\n"
            assert "the workspace of context third cannot be made" in agent.log()
            reply = agent.api().request("POST", "/v1/exec", {"argv": ["/bin/true"], "context": "third"})
            assert code(reply) == "BAD_DIRECTORY", reply
            assert agent.stop() == (0, [])
        finally:
            agent.kill()
            agent.remove_files()
