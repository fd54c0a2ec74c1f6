# SPDX-License-Identifier: Apache-2.0
"""The techniques of tools/attempt and what they answer. The table is the program's own."""

import os
import re
import subprocess

NOT_HERE = "NOT_HERE"  # this kernel lacks what the technique needs
# Of the kernels of the virtual machines (Debian's), the first and the last one that has it; everything else all of them have.
KERNELS = {
    "pidfd_signal_group": ((6, 9), None), "pidfd_namespace": ((6, 11), None), "bind_io_uring": ((6, 11), None),
    "mounts_of_others": ((6, 11), None), "mount_namespaces": ((6, 12), None), "file_setattr": ((6, 17), None), "hidden_file_attr": ((6, 17), None),
    "mount_tree_attr": ((6, 15), None),
    "namespace_by_handle": ((6, 18), None), "list_namespaces": ((6, 19), None),
    "interface_placed": (None, (6, 18)), "bind_udplite": (None, (6, 18)), "reach_smc": (None, (6, 12)),
}
ONE_ARCHITECTURE = re.compile("compat_|ioperm")  # x86_64's


class Technique:
    def __init__(self, name, group, seen, unseen, own, flags, text):
        self.name, self.group, self.seen, self.unseen, self.own, self.text = name, group, seen, unseen, own, text
        self.never, self.oracle = "never" in flags, "oracle" in flags
        self.control, self.outside = "control" in flags, "outside" in flags


def table(program):
    """Every technique, in the order in which they are best run."""
    lines = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.splitlines()
    assert lines[0].split("\t") == ["name", "group", "seen", "unseen", "own", "flags", "text"], lines[0]
    return [Technique(*line.split("\t")) for line in lines[1:]]


def here(name):
    """Whether the technique has to be possible on this kernel, if it is one of the virtual machines'."""
    running = tuple(int(each) for each in re.findall(r"\d+", os.uname().release)[:2])
    first, last = KERNELS.get(name, (None, None))
    if ONE_ARCHITECTURE.match(name) and os.uname().machine != "x86_64":
        return False
    return (first or running) <= running <= (last or running)


def parse(out, err=""):
    """name -> answer: "ok", an errno's name, NOT_HERE, or what else it printed."""
    answers = dict(line.split(" ", 1) for line in out.splitlines() if " " in line)
    if not answers:
        raise AssertionError(f"attempt printed nothing: {err.strip()!r}")
    return answers


def run(program, *arguments, before=(), become=None, timeout=300):
    """As a process of the tests' own, which moat does not judge. before: what executes the program; become: Privileges."""
    done = subprocess.run([*before, program, *arguments], check=False, capture_output=True, text=True, timeout=timeout,
                          preexec_fn=become and become.take)
    return parse(done.stdout, done.stderr)
