# SPDX-License-Identifier: Apache-2.0
"""
The clients (userspace/clients) against a real agent: one table of cases, clients/cases.json, for all of them. A client runs the steps of
a case and tells what came of each; here it is compared with what the case says.
"""

import contextlib
import fcntl
import fnmatch
import hashlib
import itertools
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import tarfile
import termios
import time
import zipfile

from lib import cutting, moatd, places, procs
from lib.session import HTTP_PORT, ports
from lib.tap import test

CASES = os.path.join(places.HERE, "clients")
CLIENTS = os.path.join(places.SOURCE, "userspace/clients")
PYTHON_CLIENT = os.path.join(CLIENTS, "python")
NODE_CLIENT = os.path.join(CLIENTS, "node/lib/index.js")
names = (f"cl{os.getpid()}-{n}" for n in itertools.count())
DIGESTS = {"DIGEST-BINARY": bytes(range(256)) * 20000, "DIGEST-TEXT": "aä€😀".encode() * 500000, "DIGEST-SHORT": bytes(range(256)) * 2400,
           "DIGEST-FILE": "bye ä\nmore\n".encode()}


def node():
    return shutil.which("node")


def node_programs(session):
    """What runs JavaScript here, by name; both have to be there."""
    found = {"node": node(), "bun": places.bun(session.build)}
    for name, path in found.items():
        if not path:
            session.missing(f"{name} is not installed: make deps-test")
    return found


def cut_for_good(request, body):
    """The same, and a stream is not to be taken up again."""
    return 0 if b"/events" in request else cut_often(request, body)


def cut_often(_request, body):
    """A stream behind its first record of output, any other answer in its middle."""
    if b'"type":"start"' in body:
        end = body.find(b"}\n", body.find(b'"type":"stdout"')) if b'"type":"stdout"' in body else -1
        return end + 2 if end >= 0 else None
    return 20 if len(body) > 20 else None


def lose_first():
    """The answer to a command is lost as a whole when it runs, and that to what is written to one; a request that is sent again, byte for byte, is answered."""
    lost = set()

    def after(request, body):
        if request in lost:
            return None
        if b"/stdin" in request.partition(b"\r\n")[0]:  # which has been done, all of it
            lost.add(request)
            return cutting.NOTHING
        if not request.startswith(b"POST /v1/exec"):
            return None
        if b'"type":"start"' not in body:
            return cutting.HOLD
        lost.add(request)
        return cutting.NOTHING
    return after


def table(session):
    """The cases, with names of contexts that nobody else has, and what is expected where this kernel enforces or not."""
    with open(os.path.join(CASES, "cases.json"), encoding="utf-8") as file:
        text = file.read().replace("CTX_", "CL_").replace("CTX", next(names)).replace("PYTHON", places.PYTHON)
    (port,) = ports(8393)
    text = text.replace("FREEPORT", str(port)).replace('"$port"', str(port)).replace('"$http"', str(HTTP_PORT))
    for name, content in DIGESTS.items():
        text = text.replace(name, hashlib.sha256(content).hexdigest())
    mode = session.api.get("/v1/mode")["mode"]
    enforced = mode == "enforce"
    refused = {"error": "MoatError", "code": "NOT_SHIELDED", "message": {"contains": session.status()["enforcement"]["reason"] or "-"}}
    for name, value in (("enforced", enforced), ("unenforced", not enforced), ("mode", mode), ("secure", {"stdout": "t\n"} if enforced else refused)):
        text = text.replace(json.dumps("$" + name), json.dumps(value))
    return json.loads(text)


