# SPDX-License-Identifier: Apache-2.0
"""The techniques of tools/attempt and what they answer. The table is the program's own."""

import subprocess

NOT_HERE = "NOT_HERE"  # this kernel lacks what the technique needs


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
