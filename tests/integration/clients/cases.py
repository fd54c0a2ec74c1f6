# SPDX-License-Identifier: Apache-2.0
"""
Runs the shared cases with the Python client: cases.py sync|async CASES, where CASES is {cases, sockets}. Prints for each case a line
with what came of its steps; test_clients.py compares.
"""

import asyncio
import base64
import contextlib
import hashlib
import inspect
import json
import sys
import threading
import time

import moat_client
from moat_client import Cancellation, MoatError, TransportError

SYNC = sys.argv[1] == "sync"
OPTIONS = {"sessionId": "session_id", "onUnsupported": "on_unsupported", "maxOutput": "max_output", "allowUnshielded": "allow_unshielded",
           "timeoutMs": "timeout", "allowGaps": "allow_gaps", "killAfterMs": "kill_after"}


async def wait(value):
    return await value if inspect.isawaitable(value) else value


async def each(values):
    if hasattr(values, "__aiter__"):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value


def value(given):
    if not isinstance(given, dict) or not given:
        return given
    return given["repeat"] * given["times"] if "repeat" in given else base64.b64decode(given["base64"])


def options(step):
    given = {OPTIONS.get(name) or snake(name): value(each) if name != "env" else {key: value(text) for key, text in each.items()}
             for name, each in step.get("options", {}).items()}
    return seconds(given)


def seconds(given):
    return {name: each / 1000 if name in ("timeout", "kill_after") else each for name, each in given.items()}


def snake(name):
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name)


def command(step):
    return [value(word) for word in step["command"]] if isinstance(step["command"], list) else step["command"]


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def result_of(result, step):
    fields = {camel(name): getattr(result, name) for name in vars(result) if name != "raw"} | {"ok": result.ok}
    if step.get("digest"):
        return fields | {"stdout": "", "textLength": len(result.stdout), "rawLength": len(result.raw.stdout),
                         "sha256": hashlib.sha256(result.raw.stdout).hexdigest()}
    return fields | {"rawStdout": base64.b64encode(result.raw.stdout).decode()}


async def run_exec(where, step):
    seen, begin = [], time.monotonic()

    def on_output(_stream, text, _data):
        seen.append((time.monotonic(), text))

    more = {"on_output": on_output} if step.get("pieces") or step.get("timed") else {}
    result = await wait(where.exec(command(step), **options(step), **more))
    first = "before" if seen and seen[0][0] < time.monotonic() - 0.5 else "after"
    return result_of(result, step) | {"pieces": "".join(text for _, text in seen), "first": first, "begin": begin}


async def run_abort(where, step):
    seen, cancellation = [], Cancellation()
    if SYNC:
        def on_output(_stream, text, _data):
            seen.append(text)
            threading.Thread(target=cancellation.cancel).start()

        try:
            where.exec(command(step), cancel=cancellation, on_output=on_output)
        except moat_client.Cancelled:
            return {"aborted": True, "seen": "".join(seen)}
        return {"aborted": False}
    task = asyncio.ensure_future(where.exec(command(step), on_output=lambda _stream, text, _data: (seen.append(text), task.cancel())[0]))
    try:
        await task
    except asyncio.CancelledError:
        await gone(where)  # the context's: nothing runs in it any more
        return {"aborted": True, "seen": "".join(seen)}
    return {"aborted": False}


async def gone(context):
    for _ in range(200):
        if (await wait(context.info()))["running"] == 0:
            return
        await asyncio.sleep(0.05)


async def run_exec_stream(where, step):
    outcome, first = {"types": [], "stdout": "", "stderr": ""}, None
    async for event in each(where.exec_stream(command(step), **options(step))):
        outcome["types"].append(event.type)
        if event.type == "start":
            first = event.id
        elif event.type == "exit":
            outcome |= {"exitCode": event.exit_code, "sameId": event.id == first}
        elif event.type != "gap":
            outcome[event.type] += event.text
    return outcome


async def run_process(agent, step):
    started = await wait(agent.start_process(command(step)))
    try:
        await wait(started.wait_for_output(step["waitFor"], **({"timeout": step["timeoutMs"] / 1000} if "timeoutMs" in step else {})))
        outcome = {"state": (await wait(started.status()))["state"], "logs": (await wait(agent.logs(started.id))).stdout}
        await wait(started.kill() if step["then"] == "kill" else started.signal(step["then"]))
        return result_of(await wait(started.wait()), step) | outcome
    finally:
        with contextlib.suppress(MoatError):
            await wait(agent.kill(started.id))


async def interacted(handle, name, args):
    """Keywords stand last, as an object of the table."""
    last = args[-1] if args and isinstance(args[-1], dict) and not {"base64", "repeat"} & set(args[-1]) else {}
    keywords = seconds({OPTIONS.get(name) or snake(name): each for name, each in last.items()})
    return await wait(getattr(handle, snake(name))(*[value(each) for each in (args[:-1] if last else args)], **keywords))


async def run_interact(where, step):
    """What is done with a process, step by step; attach goes on with another handle of it."""
    handle, did = await wait(where.start_process(command(step), **options(step))), []
    for name, *args in step["do"]:
        try:
            if name == "attach":
                handle = await wait(where.attach(handle.id, **(args[0] if args else {})))
            else:
                did.append(await interacted(handle, name, args))
        except MoatError as error:
            did.append(failure(error))
    await wait(handle.kill())
    return result_of(await wait(handle.wait()), step) | {"did": [plain(each, step) for each in did]}


