# SPDX-License-Identifier: Apache-2.0
"""
The document of the API, held against an agent in both directions: what it shows is sent and answered as it stands there, what is
answered stands in it, and each limit that it names is where the agent begins to refuse. That its tables are the code's is
tests/unit/api/openapi_test.c.
"""

import os
import re

from lib import moatd, openapi, places, procs
from lib.session import ports
from lib.tap import test

LINES = openapi.LINES


def document():
    with open(openapi.FILE, encoding="utf-8") as file:
        return openapi.Document(file.read())


@test("the agent serves the document byte for byte, and says with every answer which life of it that is", needs=("moat",))
def served(session):
    reply = session.api.request("GET", "/v1/openapi.json")
    with open(openapi.FILE, "rb") as file:
        assert reply.status == 200 and reply.body == file.read() and reply.headers["Content-Type"] == "application/json", reply.headers
    instance = session.api.get("/v1/health")["instance"]
    for method, path, status in (("GET", "/v1/openapi.json", 200), ("HEAD", "/v1/status", 200), ("GET", "/v1/nothing", 404), ("PUT", "/v1/exec", 405),
                                 ("GET", "/v1/events", 200), ("GET", "/metrics", 200), ("GET", "/v1/status?x=1", 400)):
        reply = session.api.request(method, path)
        assert reply.status == status and reply.headers["Moat-Instance"] == instance, (method, path, reply.status, reply.headers)


def fresh(session, sections=""):
    return moatd.Moatd(session.build, f"itest-openapi-{os.getpid()}", sections, "best-effort")


@test("each example of the document is sent to a fresh agent and answered as it stands there", timeout=60)
def examples(session):
    whole = document()
    found = whole.examples()
    assert [*found] == whole.whole["x-examples"], {*found} ^ {*whole.whole["x-examples"]}
    without = [f"{method} {path}" for method, path, _ in whole.operations()
               if not any((each.method, each.path) == (method, path) for each in found.values())]
    assert without == ["GET /v1/openapi.json"], without
    agent = fresh(session)
    try:
        agent.start(60 * procs.SLACK)
        for name, example in found.items():
            status, media, body, headers = example.send(agent.api())
            assert (status, media) == (example.status, example.media), (name, status, media, body[:2000])
            assert headers["Moat-Instance"], (name, headers)
            assert not (wrong := whole.compare(example, media, body)), (name, wrong)
    finally:
        agent.stop()
        agent.remove_files()


