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


def node_lines(session, kind):
    """Runtime -> name of a line -> what went wrong. The programs of 004 take long to start where a processor is emulated: once."""
    if f"documents-{kind}" not in session.memory:
        found = {}
        for runtime, path in node_programs(session).items():
            app = os.path.join(session.scratch, f"app-{kind}-{runtime}")
            os.mkdir(app)
            documents = CHEAP if kind == "real" and runtime == "bun" else ALL
            said = program(session, [path, f"{DOCUMENTS}/run.mjs", NODE_CLIENT, kind, *documents], seconds=400, APP=app, HTTP_PORT=str(HTTP_PORT),
                           JUPYTER_PORT=str(JUPYTER_PORT), ENFORCED=str(session.enforced).lower())
            found[runtime] = outcomes(said.stdout)
        session.memory[f"documents-{kind}"] = found
    return session.memory[f"documents-{kind}"]


def check(session, kind, name, runtimes=("node", "bun")):
    for runtime in runtimes:
        lines = node_lines(session, kind)[runtime]
        assert name in lines, (runtime, name, list(lines))
        assert lines[name] is None, (runtime, lines[name])


def need(session, *programs):
    for each in programs:
        if not shutil.which(each):
            session.missing(f"{each} is not installed: make deps-test")


@test("000, 1: process isolation", needs=REAL, timeout=600)
def requirements_1(session):
    need(session, "aws", "psql", "git", "npm", "nc")
    check(session, "real", "000 1 process isolation")


@test("000, 2: credential isolation", needs=ALONE, timeout=60)
def requirements_2(session):
    check(session, "alone", "000 2 credential isolation")


@test("000, 3: state persistence", needs=ALONE, timeout=60)
def requirements_3(session):
    check(session, "alone", "000 3 state persistence")


@test("000, 4: no shell injection", needs=ALONE, timeout=60)
def requirements_4(session):
    check(session, "alone", "000 4 no shell injection")


@test("000: the API is the one that was", needs=ALONE, timeout=60)
def requirements_api(session):
    check(session, "alone", "000 API compatibility")


@test("001, 1: the control plane is invisible and unkillable", needs=REAL, timeout=600)
def plan_1(session):
    check(session, "real", "001 1 control plane is invisible and unkillable")
    assert session.health()["pid"] == session.agent.service("http")["pid"]
    assert procs.name(session.agent.service("http")["pid"]).startswith("bun")


@test("001, 2: critical ports are pre-reserved", needs=(*REAL, "ports"), timeout=600)
def plan_2(session):
    assert not session.vm or (HTTP_PORT, JUPYTER_PORT) == (8080, 8888), (HTTP_PORT, JUPYTER_PORT)
    check(session, "real", "001 2 critical ports are pre-reserved")


@test("001, 3: credentials are isolated when env is given", needs=REAL, timeout=600)
def plan_3(session):
    check(session, "real", "001 3 credentials are isolated when env is given")


@test("001, 4: user processes see each other", needs=REAL, timeout=600)
def plan_4(session):
    check(session, "real", "001 4 user processes see each other")


@test("002, 1: backward compatibility", needs=ALONE, timeout=60)
def implicit_1(session):
    check(session, "alone", "002 1 backward compatibility")


@test("002, 2: state persistence", needs=ALONE, timeout=60)
def implicit_2(session):
    check(session, "alone", "002 2 state persistence")


@test("002, 3: isolation", needs=REAL, timeout=600)
def implicit_3(session):
    check(session, "real", "002 3 isolation")


@test("002, 4: setEnvVars", needs=ALONE, timeout=60)
def implicit_4(session):
    check(session, "alone", "002 4 setEnvVars")


@test("002: sessions, session state, explicit contexts", needs=ALONE, timeout=60)
def implicit_usage(session):
    for name in ("sessions", "session state", "explicit contexts"):
        check(session, "alone", f"002 {name}")


def workspace(session, name):
    if "workspace" not in session.memory:
        place = os.path.join(session.scratch, "r2")
        said = program(session, [places.PYTHON, "-B", f"{DOCUMENTS}/workspace.py", place], seconds=100, PYTHONPATH=PYTHON_CLIENT)
        session.memory["workspace"] = outcomes(said.stdout)
    assert session.memory["workspace"][f"003 {name}"] is None, session.memory["workspace"][f"003 {name}"]


@test("003, 1: file creation", needs=ALONE, timeout=120)
def workspaces_1(session):
    workspace(session, "1 file creation")


@test("003, 2: package installation, with a real venv and a wheel that is built here", needs=ALONE, timeout=120)
def workspaces_2(session):
    workspace(session, "2 package installation")


@test("003, 3: multiple threads", needs=ALONE, timeout=120)
def workspaces_3(session):
    workspace(session, "3 multiple threads")


@test("003: the structure, the command as it is written there, files, and where to look when something is missing", needs=ALONE, timeout=120)
def workspaces_usage(session):
    for name in ("directory structure", "command execution", "file operations", "troubleshooting"):
        workspace(session, name)


@test("004: the real AWS command line gets its credentials, and what runs later does not", needs=REAL, timeout=600)
def credentials_aws(session):
    check(session, "real", "004 deploying with an agent", ["node"])


@test("004: a real psql gets its password, and what runs later does not", needs=REAL, timeout=600)
def credentials_psql(session):
    check(session, "real", "004 database migration", ["node"])


@test("004: npm install of a package whose postinstall reads every /proc/PID/environ finds no credential", needs=REAL, timeout=600)
def credentials_npm(session):
    check(session, "real", "004 package installation", ["node"])


@test("004: a real git clones with a token that is in no URL, no file and no later environment", needs=REAL, timeout=600)
def credentials_git(session):
    check(session, "real", "004 git with a token", ["node"])


@test("004: old code continues to work, with a warning; the way to new code; a context for the platform and one for the user", needs=ALONE, timeout=60)
def credentials_compatible(session):
    for name in ("old code continues to work", "migration path", "two contexts", "configuration is no secret"):
        check(session, "alone", f"004 {name}")
