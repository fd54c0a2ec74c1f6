# SPDX-License-Identifier: Apache-2.0
"""
The lines of the documents that the project began with, tests and usage, each under its document's number: 000 (requirements), 001 (plan),
002 (implicit contexts), 003 (workspaces), 004 (credentials). They stand in documents/ and are run with the clients: under Node and Bun,
003 with Python. Those of a machine are run at once, by the first test that asks for one; each test tells what came of its own.

A real Bun and a real Jupyter are the control plane, as in test_seed. Where the kernel enforces nothing the namespaces of a context hide
them, and a secret is sent nevertheless: the real programs get it there as well.
"""

import json
import os
import shutil

from lib import places, procs
from lib.session import HTTP_PORT, JUPYTER_PORT
from lib.tap import test
from test_clients import NODE_CLIENT, PYTHON_CLIENT, node_programs, program

DOCUMENTS = os.path.join(places.HERE, "documents")
REAL = ("moat", "bun", "jupyter")
ALONE = ("moat",)
ALL = ("000", "001", "002", "004")
CHEAP = ("000", "001", "002")


def outcomes(text):
    return {each["name"]: each["error"] for each in map(json.loads, text.splitlines())}


def documents_of(kind, runtime):
    """The programs of 004 take long to start where a processor is emulated: once."""
    return CHEAP if kind == "real" and runtime == "bun" else ALL


def node_lines(session, kind):
    """Runtime -> name of a line -> what went wrong."""
    if f"documents-{kind}" not in session.memory:
        found = {}
        for runtime, path in node_programs(session).items():
            app = os.path.join(session.scratch, f"app-{kind}-{runtime}")
            os.mkdir(app)
            said = program(session, [path, f"{DOCUMENTS}/run.mjs", NODE_CLIENT, kind, *documents_of(kind, runtime)], seconds=400, APP=app,
                           HTTP_PORT=str(HTTP_PORT), JUPYTER_PORT=str(JUPYTER_PORT), ENFORCED=str(session.enforced).lower())
            found[runtime] = outcomes(said.stdout)
        session.memory[f"documents-{kind}"] = found
    return session.memory[f"documents-{kind}"]


def check(session, kind, name):
    for runtime in ("node", "bun"):
        if name[:3] not in documents_of(kind, runtime):
            continue
        lines = node_lines(session, kind)[runtime]
        assert name in lines, (runtime, name, list(lines))
        assert lines[name] is None, (runtime, lines[name])


def check_workspace(session, name):
    if "workspace" not in session.memory:
        place = os.path.join(session.scratch, "r2")
        said = program(session, [places.PYTHON, "-B", f"{DOCUMENTS}/workspace.py", place], seconds=100, PYTHONPATH=PYTHON_CLIENT)
        session.memory["workspace"] = outcomes(said.stdout)
    assert session.memory["workspace"][name] is None, session.memory["workspace"][name]


def need(session, *programs):
    for each in programs:
        if not shutil.which(each):
            session.missing(f"{each} is not installed: make deps-test")


@test("000, 1: process isolation", needs=REAL, timeout=600)
def requirements_1(session):
    need(session, "aws", "psql", "git", "npm", "nc")
    check(session, "real", "000 1 process isolation")


@test("001, 1: the control plane is invisible and unkillable", needs=REAL, timeout=600)
def plan_1(session):
    check(session, "real", "001 1 control plane is invisible and unkillable")
    assert session.health()["pid"] == session.agent.service("http")["pid"]
    assert procs.name(session.agent.service("http")["pid"]).startswith("bun")


@test("001, 2: critical ports are pre-reserved", needs=(*REAL, "ports"), timeout=600)
def plan_2(session):
    assert not session.vm or (HTTP_PORT, JUPYTER_PORT) == (8080, 8888), (HTTP_PORT, JUPYTER_PORT)
    check(session, "real", "001 2 critical ports are pre-reserved")


# The others need no more than that their lines hold: function, claim, kind, lines.
KINDS = {"real": (REAL, 600), "alone": (ALONE, 60), "workspace": (ALONE, 120)}
TABLE = [
    ("requirements_2", "000, 2: credential isolation", "alone", "000 2 credential isolation"),
    ("requirements_3", "000, 3: state persistence", "alone", "000 3 state persistence"),
    ("requirements_4", "000, 4: no shell injection", "alone", "000 4 no shell injection"),
    ("requirements_api", "000: the API is the one that was", "alone", "000 API compatibility"),
    ("plan_3", "001, 3: credentials are isolated when env is given", "real", "001 3 credentials are isolated when env is given"),
    ("plan_4", "001, 4: user processes see each other", "real", "001 4 user processes see each other"),
    ("implicit_1", "002, 1: backward compatibility", "alone", "002 1 backward compatibility"),
    ("implicit_2", "002, 2: state persistence", "alone", "002 2 state persistence"),
    ("implicit_3", "002, 3: isolation", "real", "002 3 isolation"),
    ("implicit_4", "002, 4: setEnvVars", "alone", "002 4 setEnvVars"),
    ("implicit_usage", "002: sessions, session state, explicit contexts", "alone", "002 sessions", "002 session state", "002 explicit contexts"),
    ("workspaces_1", "003, 1: file creation", "workspace", "003 1 file creation"),
    ("workspaces_2", "003, 2: package installation, with a real venv and a wheel that is built here", "workspace", "003 2 package installation"),
    ("workspaces_3", "003, 3: multiple threads", "workspace", "003 3 multiple threads"),
    ("workspaces_usage", "003: the structure, the command as it is written there, files, and where to look when something is missing", "workspace",
     "003 directory structure", "003 command execution", "003 file operations", "003 troubleshooting"),
    ("credentials_aws", "004: the real AWS command line gets its credentials, and what runs later does not", "real", "004 deploying with an agent"),
    ("credentials_psql", "004: a real psql gets its password, and what runs later does not", "real", "004 database migration"),
    ("credentials_npm", "004: npm install of a package whose postinstall reads every /proc/PID/environ finds no credential", "real",
     "004 package installation"),
    ("credentials_git", "004: a real git clones with a token that is in no URL, no file and no later environment", "real", "004 git with a token"),
    ("credentials_compatible", "004: old code continues to work, with a warning; the way to new code; a context for the platform and one for the user",
     "alone", "004 old code continues to work", "004 migration path", "004 two contexts", "004 configuration is no secret"),
]


def check_lines(function, claim, kind, *lines):
    def holds(session):
        for line in lines:
            if kind == "workspace":
                check_workspace(session, line)
            else:
                check(session, kind, line)
    holds.__name__ = function
    needs, timeout = KINDS[kind]
    test(claim, needs=needs, timeout=timeout)(holds)


for _row in TABLE:
    check_lines(*_row)
