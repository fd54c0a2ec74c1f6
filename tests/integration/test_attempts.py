# SPDX-License-Identifier: Apache-2.0
"""
Every technique against the real control plane, from user code that is root: with every capability in a PID namespace of its
own (`full`) and in the control plane's (`shared`, where only the kernel programs protect), with the default capabilities in
both (`default`, `modest`), and from two of them again as root of a user namespace that it has made for itself. Where the
kernels share the work (lib/kernels.py), those between the ends are asked from three.

Where the technique works without moat at the same privileges, the answer is exactly the errno of the table, and the same
technique against a process, port or socket of the user's own works. Where it takes a capability that is not there, the
kernel may say no before moat is asked: then whatever it answers, it is not success.
"""

import os

from lib import attempts, places, privileges, procs
from lib.session import FREE_PORT
from lib.tap import Skip, test

PER_TARGET = {"signals", "control", "proc"}  # groups that name a process
ALIKE = {"moat-init template", "moat-init secure-shared"}  # the label decides, and the third has the same one
NAMED = ["@" + group for group in sorted(PER_TARGET)]
OWN_PID_NAMESPACE = {"full", "default"}
WITH_EVERYTHING = ("full", "shared")
OWN_USER_NAMESPACE = ["/usr/bin/unshare", "--user", "--map-root-user"]
# There the mounts that moat-init has made are locked (mount_namespaces(7)): the kernel itself lets nobody take them off, make
# them writable, or mount a procfs that would show what they cover, as in any container engine's container. Answer against the
# control plane, and against one's own.
LOCKED = {"mount_proc": ("EPERM", "EPERM"), "fsmount_proc": ("EPERM", "EPERM"), "move_mount_proc": ("EPERM", "EPERM"),
          "mount_proc_own": ("EPERM", "EPERM"), "connect_uncovered": ("ENOENT", "ok"), "cgroup_make": ("EROFS", "EROFS"),
          "sysctl_write": ("EROFS", "EROFS"), "sysrq_write": ("EROFS", "EROFS"), "cgroup_migrate": ("EROFS", "EROFS"),
          "cgroup_threads_migrate": ("EROFS", "EROFS"), "cgroup_kill": ("ENOENT", "EROFS"), "cgroup_freeze": ("ENOENT", "EROFS"),
          "cgroup_memory": ("ENOENT", "EROFS"), "timers": ("EACCES", "EACCES")}

# From a PID namespace in which nobody is but one's own context and moat-init: answer against one's own, where it is another
# than in one that is shared.
OWN_VIEW = {"mount_proc": "ok", "fsmount_proc": "ok", "move_mount_proc": "ok", "bind_init_proc": "EACCES",
            "clone_init_proc": "EACCES", "connect_init_root": "EACCES"}
# Of moat-init as PID 1: what the kernel tells everybody of any process that is not hidden, and what it refuses then. The names of
# its descriptors are numbers.
INIT_VISIBLE = {**dict.fromkeys(("proc_readdir", "proc_stat", "proc_open", "proc_chdir", "proc_dotdot", "proc_thread", "proc_cmdline",
                                 "proc_status", "proc_fd", "proc_task"), "ok"),
                **dict.fromkeys(("proc_environ", "proc_maps", "proc_root", "proc_cwd", "proc_exe", "proc_fd_open", "proc_ns",
                                 "setns_proc"), "EACCES"),
                "proc_mem": "EPERM", "proc_oom": "EPERM"}


def own_arguments(session):
    return ["--fresh", "--port", str(FREE_PORT), *session.machine_arguments()]


class Position:
    """From where an attempt is made."""

    def __init__(self, context, nested=False):
        self.context, self.nested, self.before = context, nested, OWN_USER_NAMESPACE if nested else []
        self.name = f"{context}, own user namespace" if nested else context
        self.hidden = context in OWN_PID_NAMESPACE

    def attempts(self, session, target, *cases):
        return session.attempts(self.context, target, *cases, before=self.before)

    def without_moat(self, session):
        """name -> answer of each technique against one's own, by an unlabelled process with the privileges of this position."""
        level = privileges.of_context(session, self.context)
        if session.bare and not self.nested and level.key == privileges.own().key:
            return session.bare  # of test_bare: the tests' own privileges are these
        key = (level.key, self.nested)
        known = session.memory.setdefault("without moat", {})
        if key not in known:
            known[key] = attempts.run(places.attempt(session.build), *own_arguments(session), "all", before=self.before, become=level)
        return known[key]


