# SPDX-License-Identifier: Apache-2.0
"""What an agent leaves behind: compared before its start and after its end."""

import contextlib
import os
import time

from lib import procs

BPFFS = "/sys/fs/bpf/moat"
RESERVED = "/proc/sys/net/ipv4/ip_local_reserved_ports"


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def mounts():
    """By place and type; the numbers of mounts change."""
    found = {}
    for line in read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        key = (before.split()[4], after.split()[0])
        found[key] = found.get(key, 0) + 1
    return found


def cgroup_roots():
    return [place for place, kind in mounts() if kind == "cgroup2"]


def cgroups(name):
    found = []
    for root in cgroup_roots():
        for directory, names, _ in os.walk(root):
            found += [os.path.join(directory, each) for each in names if each == name]
    return found


def cgroup_members(name):
    """Every process in the instance's cgroups, as (pid, start time)."""
    found = set()
    for top in cgroups(name):
        for directory, _, _ in os.walk(top):
            for pid in read(os.path.join(directory, "cgroup.procs")).split():
                found.add((int(pid), procs.start_time(int(pid))))
    return found


def clear(instance):
    """Kills and removes what an agent that did not end by itself has left. Best effort."""
    for top in cgroups("moat-" + instance):
        try:
            with open(os.path.join(top, "cgroup.kill"), "w", encoding="ascii") as file:
                file.write("1")
        except OSError:
            continue
        for _ in range(500):
            for directory, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    pass  # its processes are not gone yet
            if not os.path.exists(top):
                break
            time.sleep(0.02)
    for directory, _, names in os.walk(os.path.join(BPFFS, instance), topdown=False):
        for name in names:
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
    if os.path.exists(lock_of(instance)):
        os.rmdir(lock_of(instance))


def lock_of(instance):
    return os.path.join(BPFFS, instance + "_lock")


class Snapshot:
    def __init__(self, instance, whole_machine, *directories):
        """whole_machine: nobody else starts processes here (a virtual machine). Of mounts outside of one only those count that
        have the name of the instance or of one of the directories."""
        self.instance, self.whole_machine = instance, whole_machine
        self.own = [""] if os.environ.get("MOAT_VM") else [instance, *filter(None, directories)]
        self.mounts, self.reserved = mounts(), read(RESERVED)
        self.processes = procs.all_user() if whole_machine else set()

    def leaks(self, members, socket, pid):
        """What is left. members: cgroup_members() taken while the agent ran."""
        found = [f"cgroup {path}" for path in cgroups("moat-" + self.instance)]
        found += [f"process {procs.describe(*each)}" for each in members if procs.alive(*each)]
        if self.whole_machine:
            found += [f"process {procs.describe(*each)}" for each in procs.all_user() - self.processes
                      if each[0] not in (pid, os.getpid()) and each not in members]
        now = mounts()
        found += [f"mount {key[0]} ({key[1]})" for key in now if now[key] > self.mounts.get(key, 0)
                  and any(name in key[0] for name in self.own)]
        found += [f"pins {path}" for path in (os.path.join(BPFFS, self.instance), lock_of(self.instance)) if os.path.exists(path)]
        if os.path.exists(socket):
            found.append(f"socket {socket}")
        if self.reserved is not None and read(RESERVED) != self.reserved:  # None: somebody else's are
            found.append(f"ip_local_reserved_ports is {read(RESERVED).strip()!r}, was {self.reserved.strip()!r}")
        return found

    def free_ports(self, ports):
        """Those of an agent that was killed, and that no other one follows, are reserved no more."""
        left = [each for each in read(RESERVED).strip().split(",") if each not in ports or each in (self.reserved or "").split(",")]
        with contextlib.suppress(OSError), open(RESERVED, "w", encoding="ascii") as file:
            file.write(",".join(left) + "\n")

    def wait_for_none(self, members, socket, pid, seconds=30):
        """The kernel takes down namespaces and tasks a moment after the agent is gone."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.leaks(members, socket, pid)
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.05)