def more_requests(port):
    """What examples do not show: (method, path in the document, target, body, headers)."""
    def run(body, headers=None):
        return ("POST", "/v1/exec", "/v1/exec", body, headers)

    def process(name, end, of):
        return ("GET", f"/v1/processes/{{id}}/{name}" if name else "/v1/processes/{id}", f"/v1/processes/{of}{'/' if name else ''}{name}{end}", None, None)

    def file(end, method="GET", body=None):
        return (method, "/v1/contexts/{name}/files", f"/v1/contexts/default/files?{end}", body, None)
    stream = {"Accept": LINES}
    return [
        run({"argv": [places.PYTHON, "-c", "import os, time; os.write(1, b'a' * 9 + bytes([255])); os.write(2, bytes([255])); time.sleep(0.3)"],
             "beatMs": 100, "id": "beats"}, stream),
        run({"argv": ["sleep", "1000"], "id": "lasts", "wait": False}),
        process("events", "?follow=false", "lasts"), process("", "", "beats"),
        run({"argv": ["head", "-c", "8000000", "/dev/zero"], "id": "much"}), run({"argv": ["sh", "-c", "head -c 8000000 /dev/zero >&2"]}),
        run({"argv": ["true", "x" * 300000]}), run({"argv": ["true", {"base64": "/w=="}]}),
        process("events", "", "much"), process("stdout", "?since=300000", "much"),
        run({"argv": ["true"], "env": {"API_TOKEN": "x"}, "isolated": False, "id": "warned", "wait": False}),
        run({"argv": ["true"], "env": {"API_TOKEN": "x"}, "isolated": False}, stream),
        run({"command": "FOO=1; export BAR=2; unset BAZ; cd /tmp; echo \"$(x)\""}, stream), run({"command": "sleep 1000; true", "timeoutMs": 100}, stream),
        ("GET", "/v1/processes", "/v1/processes", None, None),
        run({"argv": ["sh", "-c", "exit 3"], "id": "gone"}), run({"argv": ["true"], "id": "gone"}),
        run({"argv": [places.PYTHON, "-m", "http.server", str(port)], "id": "serves", "wait": False}),
        ("GET", "/v1/ports/{port}", f"/v1/ports/{port}?state=listening&timeoutMs=60000", None, None), ("GET", "/v1/ports", "/v1/ports", None, None),
        ("GET", "/v1/services", "/v1/services", None, None), ("GET", "/v1/status", "/v1/status", None, None),
        ("GET", "/v1/health", "/v1/health?ready", None, None),
        file("path=/tmp/moat-openapi/a%FF", "PUT", b"x"), run({"command": "ln -s a /tmp/moat-openapi/link"}),
        run({"argv": ["sh", "-c", "ln -s $(printf 'b\\377') /tmp/moat-openapi/other"]}),
        run({"argv": ["sh", "-c", "mkdir /tmp/moat-openapi/$(printf 'd\\377')"]}), run({"command": "cd /tmp/moat-openapi/d*; export HERE=\"$PWD\"; LOCAL=$PWD"}),
        ("GET", "/v1/contexts/{name}", "/v1/contexts/default", None, None), ("DELETE", "/v1/contexts/{name}/state", "/v1/contexts/default/state", None, None),
        file("path=/tmp/moat-openapi&list&hash"), file("path=/tmp/moat-openapi/link&stat"), file("path=/tmp/moat-openapi/a%FF&exists"),
        file("path=/tmp/moat-openapi/a%FF&append=1", "PUT", b"x"),
        file("path=/tmp/moat-openapi/a%FF", "POST", {"op": "replace", "old": "y", "new": "z"}),
        file("path=/tmp/moat-openapi&recursive", "DELETE"),
        ("PUT", "/v1/mode", "/v1/mode", {"mode": "audit"}, None), ("PUT", "/v1/mode", "/v1/mode", {"mode": "enforce"}, None),
        ("GET", "/v1/events", "/v1/events", None, None), ("GET", "/v1/events", "/v1/events?since=99999", None, None),
    ]


def unseen(whole, schema, seen, where):
    """The members of a schema, and of those in it, that no answer had."""
    schema = whole.resolve(schema)
    kind = schema.get("properties", {}).get("type", {})
    if "const" in kind:
        where = [*where, kind["const"]]
        if id(kind) not in seen:
            yield ".".join(where)
            return
    for key in ("allOf", "oneOf", "anyOf"):
        for each in schema.get(key, []):
            yield from unseen(whole, each, seen, where)
    for name, each in schema.get("properties", {}).items():
        if id(each) in seen:
            yield from unseen(whole, each, seen, [*where, name])
        else:
            yield ".".join([*where, name])
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from unseen(whole, schema[key], seen, where)


def answers_of(whole, agent, port, seen):
    """Sends all that there is to send."""
    try:
        agent.start(60 * procs.SLACK).wait_ready("web", 60 * procs.SLACK)
        sent = [(each.method, each.path, each.target, each.body, each.headers) for each in whole.examples().values()]
        for method, path, target, body, headers in [*sent, *more_requests(port)]:
            reply = agent.api().request(method, target, body, headers)
            schema, value = whole.check(method, path, reply.status, reply.headers["Content-Type"], reply.body)
            for each in value if reply.headers["Content-Type"] == LINES else [value]:
                note(whole, schema.get("contentSchema", schema), each, seen)
    finally:
        agent.stop()
        agent.remove_files()


# What no agent answers within a second, or on the machine of this test.
UNSEEN = {
    "filesInMemory": "memory has to run out",
    "details.exitCode": "thousands of commands have to come after",
    "PUT /v1/mode 200.mode": "the kernel has to enforce", "PUT /v1/mode 200.previous": "the same", "GET /v1/events 200.mode": "the same",
    "port-held": "somebody has to take a port of a service: see test_handed", "session-expired": "a session has to be idle for long", "addressEncoding": "a service has to listen on what is no text",
}


