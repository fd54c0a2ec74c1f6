# SPDX-License-Identifier: Apache-2.0
"""
Which tests run on which kernels when all kernels are tested (--share): on every one, unless the table says otherwise.

A row names tests by module and function; * stands for all of the module's that need no kernel programs ("lsm"): one that does
runs on every kernel unless it is named. What is decided in userspace needs one kernel; what is the kernel's own work, or needs
only not to be disturbed, the oldest and the newest. `make check-all` and every run that names its kernels take no notice.
"""

ONE = ("6.12",)        # besides the native run, where the machine enforces nothing
OLDEST = ("6.1",)      # besides the native run, which is on a newer one
ENDS = ("6.1", "7.2")
THREE = ("6.1", "6.12", "7.2")
NATIVE = ()            # the native run is the one

# Booted without `bpf` among the LSMs, as on most hosts. They run, whatever is asked for, only what stands in for the LSM's
# programs there and is the kernel's: module -> functions, or * for all. Which programs, helpers and protocols are there differs
# from the machine of the native run, which has the rest.
WITHOUT_BPF = "-nobpf"  # ends the names of these
ONLY = {"guard": "every_way sockets leaving status recorded", "unenforced": "*"}

TABLE = [
    # module, functions, kernels, reason
    ("vmtest", "*", NATIVE, "the tools that boot the kernels: nothing of them is in the kernel that was booted"),
    ("drill", "*", NATIVE, "what the agent does when a call fails: the calls are made to fail by strace, hundreds of lives long"),
    ("start", "types_once", ONE, "what the agent and libbpf read of a file; that the programs fit each kernel, all else shows"),
    ("instances", "*", NATIVE, "what an agent finds out about where it is, and how it judges who connects, is its own; so is how it ends"),
    ("house", "*", NATIVE, "a tool that reads the source"),
    ("strings", "*", NATIVE, "a program by itself, beside a shell: of the kernel it asks what shells ask"),
    ("layers", "*", NATIVE, "what is used only where the kernel enforces nothing, which is the native run"),
    ("unenforced", "*", NATIVE, "the same"),
    ("dev", "*", NATIVE, "of the kernel it asks namespaces, Landlock and seccomp, which test_layers asks as well"),
    ("start", "clock_step", ONE, "which clock is asked is the agent's own affair"),
    ("config", "refused no_such_mode no_file no_command", ONE, "refused by the parser, before it has asked the kernel anything"),
    ("api_flood", "*", NATIVE, "HTTP, limits of connections and deadlines are the agent's own code, and a machine that is not "
                               "emulated can flood it"),
    ("api", "*", NATIVE, "requests, answers and streams are made by the agent alone"),
    ("openapi", "*", NATIVE, "a document and the answers that it describes, all of them made by the agent"),
    ("install", "*", NATIVE, "files that are installed, and programs that are built with them: no kernel is asked"),
    ("kept", "*", NATIVE, "what the agent writes and reads again; that user code does not see the state directory, hidden asks"),
    ("context_life", "*", NATIVE, "contexts are data of the agent's; that they are kept apart needs lsm and runs everywhere"),
    ("run", "*", NATIVE, "strings are read by the agent and evaluated by moat-run, which asks the kernel what shells ask"),
    ("cli", "*", NATIVE, "the command line speaks HTTP; it asks no kernel"),
    ("cli_context", "*", NATIVE, "the same"),
    ("cli_exec", "*", NATIVE, "the same"),
    ("completion", "*", NATIVE, "shells ask the command line, and that its own texts and the agent"),
    ("clients", "*", NATIVE, "they speak HTTP over a unix socket; what they are answered is each module's"),
    ("clients", "shielded", ONE, "they ask the agent whether it enforces; that it does, the tests of credentials show on every kernel"),
    ("documents", "*", NATIVE, "clients, contexts, workspaces and real programs, which take long to start; what they are answered is each "
                               "module's, and each answer of the kernel's behind them test_seed's, test_credentials' or test_attempts'"),
    ("jupyter", "*", NATIVE, "a launcher, its descriptors and its connection to the agent: nothing of it is newer than 6.1"),
    ("metrics", "*", NATIVE, "what is counted in userspace, and how it is written; the counters of the hooks need lsm"),
    ("log", "*", NATIVE, "where the agent's own words go, its signals and its files: all of it decided in userspace"),
    ("log", "secret_names", ONE, "with records of the kernel's beside"),
    ("services", "*", NATIVE, "supervision is the agent's own; of the kernel it asks pidfds, sockets and cgroups, as in 6.1"),
    ("services", "listening", ONE, "what a service listens on, and what is closed of it by the kernel's programs"),
    ("spawn", "*", NATIVE, "from clone to execve by system calls that are older than 6.1"),
    ("spawn", "silent_file_system", ONE, "that nobody waits for a path is how moat-init is made, not what the kernel does"),
    ("descriptors", "*", NATIVE, "which descriptors a program opens is its own work"),
    ("exec", "*", OLDEST, "what a command is given and what is told of it: the agent's and moat-init's work, by calls older than 6.1"),
    ("contexts", "*", OLDEST, "the same"),
    ("namespaces", "*", OLDEST, "namespaces, System V and POSIX objects are older than 6.1; mounts that a mark guards need lsm"),
    ("surroundings", "*", OLDEST, "the same"),
    ("state", "*", NATIVE, "what a string hands back is data between two programs; who may take it from a process needs lsm elsewhere"),
    ("process", "*", NATIVE, "ids, streams and what is kept of them are the agent's own work"),
    ("files", "*", NATIVE, "moat-run asks the kernel what every program does, and openat2, which is older than 6.1; what is guarded needs "
                        "lsm"),
    ("files", "guarded", ONE, "the programs that refuse it are those of test_hidden and test_protect, which run on every kernel"),
    ("fallback", "*", NATIVE, "a shell is a program like any other; what it is given and what comes back is data"),
    ("containers", "*", ONE, "what a container lacks is asked by calls that are older than 6.1, and refused by capabilities and seccomp"),
    ("guard", "*", NATIVE, "what stands in where LSM programs cannot be, as on the machine that runs the native tests; in these they are"),
    ("handed", "*", NATIVE, "sockets that are bound, inherited and passed on by execve are older than any kernel here; who has a port, services asks"),
    ("bench", "layers", NATIVE, "it is of a machine without LSM programs, which the native run's is"),
    ("bench", "hooks", ONE, "it is shown that the benchmark runs; the hooks that it asks are test_attempts', on every kernel"),
    ("credentials", "wiped output_wiped", ONE, "the agent's own memory"),
    ("protect", "missing few_watches", ONE, "a start that is refused before a program has judged anything"),
    ("defaults", "secrets resolver", ONE, "which paths are hidden and protected unasked; how they are, test_hidden and test_protect ask on every kernel"),
    ("defaults", "system", NATIVE, "the same"),
    ("hidden", "services", ENDS, "which marks a service has is decided by the agent; what they keep out is asked on every kernel"),
    ("seed", "real invisible not_found_otherwise unkillable ports_reserved credentials see_each_other", ENDS,
     "what user code sees of a real Bun and a real Jupyter; each answer of the kernel's behind it is test_attempts', on every one"),
    ("limits", "among_spinners", NATIVE, "patience with who dies slowly is the agent's own; an emulated machine takes minutes to run them all"),
    ("limits", "*", ONE, "cgroup2's limits and their files are older than 6.1, and moat writes the same values on each kernel"),
    ("legit", "program", ONE, "programs of every day; what they ask of the kernel the operations of test_legit ask on every one"),
    ("manual", "*", NATIVE, "examples of the manual, which no kernel reads; what they bring about is each module's"),
    ("manual", "newcomer", ONE, "the same"),
    ("death", "taken_over", THREE, "links and maps that outlive who made them: the oldest, the newest, and the one most used"),
    ("death", "execs_end", ENDS, "what is left of an agent that died; labels of the living are test_labels', on every kernel"),
    ("death", "refused", ONE, "the agent compares layouts of maps by itself"),
]


def whole(kernel, share):
    """Whether the tests that ask the same from many positions or contexts ask it from all: else from those that differ most."""
    return not share or not kernel or kernel in ENDS


def rows(each):
    """Those of a test (lib/tap.py): those that name it, or else its module's."""
    name = each.function.__name__
    mine = [row for row in TABLE if row[0] == each.module]
    return [row for row in mine if name in row[1].split()] or [row for row in mine if row[1] == "*" and "lsm" not in each.needs]


def without_bpf(kernel):
    return bool(kernel) and kernel.endswith(WITHOUT_BPF)


def runs_without_bpf(each):
    names = ONLY.get(each.module, "")
    return names == "*" or each.function.__name__ in names.split()


def here(each, kernel):
    """Whether a test has its share of this kernel."""
    if without_bpf(kernel):
        return runs_without_bpf(each)
    return all(kernel in row[2] for row in rows(each))