def plain(given, step):
    if isinstance(given, moat_client.Found):
        return given.text
    if isinstance(given, moat_client.ExecResult):
        return result_of(given, step)
    return [each._asdict() for each in given] if isinstance(given, list) else given


def content(given):
    if isinstance(given, dict) and "pieces" in given:
        return (value(given["pieces"]) for _ in range(given["times"]))
    return value(given)


async def run_files(where, step):
    """One of the methods of files, by its name. A value of several pieces is sent as such."""
    method = getattr(where.files, snake(step["op"]))
    given = method(*map(content, step["args"]), **{snake(name): each for name, each in step.get("options", {}).items()})
    if step["op"] == "readStream":
        return {"size": sum([len(piece) async for piece in each(given)])}
    result = await wait(given)
    if isinstance(result, moat_client.Listing):
        return {"entries": sorted([entry["path"], entry["type"]] for entry in result.entries), "truncated": result.truncated}
    if isinstance(result, bytes):
        return {"base64": base64.b64encode(result).decode()}
    if step["op"] == "remove":
        return {"removed": result}
    return result if isinstance(result, dict) else {"value": result}


async def run_ports(agent, step):
    return {"has": [found.service for found in await wait(agent.ports()) if found.port == step["port"]]}


async def run_wait_for_port(agent, step):
    return {"has": [found.service for found in await wait(agent.wait_for_port(step["port"], step["timeoutMs"] / 1000))]}


async def run_quoted(agent, step):
    text = "printf '%s\\0' " + " ".join(map(moat_client.quote, step["words"]))
    return {"words": (await wait(agent.exec(text))).stdout.split("\0")[:-1]}


async def run_events(agent, step):
    async for event in each(agent.events(follow=True, since=0)):
        if all(event.get(name) == wanted for name, wanted in step["until"].items()):
            return event


async def run_create_context(agent, step):
    context = await wait(agent.create_context(step["name"], **step.get("keys", {})))
    return {"name": context.name, "warnings": context.warnings}


async def run_secure_execution(agent, _step):
    available, reason = await wait(agent.secure_execution())
    return {"available": available, "hasReason": reason is not None, "hasSecureExecution": await wait(agent.has_secure_execution())}


async def run_exec_secure(where, step):
    return result_of(await wait(where.exec_secure(command(step), **options(step))), step)


async def names_of(listed):
    return {"has": [each["name"] for each in await wait(listed)]}


async def as_done(given):
    return {"done": await wait(given) is None}


async def as_field(name, given):
    return {name: await wait(given)}


CALLS = {
    "interact": run_interact, "files": run_files, "ports": run_ports, "waitForPort": run_wait_for_port, "exec": run_exec, "abort": run_abort, "execStream": run_exec_stream, "process": run_process, "quoted": run_quoted, "events": run_events,
    "createContext": run_create_context, "secureExecution": run_secure_execution, "execSecure": run_exec_secure,
    "kill": lambda agent, step: as_field("killed", agent.kill(step["id"])),
    "setEnv": lambda agent, step: agent.context(step["context"]).set_env(step["env"]),
    "setDirectory": lambda agent, step: agent.context(step["context"]).set_directory(step["directory"]),
    "setEnvVars": lambda agent, step: agent.set_env_vars(step["env"]),
    "cd": lambda agent, step: as_done(agent.context(step["context"]).cd(step["directory"])),
    "resetState": lambda agent, step: as_field("reset", agent.context(step["context"]).reset_state()),
    "info": lambda agent, step: agent.context(step["context"]).info(),
    "remove": lambda agent, step: agent.context(step["context"]).remove(),
    "contexts": lambda agent, step: agent.contexts(),
    "contextNames": lambda agent, step: names_of(agent.contexts()),
    "serviceNames": lambda agent, step: names_of(agent.services()),
    "status": lambda agent, step: agent.status(),
    "health": lambda agent, step: agent.health(service=step.get("service")),
    "mode": lambda agent, step: as_field("mode", agent.mode()),
    "metrics": lambda agent, step: as_field("text", agent.metrics()),
}


def failure(error):
    """As the table has it: what is a TransportError here is a ConnectionError there, which Python's own is not."""
    if not isinstance(error, MoatError):
        return {"error": type(error).__name__, "message": str(error)}
    name = "ConnectionError" if isinstance(error, TransportError) else type(error).__name__
    raw = getattr(error, "raw", None)
    return {"error": name, "code": error.code, "message": str(error), "details": error.details, "status": getattr(error, "status", None),
            "stdout": raw and raw.stdout.decode(), "hasId": bool(getattr(error, "id", None))}


async def run(agents, step):
    agent = agents[step.get("via", "agent")]
    try:
        where = getattr(agent, step["ready"]) if "ready" in step else agent.context(step["in"]) if "in" in step else agent
        return await wait(CALLS[step["call"]](where, step))
    except (MoatError, TypeError) as error:
        return failure(error)


async def main():
    with open(sys.argv[2], encoding="utf-8") as file:
        given = json.load(file)
    make = moat_client.Moat if SYNC else moat_client.AsyncMoat
    agents = {via: make(path, request_timeout=0.5 if via == "silent" else 600) for via, path in given["sockets"].items()}
    for case in given["cases"]:
        outcomes = [await run(agents, step) for step in case["steps"]]
        print(json.dumps({"name": case["name"], "outcomes": outcomes}), flush=True)


asyncio.run(main())