def differs(expected, real, where=""):
    """What is not as expected: None, or words."""
    if isinstance(expected, dict) and set(expected) == {"contains"}:
        return None if isinstance(real, str) and expected["contains"] in real else f"{where}: no {expected['contains']!r} in {real!r}"
    if isinstance(expected, dict) and set(expected) == {"has"}:
        return None if expected["has"] in real.get("has", ()) else f"{where}: no {expected['has']!r} in {real!r}"
    if isinstance(expected, dict) and isinstance(real, dict):
        return next(filter(None, (differs(value, real.get(name, "(absent)"), f"{where}.{name}") for name, value in expected.items())), None)
    if isinstance(expected, list) and isinstance(real, list) and len(expected) == len(real):
        return next(filter(None, (differs(*both, f"{where}[{i}]") for i, both in enumerate(zip(expected, real)))), None)
    return None if expected == real and isinstance(expected, bool) == isinstance(real, bool) else f"{where}: {expected!r} expected, not {real!r}"


@contextlib.contextmanager
def sockets(session):
    """The agent's, and those over which it is not reached as it should be."""
    place = os.path.join(session.scratch, next(names))
    os.mkdir(place)
    agent = session.agent.socket
    with cutting.socket_before(agent, f"{place}/cut.sock", cut_for_good) as cut, \
            cutting.socket_before(agent, f"{place}/often.sock", cut_often) as often, \
            cutting.socket_before(agent, f"{place}/lost.sock", lose_first()) as lost, \
            cutting.socket_before(agent, f"{place}/silent.sock", None) as silent:
        yield {"lost": lost, "agent": agent, "cut": cut, "often": often, "silent": silent, "nobody": f"{place}/moat.sock"}


