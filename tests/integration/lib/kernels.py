# SPDX-License-Identifier: Apache-2.0
"""
Which tests run on which kernels when all kernels are tested (--share): on every one, unless the table says otherwise.

A row names tests by module and function; * stands for all of the module's that need no kernel programs ("lsm"): one that does
runs on every kernel unless it is named. What is decided in userspace needs one kernel; what is the kernel's own work, or needs
only not to be disturbed, the oldest and the newest. `make check-all` and every run that names its kernels take no notice.
"""

ONE = ("6.12",)        # besides the native run, where the machine enforces nothing
ENDS = ("6.1", "7.2")
NATIVE = ()            # the native run is the one

TABLE = [
    # module, functions, kernels, reason
    ("vmtest", "*", NATIVE, "the tools that boot the kernels: nothing of them is in the kernel that was booted"),
    ("house", "*", NATIVE, "a tool that reads the source"),
    ("strings", "*", NATIVE, "a program by itself, beside a shell: of the kernel it asks what shells ask"),
    ("layers", "*", NATIVE, "what is used only where the kernel enforces nothing, which is the native run"),
    ("unenforced", "*", NATIVE, "the same"),
    ("config", "refused no_such_mode no_file no_command", ONE, "refused by the parser, before it has asked the kernel anything"),
    ("api_flood", "*", NATIVE, "HTTP, limits of connections and deadlines are the agent's own code, and a machine that is not "
                               "emulated can flood it"),
    ("api", "*", ONE, "requests, answers and streams are made by the agent alone"),
    ("context_life", "*", ONE, "contexts are data of the agent's; that they are kept apart needs lsm and runs everywhere"),
    ("run", "*", ONE, "strings are read by the agent and evaluated by moat-run, which asks the kernel what shells ask"),
    ("cli", "*", ONE, "the command line speaks HTTP; it asks no kernel"),
    ("cli_context", "*", ONE, "the same"),
    ("cli_exec", "*", ONE, "the same"),
    ("metrics", "*", ONE, "what is counted in userspace, and how it is written; the counters of the hooks need lsm"),
    ("log", "*", ONE, "where the agent's own words go, its signals and its files: all of it decided in userspace"),
    ("services", "*", ONE, "supervision is the agent's own; of the kernel it asks pidfds, sockets and cgroups, as in 6.1"),
    ("spawn", "*", ONE, "from clone to execve by system calls that are older than 6.1"),
    ("descriptors", "*", ONE, "which descriptors a program opens is its own work"),
    ("exec", "*", ENDS, "what a command is given and what is told of it: the agent's and moat-init's work, by calls older than 6.1"),
    ("contexts", "*", ENDS, "the same"),
    ("namespaces", "*", ENDS, "namespaces, System V and POSIX objects are older than 6.1; mounts that a mark guards need lsm"),
    ("surroundings", "*", ENDS, "the same"),
    ("containers", "*", ONE, "what a container lacks is asked by calls that are older than 6.1, and refused by capabilities and seccomp"),
    ("bench", "hooks", ONE, "it is shown that the benchmark runs; the hooks that it asks are test_attempts', on every kernel"),
    ("seed", "real invisible not_found_otherwise unkillable ports_reserved credentials see_each_other", ENDS,
     "what user code sees of a real Bun and a real Jupyter; each answer of the kernel's behind it is test_attempts', on every one"),
    ("limits", "*", ONE, "cgroup2's limits and their files are older than 6.1, and moat writes the same values on each kernel"),
    ("legit", "program", ONE, "programs of every day; what they ask of the kernel the operations of test_legit ask on every one"),
    ("manual", "*", ONE, "examples of the manual, which no kernel reads; what they bring about is each module's"),
    ("manual", "newcomer", ONE, "the same"),
]


def rows(each):
    """Those of a test (lib/tap.py)."""
    name = each.function.__name__
    return [row for row in TABLE
            if row[0] == each.module and (name in row[1].split() or row[1] == "*" and "lsm" not in each.needs)]


def here(each, kernel):
    """Whether a test has its share of this kernel."""
    return all(kernel in row[2] for row in rows(each))