@test("whatever is answered stands in the document, and of what it says of answers there is nothing that none has", timeout=120)
def members(session):
    whole, seen = document(), set()
    (port,) = ports(8096)
    agent = fresh(session, f"""[service web]
command = {places.PYTHON} -m http.server {port + 1}
port = {port + 1}
directory = {session.scratch}
shares = {session.scratch}
[service fails]
command = /bin/false
""")
    answers_of(whole, agent, port, seen)
    missing = set()
    for method, path, operation in whole.operations():
        for status in operation["responses"]:
            for content in whole.response(operation, status)["content"].values():
                schema = content["schema"]
                missing.update(unseen(whole, schema.get("contentSchema", schema), seen, [f"{method} {path} {status}"]))
    missing = {each for each in missing if not any(each.endswith(known) for known in UNSEEN)}
    assert not missing, missing


def note(whole, schema, value, seen):
    """Remembers which members of the schema the value has."""
    parts, _ = whole.parts(schema, value)
    for part in parts:
        for name, each in part.get("properties", {}).items():
            if isinstance(value, dict) and name in value:
                seen.add(id(each))
                note(whole, each, value[name], seen)
        if isinstance(value, list) and "items" in part:
            for each in value:
                note(whole, part["items"], each, seen)
        if isinstance(value, dict) and isinstance(part.get("additionalProperties"), dict):
            for each in value.values():
                note(whole, part["additionalProperties"], each, seen)


@test("the manual lists the error codes of the document, each with its status")
def manual(_session):
    with open(f"{places.SOURCE}/userspace/man/moat-api.7", encoding="utf-8") as file:
        rows = re.findall(r"^\.It ([A-Z][A-Z_]+(?: , [A-Z_]+)*) Ta (\d+) Ta", file.read(), re.M)
    listed = [(code, int(status)) for codes, status in rows for code in codes.split(" , ")]
    known = [(each["const"], each["x-status"]) for each in document().whole["components"]["schemas"]["ErrorCode"]["oneOf"]]
    assert sorted(listed) == sorted(known), {*listed} ^ {*known}


# A request to which one field is added, by operation; None: needs none.
BASES = {
    "exec": {"argv": ["true"]}, "waitProcess": {"for": "exit"}, "resizeTerminal": {"rows": 24, "cols": 80}, "signalProcess": {"signal": "CONT"},
    "createContext": {"name": "limits"}, "changeContext": {}, "setMode": {"mode": "enforce"}, "changeFile": {"op": "mkdir"},
}
BESIDE = {("exec", "command"): {"argv": None}, ("exec", "create"): {"session": "limits"}, ("exec", "stdinEncoding"): {"stdin": ""}, ("exec", "shell"): {"argv": None, "command": "true"},
          ("waitProcess", "text"): {"for": "output"}, ("changeFile", "old"): {"op": "replace", "new": ""}, ("changeFile", "new"): {"op": "replace", "old": "x"}}


def limits(schema):
    """(values that are refused, values that are at the limit and are not)"""
    kind = schema.get("type")
    refused, taken = list(["?"] if "enum" in schema else []), [each for each in schema.get("enum", []) if each]
    for key, step in (("minimum", -1), ("maximum", 1)):
        if key in schema:
            refused.append(schema[key] + step)
            taken.append(schema[key])
    for key, step in (("minLength", -1), ("maxLength", 1), ("minItems", -1), ("maxItems", 1)):
        if key in schema and schema[key] + step >= 0:
            refused.append("1" * (schema[key] + step) if kind == "string" else ["a"] * (schema[key] + step))
            taken.append("1" * schema[key] if kind == "string" else ["a"] * schema[key])
    if "maxProperties" in schema:
        refused.append({f"A{n}": "" for n in range(schema["maxProperties"] + 1)})
        taken.append({f"A{n}": "" for n in range(schema["maxProperties"])})
    return refused, taken


def refusal(reply, name):
    """What the agent says where it refuses a value of that field, or None."""
    if reply.status != 400 or reply.json["code"] != "BAD_VALUE" or reply.json["details"].get("field") != name:
        return None
    return reply.json["message"]