POSITIONS = [Position(context) for context in ("full", "shared", "default", "modest")]
NESTED = [Position(context, nested=True) for context in ("full", "modest")]
BETWEEN_ENDS = ("full", "shared", "default")


def positions_of(session):
    """(those without a user namespace of their own, those with one) that this kernel is asked from."""
    return (POSITIONS, NESTED) if session.whole else ([each for each in POSITIONS if each.context in BETWEEN_ENDS], [])


def matrix(session):
    """(position, target) -> name -> answer. Made once: an exec for each runs all cases."""
    if "matrix" in session.memory:
        return session.memory["matrix"]
    found, (plain, nested) = {}, positions_of(session)
    for position in plain + nested:
        position.without_moat(session)  # first of all: it loads the kernel modules, which user code cannot have loaded
    other = session.api.process(session.api.start("/bin/sleep", "600", context="other"))  # in the PID namespace of `shared`
    session.memory["other"] = (other["pid"], procs.start_time(other["pid"]))
    for position in plain:
        for label, pid in session.targets():
            if label in ALIKE:
                continue
            found[position, label] = position.attempts(session, session.target_arguments(pid), *(["all"] if label == "service" else NAMED))
        if position.hidden:  # moat-init is PID 1 there: user code can name it
            found[position, "its moat-init"] = position.attempts(
                session, [*session.target_arguments(session.agent.pid), "--pid", "1", "--pgid", "1", "--tid", "1"], *NAMED)
        else:
            found[position, "another context"] = position.attempts(session, session.target_arguments(other["pid"]), *NAMED)
    for position in nested:
        found[position, "service"] = position.attempts(session, session.target_arguments(session.agent.service("http")["pid"]), "all")
    for position in plain + nested:
        found[position, "own"] = position.attempts(session, own_arguments(session), "all")
    session.memory["matrix"] = found
    return found


def expected(technique, position, target):
    if position.nested and technique.name in LOCKED:
        return LOCKED[technique.name][target == "own"]
    if target == "own":
        return position.hidden and OWN_VIEW.get(technique.name) or technique.own
    if target == "its moat-init":
        return INIT_VISIBLE.get(technique.name, technique.seen)
    return technique.unseen if position.hidden else technique.seen


def acceptable(session, technique, position, target, got):
    """None when the answer is right, else what was expected."""
    wanted = expected(technique, position, target)
    alone = position.without_moat(session).get(technique.name)
    if got == wanted or got == attempts.NOT_HERE and (alone == attempts.NOT_HERE or target == "its moat-init"):
        return None  # see not_here() of the latter
    if alone == "ok":
        return wanted
    if wanted == "ok":  # nothing of the control plane's is touched: as without moat
        return None if got == alone else f"{wanted}, or {alone} as without moat,"
    return None if got != "ok" else f"{wanted}, or another refusal,"


@test("the positions are what they are called: capabilities, no_new_privs, PID and user namespace", needs=("moat", "lsm"))
def positions(session):
    sys_admin = 1 << 21
    for each in sum(positions_of(session), []):
        level = privileges.of_context(session, each.context)
        assert bool(level.capabilities & sys_admin) == (each.context in WITH_EVERYTHING), (each.name, level.key)
        assert level.no_new_privs == (each.context in ("default", "modest")), (each.name, level.key)
        pid, user = session.exec(*each.before, "/bin/readlink", "/proc/self/ns/pid", "/proc/self/ns/user", context=each.context).out.split()
        assert (pid != os.readlink("/proc/self/ns/pid")) == each.hidden, (each.name, pid)
        assert (user != os.readlink("/proc/self/ns/user")) == each.nested, (each.name, user)


