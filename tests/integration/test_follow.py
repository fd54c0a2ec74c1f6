# SPDX-License-Identifier: Apache-2.0
"""
What user code puts into a directory that all may write, in the way of the control plane and of moat-init: they follow no link and open
no FIFO or device there. The tests label processes of their own; what a service makes of it is in test_places.
"""

import contextlib
import os
import stat

from lib import doing, labels, places
from lib.labels import CONTROL, FOLLOW, INIT, NONE, USER, labelled
from lib.tap import test

MAKE = """
import os, sys
place, target = sys.argv[1:]
os.symlink(target, place + ".link")
os.symlink(os.path.dirname(target), place + ".directory")
os.mkfifo(place + ".fifo")
os.mknod(place + ".null", 0o20666, os.makedev(1, 3))
os.mkdir(place + ".own")
open(place + ".own/file", "w").close()
"""


@contextlib.contextmanager
def made(session, where="/tmp"):
    """By user code; the path that all of it begins with."""
    place = f"{where}/follow-{os.getpid()}"
    try:
        session.exec(places.PYTHON, "-c", MAKE, place, session.single, context="full")
        assert os.path.islink(place + ".link"), "user code has made nothing"
        yield place
    finally:
        for end in ("link", "directory", "fifo", "null"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{place}.{end}")
        doing.run("/bin/rm", "-rf", place + ".own")


def opened(path, flags=os.O_RDONLY):
    return lambda: os.close(os.open(path, flags | os.O_NONBLOCK))


def caught(place, target):
    """What goes wrong, name -> function. Without moat each works."""
    return {
        "write by a link": opened(place + ".link", os.O_WRONLY), "read by a link": opened(place + ".link"),
        "stat by a link": lambda: os.stat(place + ".link"), "truncate by a link": lambda: os.truncate(place + ".link", 9),
        "make by a link": opened(place + ".link", os.O_WRONLY | os.O_CREAT),
        "a link on the way": opened(f"{place}.directory/{os.path.basename(target)}"),
        "enter by a link": lambda: os.chdir(place + ".directory"),
        "open a FIFO": opened(place + ".fifo"), "open a device": opened(place + ".null", os.O_WRONLY),
    }


@test("neither the control plane nor moat-init follows a link or opens a FIFO or device that user code has put into /tmp; everybody "
      "else does, and a service with follow = yes", needs=("moat", "lsm"), timeout=60)
def traps(session):
    with made(session) as place:
        for name, function in caught(place, session.single).items():
            for role in (CONTROL, INIT):
                assert labelled(session, role, NONE, function) == "EACCES", (name, role)
            free = labelled(session, NONE, NONE, function)
            assert free == "ok" or "device" in name, (name, free)  # /tmp may be mounted nodev
            assert labelled(session, CONTROL, NONE, function, FOLLOW) == free, name
            changes = any(each in name for each in ("write", "truncate", "make"))  # what is protected
            assert labelled(session, USER, NONE, function) == ("EPERM" if changes else free), name


@test("what is no trap works: files and directories in /tmp, looking at and removing a link there, links and FIFOs elsewhere, "
      "/proc/self, one's own pipe by /dev/fd", needs=("moat", "lsm"), timeout=60)
def harmless(session):
    def own_pipe():
        ends = os.pipe()
        os.close(os.open(f"/dev/fd/{ends[0]}", os.O_RDONLY | os.O_NONBLOCK))
    with made(session) as place, made(session, session.scratch) as elsewhere:
        functions = {
            "a file": opened(place + ".own/file"), "a directory": lambda: os.listdir(place + ".own"),
            "looking at a link": lambda: (os.lstat(place + ".link"), os.readlink(place + ".link")),
            "looking at a FIFO": lambda: stat.S_ISFIFO(os.lstat(place + ".fifo").st_mode),
            "/proc/self": opened("/proc/self/status"), "a pipe": own_pipe, "removing a link": lambda: os.unlink(place + ".link"),
            **{f"elsewhere: {name}": function for name, function in caught(elsewhere, session.single).items() if "device" not in name},
        }
        for name, function in functions.items():
            assert labelled(session, CONTROL, NONE, function) == "ok", name


@test("a link or FIFO that user code moves out of /tmp while it is looked up stays one that is not followed", needs=("moat", "lsm"))
def moved(session):
    with made(session) as place:
        for end in ("link", "fifo"):
            other = f"{session.scratch}/moved-{end}"
            assert labelled(session, USER, NONE, lambda end=end, other=other: os.rename(f"{place}.{end}", other)) == "ok"
            assert labelled(session, CONTROL, NONE, opened(other)) == "EACCES", end
            opened(other)()
            os.unlink(other)


@test("user code can take from /tmp, /var/tmp and /dev/shm neither the mode nor the place that make them such; from others it can",
      needs=("moat", "lsm"))
def places_stay(session):
    other = f"{session.scratch}/all-may-write"
    os.mkdir(other)
    os.chmod(other, 0o1777)
    for path in ("/tmp", "/var/tmp", "/dev/shm"):
        mode = stat.S_IMODE(os.stat(path).st_mode)
        for function in (lambda path=path: os.chmod(path, 0o755), lambda path=path: os.chown(path, 1, 1)):
            assert labelled(session, USER, NONE, function) == "EPERM", path
        moves = labelled(session, USER, NONE, lambda path=path: os.rename(path, path + ".old"))
        assert moves in ("EPERM", "EBUSY", "EROFS"), (path, moves)  # what the kernel answers before it asks
        assert labelled(session, CONTROL, NONE, lambda path=path, mode=mode: os.chmod(path, mode)) == "ok", path
    assert labelled(session, USER, NONE, lambda: os.chmod(other, 0o755)) == "ok"
    assert labelled(session, USER, NONE, lambda: os.rename(other, other + ".old")) == "ok"


@test("what the control plane was refused is counted and in the audit log: the hook, its errno, who asked, the link", needs=("moat", "lsm"))
def audited(session):
    with made(session) as place:
        number = os.lstat(place + ".link").st_ino
        before = session.api.get("/v1/status")["hooks"]
        assert labelled(session, CONTROL, NONE, opened(place + ".link")) == "EACCES"
        after = session.api.get("/v1/status")["hooks"]
        denied = [{each["hook"]: each["denied"] for each in hooks}["inode_follow_link"] for hooks in (before, after)]
        assert denied[1] == denied[0] + 1, denied
        lines = session.api.request("GET", "/v1/events").body.decode()
    records = [line for line in lines.splitlines() if '"inode_follow_link"' in line and f'"value":{number}' in line.replace(" ", "")]
    assert records and '"EACCES"' in records[-1], records
