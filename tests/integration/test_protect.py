# SPDX-License-Identifier: Apache-2.0
"""
Files that user code may read but not change: what the attempts of the group "files" do not show. The service `http` protects
a tree (the one they attack), a single file, a directory behind a symbolic link, one with a mount in it, one on ext4, and one
on an overlay.
"""

import ctypes
import errno
import os

from lib import doing, marks, moatd, places
from lib.tap import test

# Prints the errno's name of each call, or ok.
CALLS = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def write(path): os.close(os.open(path, os.O_WRONLY))
def make(path): os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
def read(path): os.close(os.open(path, os.O_RDONLY))
def bind_over(path):
    if libc.unshare(0x00020000) or libc.mount(b"/bin/true", path.encode(), None, 4096, None):
        raise OSError(ctypes.get_errno(), "")
def shm_attach(key):
    if libc.shmget(int(key), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")
for word in sys.argv[1:]:
    call, _, argument = word.partition("=")
    pid = os.fork() if call == "bind_over" else 0
    if pid:
        os.waitpid(pid, 0)
        continue
    try:
        {"write": write, "make": make, "read": read, "unlink": os.unlink, "rename": lambda path: os.rename(path, path + ".moved"),
         "bind_over": bind_over, "shm": shm_attach, "chmod": lambda path: os.chmod(path, 0o700)}[call](argument)
        print("ok", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
    if call == "bind_over":
        os._exit(0)
"""


def answers(session, *calls, context="shared"):
    result = session.exec(places.PYTHON, "-c", CALLS, *calls, context=context, timeout=60 * session.patience)
    return result.out.split() or result.err


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


@test("a single protected file stays protected when an editor renames a new one over it", needs=("moat", "lsm"))
def renamed_over(session):
    write(session.single + ".new", "after\n")
    free = session.single + ".free"
    write(free, "nobody's\n")
    assert answers(session, f"write={session.single}", f"write={session.single}.new", f"write={free}") == ["EPERM", "ok", "ok"]
    os.rename(session.single + ".new", session.single)
    calls = [f"{call}={session.single}" for call in ("read", "write", "unlink", "rename", "chmod")]
    assert answers(session, *calls) == ["ok", "EPERM", "EPERM", "EPERM", "EPERM"]
    assert answers(session, f"write={free}", f"rename={free}") == ["ok", "ok"]


@test("a name that the control plane's side gives a protected file elsewhere is protected, too", needs=("moat", "lsm"))
def linked(session):
    elsewhere, other = f"{session.scratch}/elsewhere", f"{session.scratch}/other"
    write(other, "nobody's\n")
    os.link(f"{session.tree}/file", elsewhere)
    os.link(other, other + ".link")
    assert answers(session, f"read={elsewhere}", f"write={elsewhere}", f"unlink={elsewhere}") == ["ok", "EPERM", "EPERM"]
    assert answers(session, f"write={other}.link", f"unlink={other}.link") == ["ok", "ok"]
    os.unlink(elsewhere)


@test("the mark of a protected file ends with the file: replacing one many times takes no room", needs=("moat", "lsm"))
def forgotten(session):
    twice, elsewhere = f"{session.tree}/twice", f"{session.scratch}/twice"
    before = marks.count(session)
    write(twice, "two names\n")
    os.link(twice, elsewhere)
    assert marks.count(session) == before + 1
    os.unlink(twice)
    assert answers(session, f"write={elsewhere}") == ["EPERM"]
    assert marks.count(session) == before + 1
    os.unlink(elsewhere)
    for number in range(50):
        write(session.single + ".new", f"{number}\n")
        os.rename(session.single + ".new", session.single)
    assert marks.count(session) == before
    assert answers(session, f"read={session.single}", f"write={session.single}") == ["ok", "EPERM"]


@test("where there is no room for a mark, nobody replaces a protected file or gives it another name", needs=("moat", "lsm"), timeout=120)
def no_room(session):
    fresh, free, other = f"{session.single}.new", f"{session.scratch}/no-room", f"{session.scratch}/no-room-either"
    unmarked = f"{session.tree}/unmarked"  # protected by its directory alone, until it gets another name
    for path in (fresh, free, other, unmarked):
        write(path, "after\n")
    with marks.full(session):
        for function, arguments in ((os.rename, (fresh, session.single)), (os.link, (unmarked, unmarked + ".link"))):
            with marks.until(errno.ENOSPC):
                function(*arguments)
        os.rename(free, other)
        os.link(other, free)
        assert answers(session, f"write={session.single}", f"write={free}") == ["EPERM", "ok"]
    os.rename(fresh, session.single)
    os.link(unmarked, unmarked + ".link")
    assert answers(session, f"write={session.single}", f"write={unmarked}.link") == ["EPERM", "EPERM"]
    os.unlink(unmarked + ".link")
    os.unlink(unmarked)


@test("a path through a symbolic link: neither the link nor what it leads to can be changed", needs=("moat", "lsm"))
def through_link(session):
    link, target = f"{session.scratch}/to-code", f"{session.scratch}/code"
    assert answers(session, f"unlink={link}", f"rename={link}", f"make={link}/new", f"make={target}/new", f"rename={target}") == ["EPERM"] * 5
    assert answers(session, f"read={link}/main", f"make={session.scratch}/new", f"unlink={session.scratch}/new") == ["ok"] * 3


@test("what is mounted beneath a protected directory is protected, too", needs=("moat", "lsm"))
def mounted_beneath(session):
    beneath = f"{session.scratch}/volume/mounted"
    assert answers(session, f"read={beneath}/data", f"write={beneath}/data", f"make={beneath}/new") == ["ok", "EPERM", "EPERM"]


def evict():
    """Has the kernel forget every inode that nothing holds."""
    os.sync()
    for _ in range(2):
        write("/proc/sys/vm/drop_caches", "3")


def check_tree(session, name):
    """Beneath the directory `code` there everything is refused, beneath `free` nothing is."""
    calls = ("read={}/main", "write={}/main", "chmod={}/main", "make={}/new", "rename={}/main", "rename={}")
    code, free = f"{session.scratch}/{name}/code", f"{session.scratch}/{name}/free"
    assert answers(session, *(call.format(code) for call in calls)) == ["ok"] + ["EPERM"] * 5
    assert answers(session, *(call.format(free) for call in calls)) == ["ok"] * 6
    os.rename(free + ".moved", free)
    os.rename(f"{free}/main.moved", f"{free}/main")
    os.unlink(f"{free}/new")


def numbers(session):
    return {name: os.stat(f"{session.scratch}/overlay/{name}").st_ino for name in ("code", "free")}


@test("a directory on ext4 stays protected when the kernel has forgotten its inodes and reads them again", needs=("moat", "lsm"))
def evicted_ext4(session):
    session.require(session.vm, "drops the machine's caches")
    check_tree(session, "ext4")
    evict()
    check_tree(session, "ext4")


@test("a directory on an overlay stays protected although others there get new inode numbers when they are read again",
      needs=("moat", "lsm"))
def evicted_overlay(session):
    session.require(session.vm, "drops the machine's caches")
    check_tree(session, "overlay")
    before = numbers(session)
    evict()
    after = numbers(session)
    assert after["free"] != before["free"], "this overlay's numbers last: it proves nothing"
    assert after["code"] == before["code"], (before, after)
    check_tree(session, "overlay")


@test("of files with one number in three subvolumes of a btrfs those that are protected are, and only those", needs=("moat", "lsm"))
def subvolumes(session):
    session.require(session.vm, "mounts a btrfs")
    paths = [f"{session.scratch}/btrfs/{name}/same" for name in "abc"]
    assert len({os.stat(path).st_ino for path in paths}) == 1
    for _ in range(2):
        for path in paths:
            wanted = ["ok"] * 3 if path == paths[2] else ["EPERM"] * 3
            assert answers(session, f"write={path}", f"chmod={path}", f"rename={path}") == wanted, path
        os.rename(paths[2] + ".moved", paths[2])
        evict()


@test("files of an overlay that have the number of a protected directory there are free", needs=("moat", "lsm"))
def same_number(session):
    session.require(session.vm, "mounts an overlay")
    marked, places_, found = os.stat(f"{session.scratch}/overlay/code").st_ino, [], []
    while not found or found[-1] < marked + 5:
        places_.append(f"{session.scratch}/overlay/free/{len(found)}")
        write(places_[-1], "free\n")
        found.append(os.stat(places_[-1]).st_ino)
        assert len(found) < 500, (marked, found)
    assert marked in found, (marked, found)
    calls = [f"{call}={path}" for path in places_[-12:] for call in ("chmod", "write", "rename")]
    assert answers(session, *calls) == ["ok"] * len(calls)
    check_tree(session, "overlay")


@test("nobody mounts over moat's programs and the libraries they run, or moves the configuration", needs=("moat", "lsm"))
def own_files(session):
    with open(f"/proc/{session.agent.pid}/maps", encoding="ascii") as file:
        libraries = {line.split()[-1] for line in file if "libbpf" in line}
    assert libraries, "moatd runs no libbpf"
    programs = [os.path.join(session.build, name) for name in ("moatd", "moat-init", "moat")]
    for path in (*programs, *libraries):
        assert answers(session, f"bind_over={path}") == ["EPERM"], path
    assert answers(session, "bind_over=/bin/false") == ["ok"]
    # hidden as well
    config = session.agent.config
    assert set(answers(session, f"rename={config}", f"unlink={config}", f"rename={os.path.dirname(config)}")) <= {"EPERM", "EBUSY", "ENOENT"}


@test("moat refuses to start when a protected path is not there, and names it", needs=("moat", "lsm"), timeout=200)
def missing(session):
    missing_path = f"{session.scratch}/nowhere/code"
    status, text, _path = moatd.refuse(
        session.build, f"[moat]\ninstance = protect-{os.getpid()}\nstate_dir = /run/protect-{os.getpid()}\n"
        f"[service spare]\ncommand = /bin/sleep 100\nprotect = {missing_path}\n", seconds=60 * session.patience)
    assert status == 1 and f"cannot protect {missing_path}: No such file" in text, (status, text)


@test("moat refuses to start when it may not watch as much as it protects, and names the limit", needs=("moat", "lsm"), timeout=200)
def few_watches(session):
    session.require(session.vm, "sets a limit of the whole machine")
    with doing.sysctl("fs/inotify/max_user_watches", "1"):
        status, text, _path = moatd.refuse(
            session.build, f"[moat]\ninstance = protect-{os.getpid()}\nstate_dir = /run/protect-{os.getpid()}\n"
            "[service spare]\ncommand = /bin/sleep 100\n", seconds=60 * session.patience, inside=moatd.READ_ONLY_SYSCTLS)
    assert status == 1 and "fs.inotify.max_user_watches is too low" in text, (status, text)


@test("System V shared memory of the control plane's side is not there for user code", needs=("moat", "lsm"))
def shared_memory(session):
    libc, key = ctypes.CDLL(None, use_errno=True), 0x4D4F4154
    segment = libc.shmget(key, 4096, 0o1666)
    assert segment >= 0, errno.errorcode[ctypes.get_errno()]
    try:
        assert libc.shmget(key, 0, 0) == segment
        assert answers(session, f"shm={key}") == ["ENOENT"]
        assert answers(session, f"shm={key}", context="full") == ["ENOENT"]
    finally:
        libc.shmctl(segment, 0, None)