@test("with every capability each technique works without moat, and each way to the service reaches the one that moat guards",
      needs=("moat", "lsm", "http"), timeout=600)
def not_empty(session):
    matrix(session)
    program, wrong = places.attempt(session.build), []
    alone = [each.without_moat(session) for each in POSITIONS if each.context in WITH_EVERYTHING]
    real = attempts.run(program, *session.target_arguments(session.agent.service("http")["pid"]), "@service")
    for technique in attempts.table(program):
        good = (technique.own if technique.never else "ok", attempts.NOT_HERE)  # whether it may be missing: the next test
        got = [each[technique.name] for each in alone]
        if not any(each in good for each in got) or real.get(technique.name, good[0]) not in good:
            wrong.append(f"{technique.name}: {got}, of the service {real.get(technique.name)}; {good[0]} was expected")
    assert not wrong, "\n".join(wrong)


@test("a technique is missing on those kernels that are known to lack it, and nowhere else", needs=("moat", "lsm", "http"), timeout=600)
def not_here(session):
    session.require(session.vm, "any kernel, with whatever it was configured to have")
    answers = {f"{position.name} -> {target}": found for (position, target), found in matrix(session).items()}
    alone = {f"{each.name} without moat": each.without_moat(session) for each in sum(positions_of(session), [])}
    wrong = []
    for technique in attempts.table(places.attempt(session.build)):
        missing = {where for where, found in (answers | alone).items() if found.get(technique.name) == attempts.NOT_HERE}
        if technique.name == "kill_group":  # kill(-1) of PID 1's group would mean everybody
            missing = {each for each in missing if not each.endswith("its moat-init")}
        if attempts.here(technique.name) and missing:
            wrong.append(f"{technique.name} is missing: {', '.join(sorted(missing))}")
        elif not attempts.here(technique.name) and not missing >= set(alone):
            wrong.append(f"{technique.name} is here: {', '.join(sorted(set(alone) - missing))}")
    assert not wrong, "\n".join(wrong)


def check_answers(technique):
    what = "is left alone" if technique.control else "tells no more than documented" if technique.oracle else "is refused"

    @test(f"{technique.name} ({technique.text}) {what}: {technique.seen}, {technique.unseen} from a namespace of its own",
          needs=("moat", "lsm", "http"), timeout=600)
    def answers(session):
        wrong, asked = [], 0
        for (position, target), results in matrix(session).items():
            if technique.name not in results:
                if target in ("service", "own") or technique.group in PER_TARGET:
                    wrong.append(f"{position.name} -> {target}: no answer")
                continue
            got = results[technique.name]
            asked += got != attempts.NOT_HERE
            failed = acceptable(session, technique, position, target, got)
            if failed:
                wrong.append(f"{position.name} -> {target}: {got}, {failed} was expected")
        assert not wrong, "\n".join(wrong)
        if not asked:
            raise Skip("this kernel has no such thing")


for _technique in attempts.table(places.attempt(places.build_dir(None))):
    check_answers(_technique)


@test("after all attempts the service, moatd, every moat-init and the other context's process are the same and run",
      needs=("moat", "lsm", "http"), timeout=600)
def all_alive(session):
    before = session.memory.setdefault("http_pid", session.agent.service("http")["pid"])
    matrix(session)
    service = session.agent.service("http")
    assert service["pid"] == before and service["state"] == "ready" and service["restarts"] == 0, service
    assert session.health()["pid"] == before
    for label, pid in session.targets():
        assert procs.state(pid) in ("S", "R", "D"), f"{label} is in state {procs.state(pid)}"
    assert procs.alive(*session.memory["other"]), "the process of another context is gone"
    for kind in ("nice", "affinity", "oom"):
        assert unchanged(before, kind), f"{kind} of the service was changed"


def unchanged(pid, kind):
    if kind == "nice":
        return int(procs.stat_fields(pid)[16]) == 0
    if kind == "affinity":
        return os.sched_getaffinity(pid) == os.sched_getaffinity(0)
    # Without CAP_SYS_RESOURCE the agent cannot give it the score of services.
    return procs.oom_score(pid) in (-500, procs.oom_score("self"))