def is_at_limit(send, name, schema, what):
    """How many limits there were."""
    refused, taken = limits(schema)
    if (name, "enum" in schema) in (("path", False), ("to", False)):  # as long as they may be, where nothing comes before them
        refused, taken = [[each and f"/{each[1:]}" for each in some] for some in (refused, taken)]
    said = [refusal(send(each), name) for each in refused]
    assert all(said), (what, name, said, [str(each)[:50] for each in refused])
    for each in taken:
        assert (found := refusal(send(each), name)) not in said or not found, (what, name, str(each)[:50], found)
    return len(refused)


def limits_of(session, whole, context, method, path, operation):
    """How many limits there were of an operation. The context's settings become whatever they may be."""
    ended, found = session.exec("/bin/true").id, 0
    target = path.replace("{name}", context).replace("{id}", ended).replace("{port}", "9999")
    bodies = operation.get("requestBody", {}).get("content", {})
    base = BASES[operation["operationId"]] if openapi.JSON in bodies else None
    query = "?path=none" if operation["operationId"] == "changeFile" else ""
    for name, schema in whole.resolve(bodies.get(openapi.JSON, {}).get("schema", {})).get("properties", {}).items():
        def send(value, name=name):
            body = {key: each for key, each in {**base, **BESIDE.get((operation["operationId"], name), {}), name: value}.items() if each is not None}
            return session.api.request(method, target + query, body)
        found += is_at_limit(send, name, whole.resolve(schema), target)
    for parameter in [each for each in operation.get("parameters", []) if each["in"] == "query"]:
        name = parameter["name"]

        def ask(value, name=name):
            with_path = "&path=none" if path.endswith("/files") and name != "path" else ""
            if path == "/v1/ports/{port}" and name == "state":
                return session.api.request(method, f"{target}?state={value}&timeoutMs=1")
            ends = "&follow=false" if "follow" in [each["name"] for each in operation["parameters"]] and name != "follow" else ""
            return session.api.request(method, f"{target}?{name}={value}{with_path}{ends}", base)
        found += is_at_limit(ask, name, parameter["schema"], target)
    return found


@test("each limit and each choice of a field or a query that the document names is the one at which the agent begins to refuse", needs=("moat",), timeout=120)
def at_the_limit(session):
    whole, context = document(), "at-the-limit"
    assert session.api.request("POST", "/v1/contexts", {"name": context}).status == 201
    try:
        found = sum(limits_of(session, whole, context, *each) for each in whole.operations())
    finally:
        for each in (context, BASES["createContext"]["name"]):
            session.api.request("DELETE", f"/v1/contexts/{each}")
    assert found > 60, found


@test("what the document does not know is refused: another field, another query, another method of a path, and a field that has to be there is missed",
      needs=("moat",), timeout=60)
def unknown(session):
    whole = document()
    ended = session.exec("/bin/true").id
    for path, item in whole.whole["paths"].items():
        target = path.replace("{name}", "default").replace("{id}", ended).replace("{port}", "9999")
        reply = session.api.request("BREW", target)
        known = {method.upper() for method in item}
        assert reply.status == 405 and {*reply.headers["Allow"].split(", ")} - {"HEAD"} == known, (path, reply.headers["Allow"])
        for method, operation in item.items():
            reply = session.api.request(method.upper(), f"{target}?no-such=1")
            assert (reply.status, reply.json["code"], reply.json["details"]["field"]) == (400, "UNKNOWN_FIELD", "no-such"), (method, path, reply)
            content = operation.get("requestBody", {}).get("content", {})
            if openapi.JSON not in content:
                continue
            base = {key: each for key, each in BASES[operation["operationId"]].items() if each is not None}
            reply = session.api.request(method.upper(), target, {**base, "no-such": 1})
            assert (reply.status, reply.json["code"], reply.json["details"]["field"]) == (400, "UNKNOWN_FIELD", "no-such"), (method, path, reply)
            for name in whole.resolve(content[openapi.JSON]["schema"]).get("required", []):
                reply = session.api.request(method.upper(), target, {key: each for key, each in base.items() if key != name})
                assert (reply.json["code"], reply.json["details"]["field"]) == ("MISSING_FIELD", name), (method, path, name, reply)
