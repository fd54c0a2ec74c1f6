# SPDX-License-Identifier: Apache-2.0
"""
The four tests of the project's founding document, with a real Bun server and a real Jupyter server as the control plane:
invisible and unkillable; ports reserved; credentials isolated; user processes see each other. Each from code that has a PID
namespace of its own and from code that shares the control plane's.
"""

import json
import urllib.request

from lib import places, procs
from lib.session import HTTP_PORT, JUPYTER_PORT
from lib.tap import test

NEEDS = ("moat", "lsm", "bun", "jupyter")
CONTEXTS = ("default", "full", "shared")
KILLERS = (("pkill", "bun"), ("pkill", "-9", "-f", "server.ts"), ("pkill", "jupyter"), ("pkill", "-9", "-f", "jupyter"),
           ("killall", "bun.exe"), ("killall", "-9", "jupyter-server"), ("pkill", "-9", "-x", "moatd"), ("pkill", "-9", "moat-init"))


def jupyter_version():
    with urllib.request.urlopen(f"http://127.0.0.1:{JUPYTER_PORT}/api", timeout=300) as reply:
        return json.load(reply)["version"]


def identity(session):
    """Who serves, by the kernel's word: pid and start time of both servers and of the agent."""
    return {name: (pid, procs.start_time(pid)) for name, pid in (
        ("bun", session.agent.service("http")["pid"]), ("jupyter", session.agent.service("jupyter")["pid"]),
        ("moatd", session.agent.pid))}


@test("the control plane is real: Bun answers /health on 8080, Jupyter its API on 8888", needs=NEEDS, timeout=60)
def real(session):
    assert not session.vm or (HTTP_PORT, JUPYTER_PORT) == (8080, 8888), (HTTP_PORT, JUPYTER_PORT)
    assert session.health()["pid"] == session.agent.service("http")["pid"]
    assert procs.name(session.agent.service("http")["pid"]).startswith("bun")
    assert jupyter_version()


@test("1: ps aux shows neither", needs=NEEDS, timeout=60)
def invisible(session):
    for context in CONTEXTS:
        result = session.exec("ps", "auxww", context=context)
        assert result.exit == 0 and "ps auxww" in result.out, (context, result)
        for word in ("jupyter", "bun", "server.ts", "moatd"):
            assert word not in result.out, (context, word, result)


@test("1: pgrep, pidof, fuser and ss -p name neither", needs=NEEDS, timeout=60)
def not_found_otherwise(session):
    for context in CONTEXTS:
        for command in (("pgrep", "-f", "jupyter|server.ts"), ("pidof", "bun.exe", "jupyter-server"), ("fuser", f"{HTTP_PORT}/tcp")):
            result = session.exec(*command, context=context)
            assert result.out.strip() == "" and result.exit == 1, (context, command, result)
        result = session.exec("ss", "-ltnp", context=context)
        assert "pid=" not in result.out, (context, result)


@test("1: pkill, killall and kill -9 of every pid do nothing; /health answers, the processes are the same", needs=NEEDS, timeout=120)
def unkillable(session):
    before = identity(session)
    sweep = "import os, signal\nfor pid in range(2, 32768):\n    try:\n        pid != os.getpid() and os.kill(pid, 9)\n    except OSError: pass"
    for context in CONTEXTS:
        for command in KILLERS:
            result = session.exec(*command, context=context)
            assert result.exit == 1, (context, command, result)
        session.exec(places.PYTHON, "-c", sweep, context=context)
    assert identity(session) == before
    assert session.health()["pid"] == before["bun"][0] and jupyter_version()


@test("2: python3 -m http.server 8080 and nc -l 8888 fail with Address already in use", needs=NEEDS, timeout=90)
def ports_reserved(session):
    for context in CONTEXTS:
        for command in ((places.PYTHON, "-m", "http.server", str(HTTP_PORT)), ("nc", "-l", str(JUPYTER_PORT))):
            result = session.exec(*command, context=context, timeoutMs=300000)
            assert result.exit not in (0, None) and "Address already in use" in result.err, (context, command, result)


@test("3: a credential given to one command is seen by it, and by no later and no concurrent one", needs=NEEDS, timeout=90)
def credentials(session):
    grep = "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c '=secret12[3]' || true"
    for context in CONTEXTS:
        running = session.api.start("/bin/sleep", "86440", context=context, env={"AWS_ACCESS_KEY_ID": "secret123"})
        own = session.exec("/bin/sh", "-c", "echo $AWS_ACCESS_KEY_ID", context=context, env={"AWS_ACCESS_KEY_ID": "secret123"})
        assert own.out == "secret123\n", own
        for other in CONTEXTS:
            assert session.exec("/bin/sh", "-c", "echo $AWS_ACCESS_KEY_ID", context=other).out == "\n"
            assert session.exec("/bin/sh", "-c", grep, context=other).out == "0\n", (context, other, "concurrent")
        session.api.kill(running)
        assert session.exec("/bin/sh", "-c", grep, context=context).out == "0\n", (context, "later")


@test("4: user processes see each other, and still not the control plane", needs=NEEDS, timeout=60)
def see_each_other(session):
    for context in CONTEXTS:
        first = session.exec("/bin/sh", "-c", "sleep 86475 & echo started", context=context)
        assert first.out == "started\n", first
        seen = procs.wait_until(lambda context=context: (text := session.exec("ps", "auxww", context=context).out)
                                and "sleep 86475\n" in text and text, 10, "it is seen")
        assert "jupyter" not in seen and "server.ts" not in seen, (context, seen)
        session.api.kill(first.id)
