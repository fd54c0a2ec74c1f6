# SPDX-License-Identifier: Apache-2.0
"""
Every example of the manual pages and of the README, as it stands there: configurations are checked, commands are run, and what is
shown of answers has the fields that real answers have. An example that no test here knows fails.
"""

import json
import os
import re
import shutil
import subprocess

from lib import moatd, places, procs
from lib.session import ports
from lib.tap import test

ROOT = places.SOURCE
PAGES = ("moat.1", "moatd.8", "moat-api.7", "moat-run.7", "moat.conf.5", "libmoat.3")
ROFF = {r"\e": "\\", r"\-": "-", r"\(dq": '"', r"\(aq": "'", r"\&": ""}


def blocks(page):
    """The literal blocks of a manual page, as a reader sees them."""
    with open(f"{ROOT}/userspace/man/{page}", encoding="utf-8") as file:
        found = re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed$", file.read(), re.M | re.S)
    assert found, page
    return [re.sub(r"\\e|\\-|\\\([ad]q|\\&", lambda match: ROFF[match[0]], each) for each in found]


def commands(text):
    """Lines, without comments, continued lines as one."""
    lines = [re.sub(r"\s+#( .*)?$", "", line) for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.strip()]


PROGRAMS = ("import ", "const ", "daemon off;", "from ", "#include ")  # of services: test_handed and test_jupyter have them; in C: test_install


def kind(block):
    if block.startswith(PROGRAMS):
        return "program"
    if block.startswith("list  "):
        return "grammar"
    return "configuration" if block.startswith("[") else "answer" if block.startswith("{") else "commands"


def of_kind(wanted):
    return [(page, block) for page in PAGES for block in blocks(page) if kind(block) == wanted]


def readme():
    """Its blocks, as (language, text)."""
    with open(f"{ROOT}/README.md", encoding="utf-8") as file:
        return re.findall(r"^```(\w*)\n(.*?)^```$", file.read(), re.M | re.S)


def check_configuration(session, text):
    """Nothing may be wrong with it but that the paths of somebody's machine are not there."""
    status, err, path = moatd.refuse(session.build, text, "--config-test")
    said = [line for line in err.splitlines() if "No such file" not in line]
    assert not said and status == (2 if err else 0), (path, said, err)


def shell(session, line, socket, **more):
    """As somebody would type it who has moat on the PATH."""
    environment = moatd.clean_environment(MOAT_SOCKET=socket, **more)
    environment["PATH"] = f"{session.build}:{environment['PATH']}"
    return subprocess.run(["/bin/sh", "-c", line], check=False, capture_output=True, text=True, timeout=60 * procs.SLACK, env=environment)


@test("each configuration in the manual pages is one that moatd takes")
def configurations(session):
    found = of_kind("configuration")
    assert {page for page, _ in found} == {"moat.conf.5"}, found
    for _, block in found:
        check_configuration(session, block)


# How each command of the manual pages ends, and what it says. None: as the rest says.
MANUAL = {
    "moat exec -- python3 -c 'print(1 + 1)'": (0, "2\n"),
    "moat exec -E AWS_SECRET_ACCESS_KEY --timeout 1m -- aws s3 ls": (127, ""),  # where there is no aws
    "id=$(moat exec -d -- sleep 1000); moat ps; moat kill $id": (0, "sleep 1000"),
    "moat events -f --json": (124, ""),  # it follows
    "moatd --port 8080 --directory /srv/app -- bun run server.ts": (0, "command line: ok\n"),
    "moatd --check": (None, "lsm"),
    "moat run 'cd /srv/app && npm start'": (2, ""),
    "moat run -e TOKEN=abc 'printf \"%s\" \"$TOKEN\" | sha256sum'": (0, "ba7816bf8f01cfea"),
    "moat run 'cd app && npm test 2>&1 | tail -5 > log'": (2, ""),  # where there is no app
    "cc example.c $(pkg-config --cflags --libs libmoat)": None,  # test_install
    "podman run --cap-add=SYS_ADMIN,SYS_PTRACE,NET_ADMIN,SYS_RESOURCE ...": None,  # test_containers has these capabilities
    "curl --unix-socket /run/moat/moat.sock http://moat/v1/exec       -d '{\"argv\": [\"uname\", \"-r\"]}'": (0, os.uname().release),
}


