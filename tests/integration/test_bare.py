# SPDX-License-Identifier: Apache-2.0
"""
Every technique works on this kernel as long as there is no moat: against a stranger's process, a free port, somebody's
socket. One that does not would prove nothing when it is refused later.
"""

from lib import attempts, places, privileges
from lib.session import FREE_PORT
from lib.tap import Skip, test


def bare(session, name):
    if not session.bare:
        session.bare = attempts.run(places.attempt(session.build), "--fresh", "--port", str(FREE_PORT),
                                    *session.machine_arguments(), "all")
    return session.bare.get(name, "no answer")


def check_works(technique):
    @test(f"{technique.name} ({technique.text}) "
          f"{'is refused even' if technique.never else 'succeeds'} without moat", timeout=120)
    def works(session):
        got = bare(session, technique.name)
        wanted = technique.own if technique.never else "ok"
        if got == attempts.NOT_HERE:
            raise Skip("this kernel has no such thing")
        if not session.vm and "init" in technique.name and got == "EACCES":
            raise Skip("this machine does not show its own PID 1")
        if not session.vm and got in ("EPERM", "EACCES") and not privileges.own().complete():
            raise Skip("this machine keeps capabilities back from its own root")
        assert got == wanted, f"{technique.name} answered {got}, {wanted} was expected"


def tests():
    build = places.build_dir(None)
    for technique in attempts.table(places.attempt(build)):
        check_works(technique)


tests()