def program(session, argv, status=0, seconds=60, **environment):
    """Runs a program of a client's to its end: its output."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=seconds * procs.SLACK, stdin=subprocess.DEVNULL,
                          env=moatd.clean_environment(MOAT_SOCKET=session.agent.socket, **environment))
    assert done.returncode == status, (argv, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done


def kill_left(session):
    """What the cases with a cut connection have left running."""
    for each in session.api.get("/v1/processes")["processes"]:
        if "echo there" in (each.get("command") or "") and each["state"] != "ended":
            session.api.request("DELETE", f"/v1/processes/{each['id']}")


def run_cases(session, *argv, only="", **environment):
    """Runs the table with a client. only: what is in the names of those that are run."""
    cases = [each for each in table(session) if only in each["name"]]
    with sockets(session) as found:
        path = os.path.join(session.scratch, f"{next(names)}.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"cases": cases, "sockets": found}, file)
        said = [json.loads(line) for line in program(session, [*argv, path], seconds=120, **environment).stdout.split("\n") if line]
    kill_left(session)
    assert [each["name"] for each in said] == [each["name"] for each in cases], said
    wrong = [f"{case['name']}: step {i + 1}{what}" for case, answer in zip(cases, said)
             for i, (expected, real) in enumerate(zip(case["expect"], answer["outcomes"], strict=True)) if (what := differs(expected, real))]
    assert not wrong, "\n".join(wrong)


@test("where the kernel enforces, the clients run secrets shielded, and say so", needs=("moat", "lsm"), timeout=120)
def shielded(session):
    secrets = {"only": "whether secrets are shielded"}
    for path in node_programs(session).values():
        run_cases(session, path, f"{CASES}/cases.mjs", NODE_CLIENT, **secrets)
    run_cases(session, places.PYTHON, "-B", f"{CASES}/cases.py", "sync", **secrets, PYTHONPATH=PYTHON_CLIENT)


SHIELD = {
    "js": "const { Moat } = await import(process.env.CLIENT); const moat = new Moat();"
          "console.log(JSON.stringify([await moat.secureExecution(), await moat.execSecure('echo $TOKEN', { env: { TOKEN: 't' } })"
          ".then(({ stdout }) => stdout, ({ code }) => code)]));",
    "python": "import json, moat_client as m\nmoat = m.Moat()\ntry: said = moat.exec_secure('echo $TOKEN', env={'TOKEN': 't'}).stdout\n"
              "except m.MoatError as error: said = error.code\nprint(json.dumps([moat.secure_execution()._asdict(), said]))",
}


@test("where the kernel takes no programs and other layers shield secrets, so do the clients, unless a context can undo that", needs=("moat",), timeout=60)
def other_layers(session):
    session.require(not session.enforced, "the kernel programs are in force")
    modules = {"node": ["--input-type=module"], "bun": []}
    programs = [[path, *modules[name], "-e", SHIELD["js"]] for name, path in node_programs(session).items()] + \
        [[places.PYTHON, "-B", "-c", SHIELD["python"]]]
    for more, reason, outcome in (("", None, "t\n"), ("[context strong]\ncapabilities = all\n", "context strong can read them: ", "NOT_SHIELDED")):
        agent = moatd.Moatd(session.build, f"shield-{os.getpid()}", "[service one]\ncommand = /bin/sleep 1000\n" + more, enforce="best-effort")
        env = {"PATH": os.environ["PATH"], "MOAT_SOCKET": agent.socket, "PYTHONPATH": PYTHON_CLIENT, "CLIENT": NODE_CLIENT}
        try:
            agent.start(100 * session.patience)
            guard = next(each for each in agent.api().get("/v1/status")["requirements"] if each["id"] == "C3")["guard"]
            session.require(guard == "guarded", "this kernel has no Landlock")
            for each in programs:
                shield, said = json.loads(subprocess.run(each, env=env, check=True, capture_output=True, text=True, timeout=30).stdout)
                assert shield["available"] == (reason is None) and (shield["reason"] or "").startswith(reason or ""), (each, shield)
                assert said == outcome, (each, said)
        finally:
            agent.kill()
            agent.remove_files()


@test("in a template of the Node client each value is exactly one word, or is refused", needs=("moat",), timeout=60)
def templates(session):
    for path in node_programs(session).values():
        for check in ("templates", "refusals"):
            program(session, [path, f"{CASES}/node.mjs", NODE_CLIENT, check])


@test("an AbortSignal given to the Node client ends the whole tree, or keeps it from starting", needs=("moat",), timeout=60)
def aborts(session):
    for path in node_programs(session).values():
        program(session, [path, f"{CASES}/node.mjs", NODE_CLIENT, "aborts"])


@test("who reads slowly with the Node client holds the command back; a hundred commands at once are no trouble", needs=("moat",), timeout=120)
def readers(session):
    for path in node_programs(session).values():
        for check in ("readers", "many"):
            program(session, [path, f"{CASES}/node.mjs", NODE_CLIENT, check])


@test("the declarations of the Node client say what is there, and nothing else", needs=("moat", "http"), timeout=60)
def declarations(session):
    declared = NODE_CLIENT.removesuffix(".js") + ".d.ts"
    path = node_programs(session)["node"]
    assert program(session, [path, f"{CASES}/declared.mjs", NODE_CLIENT, declared]).stdout.strip() == ""
    with open(declared, encoding="utf-8") as file:
        text = file.read()
    wrong = os.path.join(session.scratch, "wrong.d.ts")
    with open(wrong, "w", encoding="utf-8") as file:
        file.write(text.replace("\tmetrics(", "\tmeasures(").replace("onOutput?:", "onOutptu?:"))
    said = program(session, [path, f"{CASES}/declared.mjs", NODE_CLIENT, wrong]).stdout
    assert "measures is declared and is not there" in said and "onOutput is there and is not declared" in said, said


def packed(session):
    """The packages, as make clients makes them, by the ends of their names."""
    if "packages" not in session.memory:
        node_programs(session)
        place = os.path.join(session.scratch, "packages")
        done = subprocess.run(["make", "-C", places.SOURCE, f"O={place}", "clients"], check=False, capture_output=True, text=True,
                              timeout=120 * procs.SLACK)
        assert done.returncode == 0, done
        session.memory["packages"] = {os.path.splitext(name)[1]: f"{place}/clients/{name}" for name in os.listdir(f"{place}/clients")}
        assert set(session.memory["packages"]) == {".tgz", ".whl"}, session.memory["packages"]
    return session.memory["packages"]


def install(session):
    """The Node client as its users get it: installed into a directory of its own, without a network."""
    if "node-package" not in session.memory:
        package_file = packed(session)[".tgz"]
        place = os.path.join(session.scratch, "node-package")
        os.mkdir(place)
        subprocess.run(["npm", "install", "--offline", "--silent", "--no-audit", "--no-fund", package_file], check=True, cwd=place,
                       timeout=60 * procs.SLACK)
        session.memory["node-package"] = place, package_file
    return session.memory["node-package"]


def installed_python(session):
    """The same for the Python client: what PYTHONPATH has to be."""
    if "python-package" not in session.memory:
        place = os.path.join(session.scratch, "python-package")
        subprocess.run([places.PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index", "--no-deps",
                        "--root-user-action=ignore", "--target", place, packed(session)[".whl"]], check=True, timeout=60 * procs.SLACK)
        session.memory["python-package"] = place
    return session.memory["python-package"]


def in_source(name):
    return {os.path.relpath(os.path.join(folder, each), f"{CLIENTS}/{name}") for folder, _, found in os.walk(f"{CLIENTS}/{name}")
            if not folder.endswith("__pycache__") for each in found}


@test("the Python package has what is needed and nothing more, and needs no other; all clients have moat's version", needs=("moat",), timeout=60)
def python_package(session):
    place = installed_python(session)
    with zipfile.ZipFile(packed(session)[".whl"]) as wheel:
        files = {each for each in wheel.namelist() if ".dist-info/" not in each}
        metadata = next(wheel.read(each).decode() for each in wheel.namelist() if each.endswith("/METADATA"))
    wanted = {each for each in in_source("python") if each.startswith("moat_client/")}
    assert files == wanted and "Requires-Dist" not in metadata, (files ^ wanted, metadata)
    assert not [each for each in os.listdir(place) if not each.startswith("moat_client")], os.listdir(place)
    version = session.api.get("/v1/status")["version"]
    assert f"\nVersion: {version}\n" in metadata and f"-{version}." in packed(session)[".tgz"], (version, metadata, packed(session))


@test("npm pack has what is needed and nothing more, and the package needs no other", needs=("moat",), timeout=60)
def package(session):
    place, package_file = install(session)
    with tarfile.open(package_file) as tar:
        files = {each.removeprefix("package/") for each in tar.getnames()}
    assert files == in_source("node"), files ^ in_source("node")
    with open(f"{place}/package-lock.json", encoding="utf-8") as file:
        assert set(json.load(file)["packages"]) == {"", "node_modules/moat-client"}


def installed_cases(session, name):
    place, _ = install(session)
    shutil.copy(f"{CASES}/cases.mjs", place)
    run_cases(session, node_programs(session)[name], f"{place}/cases.mjs", "moat-client")


@test("the Node client, installed from its package, passes the shared cases under Node", needs=("moat", "http"), timeout=120)
def node_cases(session):
    installed_cases(session, "node")


@test("the Node client, installed from its package, passes the shared cases under Bun", needs=("moat", "http"), timeout=120)
def bun_cases(session):
    installed_cases(session, "bun")


def example(session, path, name, *arguments, **more):
    place, _ = install(session)
    return program(session, [path, f"{place}/node_modules/moat-client/examples/{name}.mjs", *arguments], **more)


@test("example of the Node client: an agent writes code, runs it, reads the error and runs it again", needs=("moat",), timeout=60)
def example_agent(session):
    for path in node_programs(session).values():
        said = example(session, path, "agent").stdout.splitlines()
        assert said[0].startswith("attempt 1: status 1: NameError") and said[1:] == ["attempt 2: 3.0"], said


DEPLOYED = ["the build knows the token: false", "uploaded 138 bytes", "a later command knows the token: false"]


@test("example of the Node client: a deploy gives its token to one command, and to none where the kernel does not shield it", needs=("moat",), timeout=60)
def example_deploy(session):
    for path in node_programs(session).values():
        if not session.enforced:
            refused = example(session, path, "deploy", status=1, DEPLOY_TOKEN="tok-5b2e")
            assert refused.stdout == "" and session.status()["enforcement"]["reason"] in refused.stderr, refused
        arguments = [] if session.enforced else ["--unshielded"]
        assert same(example(session, path, "deploy", *arguments, DEPLOY_TOKEN="tok-5b2e").stdout, DEPLOYED)


def same(text, lines):
    """Whether they are these lines, whatever the numbers in them; true is True in Python."""
    return [re.sub(r"\d+", "N", each) for each in text.lower().splitlines()] == [re.sub(r"\d+", "N", each) for each in lines]


@test("example of the Node client: a dev server is started, waited for, ended and started again", needs=("moat",), timeout=60)
def example_server(session):
    for path in node_programs(session).values():
        (port,) = ports(8391)
        said = example(session, path, "server", str(port)).stdout.splitlines()
        assert said == ["up: 200", "asked by a command of its context: 200", "ended by SIGTERM", "up again: 200", "killed: SIGKILL"], said


def set_size(terminal, rows, cols):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def read_until(terminal, wanted):
    """What a program writes to its terminal, up to some text."""
    text, end = "", time.monotonic() + 30 * procs.SLACK
    while wanted not in text:
        assert time.monotonic() < end, (wanted, text)
        if select.select([terminal], [], [], 1)[0]:
            text += os.read(terminal, 65536).decode()
    return text


SIZES = ((30, 100), (0, 0))  # the latter: as on a serial line


def check_terminal(session, argv, rows, cols, **environment):
    """An example runs on a terminal whose size changes; the shell has the same one, and its status is that of the example."""
    ours, theirs = pty.openpty()
    set_size(ours, rows, cols)
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                          env=moatd.clean_environment(MOAT_SOCKET=session.agent.socket, **environment)) as process:
        os.close(theirs)
        try:
            # its prompt: before it has that, bash keeps a signal's command until the next line has been read
            os.write(ours, b"stty size; trap 'stty size' WINCH; PS1='rea''dy '\n")
            assert f"{rows or 24} {cols or 80}" in read_until(ours, "ready "), argv
            set_size(ours, 40, 120)
            read_until(ours, "40 120")
            os.write(ours, b"exit 3\n")
            assert process.wait(30 * procs.SLACK) == 3, argv
        finally:
            process.kill()
            os.close(ours)


@test("example of the Node client: a terminal, with its size, and the status of its shell", needs=("moat",), timeout=90)
def example_terminal(session):
    place, _ = install(session)
    for path in node_programs(session).values():
        for size in SIZES:
            check_terminal(session, [path, f"{place}/node_modules/moat-client/examples/terminal.mjs"], *size)


@test("example of the Python client: a terminal, with its size, and the status of its shell", needs=("moat",), timeout=90)
def python_terminal(session):
    for size in SIZES:
        check_terminal(session, [places.PYTHON, f"{PYTHON_CLIENT}/examples/terminal.py"], *size, PYTHONPATH=installed_python(session))


@test("the Python client, installed from its package, passes the shared cases", needs=("moat", "http"), timeout=120)
def python_cases(session):
    run_cases(session, places.PYTHON, f"{CASES}/cases.py", "sync", PYTHONPATH=installed_python(session))


@test("the Python client, installed from its package, passes the shared cases with asyncio", needs=("moat", "http"), timeout=120)
def asyncio_cases(session):
    run_cases(session, places.PYTHON, f"{CASES}/cases.py", "async", PYTHONPATH=installed_python(session))


def python_check(session, name):
    done = program(session, [places.PYTHON, "-W", "default", f"{CASES}/python.py", name], PYTHONPATH=installed_python(session))
    assert done.stderr == "", done.stderr  # no resource was left open, no exception unseen


@test("the Python client is typed, and its two halves have the same methods", needs=("moat",), timeout=60)
def python_typed(session):
    python_check(session, "typed")


@test("text that Python has decoded from bytes goes as those bytes; what is no text is refused", needs=("moat",), timeout=60)
def python_bytes(session):
    python_check(session, "bytes")


@test("a Cancellation, an interrupt and a cancelled task end the whole tree, or keep it from starting", needs=("moat",), timeout=60)
def python_cancelled(session):
    python_check(session, "cancelled")
    python_check(session, "cancelled_tasks")


@test("who reads slowly with the Python client holds the command back; a hundred tasks at once are no trouble", needs=("moat",), timeout=60)
def python_readers(session):
    python_check(session, "readers")
    python_check(session, "many_tasks")


def python_example(session, name, *arguments, **more):
    return program(session, [places.PYTHON, f"{PYTHON_CLIENT}/examples/{name}.py", *arguments], PYTHONPATH=installed_python(session), **more)


@test("examples of the Python client: an agent, a deploy with a token, a dev server", needs=("moat",), timeout=60)
def python_examples(session):
    said = python_example(session, "agent").stdout.splitlines()
    assert said[0].startswith("attempt 1: status 1: NameError") and said[1:] == ["attempt 2: 3.0"], said
    if not session.enforced:
        refused = python_example(session, "deploy", status=1, DEPLOY_TOKEN="tok-5b2e")
        assert refused.stdout == "" and session.status()["enforcement"]["reason"] in refused.stderr, refused
    arguments = [] if session.enforced else ["--unshielded"]
    assert same(python_example(session, "deploy", *arguments, DEPLOY_TOKEN="tok-5b2e").stdout, DEPLOYED)
    (port,) = ports(8392)
    said = python_example(session, "server", str(port)).stdout.splitlines()
    assert said == ["asked by a command of its context: 200", "ended by SIGTERM", "up again", "killed: SIGKILL"], said


def blocks(path, language):
    with open(os.path.join(places.SOURCE, path), encoding="utf-8") as file:
        return re.findall(rf"^```{language}\n(.*?)^```$", file.read(), re.M | re.S)


def check_hello(session, argv, text, suffix, place, **environment):
    """Runs the program of a README from a directory of its own, with a port that is free here."""
    (port,) = ports(3000)
    path = os.path.join(place, f"hello{suffix}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace("3000", str(port)).replace('"dev"', f'"{next(names)}"'))
    said = program(session, [*argv, path], **environment).stdout
    wanted = ["IT'S; RM -RF ~\nCI=1\n", "2 ls: cannot access 'nothing-here'", "stdout bytes or text", "UNSUPPORTED_SYNTAX Send one command for each"]
    assert all(each in said for each in wanted) and said.rstrip().lower().endswith("true"), said
    assert ("deployed" in said) == session.enforced, said


@test("what the README tells a newcomer to write in Node, Bun and Python does what it says there", needs=("moat",), timeout=60)
def newcomer(session):
    (shell,), (script,), (python,) = (blocks("README.md", language) for language in ("shell", "js", "python"))
    assert blocks("userspace/clients/node/README.md", "js") == [script] and blocks("userspace/clients/python/README.md", "python") == [python]
    lines = [line.split("#")[0].split() for line in shell.splitlines()]
    assert [line[:2] for line in lines] == [["make", "clients"], ["npm", "install"], ["pip", "install"]], lines
    for line, package_file in zip(lines[1:], (packed(session)[".tgz"], packed(session)[".whl"]), strict=True):
        assert fnmatch.fnmatchcase(f"build/clients/{os.path.basename(package_file)}", line[2]), (line, package_file)
    for path in node_programs(session).values():
        check_hello(session, [path], script, ".mjs", install(session)[0])
    check_hello(session, [places.PYTHON], python, ".py", session.scratch, PYTHONPATH=installed_python(session))