@test("each command in the manual pages does what it is there for", needs=("moat",), timeout=120)
def manual_commands(session):
    lines = [line for _, block in of_kind("commands") for line in commands(block)]
    assert set(lines) == set(MANUAL), set(lines) ^ set(MANUAL)
    for line, (status, words) in {line: how for line, how in MANUAL.items() if how}.items():
        if status == 127 and shutil.which("aws"):
            continue
        line = line.replace("/run/moat/moat.sock", session.agent.socket)
        if line.startswith("moat events"):
            line = f"timeout {2 * session.patience} {line}"
        if line.startswith("moatd --port"):  # it would be the machine's moatd
            line = line.replace("--port", "--config-test --port").replace("/srv/app", session.scratch)
        done = shell(session, line, session.agent.socket, AWS_SECRET_ACCESS_KEY="x")
        assert done.returncode == (done.returncode if status is None and done.returncode in (0, 1) else status), (line, done)
        assert words in done.stdout, (line, done)
        if status == 127:
            assert "aws: command not found" in done.stderr, done


@test("the grammar in the manual is the one that the header of the language has")
def grammar(_session):
    with open(f"{ROOT}/userspace/command/command.h", encoding="utf-8") as file:
        header = " ".join(re.sub(r" {2,}\([^|\n]*\)|^ \*", "", file.read(), flags=re.M).split())  # without the remarks beside it
    found = [" ".join(block.split()) for _, block in of_kind("grammar")]
    assert found and all(each in header for each in found), (found, header[:3000])


def shown(block):
    """The objects of a block; "..." or an ellipsis for the rest of one."""
    return [json.loads(each) for each in re.findall(r"^\{.*?\}$", re.sub(r", (\.\.\.|…)\}", "}", block.replace("\n ", " ")), re.M)]


def assert_fields(example, real):
    """Whatever is shown is there, of the same type, and as deep."""
    for name, value in example.items():
        assert name in real, (name, real)
        if isinstance(value, dict):
            assert_fields(value, real[name])
        else:
            assert value is None or real[name] is None or isinstance(real[name], type(value)), (name, value, real)


def examples():
    """Of the answers, by what they are: "error", "result", or the type of an event."""
    found = {}
    for block in [block for _, block in of_kind("answer")] + [text for language, text in readme() if language == "json"]:
        for each in shown(block):
            what = "error" if "code" in each else each.get("type", "result")
            found.setdefault(what, []).append(each)
    return found


def check_examples(real):
    for what, instance in real.items():
        for example in examples()[what]:
            assert_fields(example, instance)


@test("each answer that the manual and the README show has the fields of a real one", needs=("moat",), timeout=60)
def answers(session):
    program = "import os, time; os.write(1, b'6.12'); time.sleep(0.3); os.write(2, bytes([128, 32, 128]))"
    stream = {each["type"]: each for each in session.api.stream(places.PYTHON, "-c", program, beatMs=100)}
    lost = session.api.request("POST", "/v1/exec", {"argv": ["head", "-c", "8000000", "/dev/zero"]}).json["id"]  # more than is kept
    kept = session.api.request("GET", f"/v1/processes/{lost}/events").body.decode().splitlines()
    stream["gap"] = next(each for each in map(json.loads, kept) if each["type"] == "gap")
    refused = session.api.request("POST", "/v1/exec", {"argv": ["/bin/true"], "cwd": "tmp"}).json
    assert refused in examples()["error"], (refused, examples()["error"])
    check_examples({**stream, "result": session.api.request("POST", "/v1/exec", {"argv": ["uname", "-r"]}).json})
    assert {*examples()} == {"error", "result", "denial", "mode", "secret-name", "exec-begin", "exec-end", *stream}, examples().keys()


