#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
usage: rootless.py PROGRAM [ARGUMENT]...

Runs a program as a rootless container engine would: as root of a user namespace, with a PID namespace, mounts, a /dev and a state
directory of its own, in a cgroup that belongs to somebody else. SIGTERM is passed on, the exit status is the program's.
"""

import ctypes
import os
import signal
import sys

FIRST, COUNT = 200000, 65536  # of the users and groups outside that are its own
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
PR_SET_PDEATHSIG, MS_REC, MS_PRIVATE = 1, 1 << 14, 1 << 18
PREPARE = """
mount -t tmpfs none /mnt
for each in null zero full random urandom tty; do touch /mnt/$each; mount --bind /dev/$each /mnt/$each; done
mkdir /mnt/pts /mnt/shm
ln -s pts/ptmx /mnt/ptmx
mount -t devpts -o newinstance,ptmxmode=0666 none /mnt/pts
mount --rbind /mnt /dev
mount -t proc none /proc
exec "$@"
"""


def map_users(pid):
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
            file.write(f"0 {FIRST} {COUNT}\n")


def own_mounts():
    """With one that user code is not to reach, and that who is in the user namespace cannot take off."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) < 0 or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) < 0 or \
            libc.mount(b"none", b"/srv", b"bpf", 0, None) < 0:
        raise OSError(ctypes.get_errno(), "mounting a bpf file system at /srv")


def enter():
    """Unshares, while a child that stays outside says who is who."""
    own_mounts()
    ready, mapped = os.pipe(), os.pipe()
    outside = os.getpid()
    if os.fork() == 0:
        os.read(ready[0], 1)
        map_users(outside)
        os.write(mapped[1], b"x")
        os._exit(0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) < 0:
        raise OSError(ctypes.get_errno(), "unshare")
    os.write(ready[1], b"x")
    os.close(mapped[1])
    assert os.read(mapped[0], 1) == b"x", "no users were mapped"
    os.wait()
    for each in (*ready, mapped[0]):
        os.close(each)
    os.setgroups([])
    os.setgid(0)
    os.setuid(0)


def main():
    enter()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.execv("/bin/sh", ["/bin/sh", "-ec", PREPARE, "sh", *sys.argv[1:]])
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xff)


if __name__ == "__main__":
    main()