@test("each event that the manual shows has the fields of a real one", needs=("moat", "lsm"), timeout=60)
def events(session):
    session.exec("/bin/kill", "-9", str(session.agent.pid), context="shared")
    session.exec("/bin/true", env={"API_TOKEN": "x"}, isolated=False)
    for mode in ("audit", "enforce"):
        assert session.api.request("PUT", "/v1/mode", {"mode": mode}).status == 200
    lines = session.api.request("GET", "/v1/events").body.decode().splitlines()
    check_examples({each["type"]: each for each in map(json.loads, lines) if each["type"] in ("denial", "mode", "secret-name", "exec-begin", "exec-end")})


# What the README's commands answer, in its order: status, and words of the output (None: nothing at all).
README = [
    ("moat check", (0, 1), "lsm"), ("moatd -c /tmp/moat.conf --enforce best-effort &", 0, ""),
    ("moat exec -- id", 0, "uid=0"), ("moat run 'cd /tmp", 0, "total"), ("pkill -9 -f http.server", 1, None), ("-- python3 -m http.server 8080", 1, "Address already in use"),
    ("-- rm /usr/bin/python3", 1, "cannot remove"),  # where / is read-only, as in a virtual machine, because of that
    ("curl http://127.0.0.1:8080/", 0, "Directory listing"),
    ("-e TOKEN=abc -- env", 0, "TOKEN=abc"), ("grep -sl abc", (1, 2), None),
    ("--no-isolation -e PORT=3000 -d", 0, "x"), ("--session me -- pwd", 0, "/"), ("run --session me", 0, None), ("curl --unix-socket", 0, os.uname().release),
    ("moat status", 0, "enforce"), ("moat events", 0, "EADDRINUSE"), ("moat metrics", 0, "moat_"), ("moat mode audit", (0, 125), ""), ("moat ps -a", 0, "http.server"),
    ("bpftool map dump pinned", 0, "key"), ("bpftool prog show", 0, "moat_"),
]


@test("what the README tells a newcomer to type does what it says there, with the LSM's programs and with what stands in for them", needs=("moat", "ports"),
      timeout=180)
def newcomer(session):
    make, start, run, look = [text for language, text in readme() if language == "sh"]
    for line in commands(make):
        assert re.fullmatch(r"make \w+", line) and line.split()[1] in subprocess.run(["make", "-C", ROOT, "help"], check=True, capture_output=True,
                                                                                    text=True).stdout, line
    build, config, rest = re.fullmatch(r"(make) && cat > /tmp/moat.conf <<'END'\n(.*)END\n(.*)", start, re.S).groups()
    lines = commands(rest) + commands(run) + commands(look)
    assert build == "make" and len(lines) == len(README), lines
    (port,) = ports(8090)
    config = config.replace("8080", str(port))
    agent = moatd.Moatd(session.build, f"itest-readme-{os.getpid()}", config, "require" if session.enforced else "best-effort")
    try:
        agent.start(60 * procs.SLACK).wait_ready("web", 60 * procs.SLACK)
        for line, (known, status, words) in zip(lines, README, strict=True):
            assert known in line, (known, line)
            if " rm " in line and not session.enforced:  # it is the machine's own
                assert shell(session, "moat exec -c root -- grep -c ' /usr/bin/python3 ' /proc/self/mountinfo", agent.socket).stdout == "1\n", line
            if line.startswith("build/moatd"):
                continue  # it runs
            for old, new in (("build/", ""), ("8080", str(port)), ("/run/moat/moat.sock", agent.socket), ("/moat/default/", f"/moat/{agent.instance}/")):
                line = line.replace(old, new)
            done = shell(session, line, agent.socket)
            assert done.returncode in (status if isinstance(status, tuple) else (status,)), (line, done)
            assert (done.stdout == done.stderr == "") if words is None else words in done.stdout + done.stderr, (line, done)
    finally:
        agent.stop()
        agent.remove_files()
