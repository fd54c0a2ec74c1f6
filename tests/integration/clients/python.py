# SPDX-License-Identifier: Apache-2.0
"""What only the Python client has: python.py NAME runs one of the checks below. It ends with status 0 when all holds."""

import asyncio
import contextlib
import inspect
import os
import signal
import sys
import threading
import time
import typing

import moat_client
from moat_client import AsyncMoat, Cancellation, Moat

moat = Moat()


def gone(text):
    """Waits until nothing runs of a command string."""
    for _ in range(200):
        if not any(each["state"] != "ended" and each.get("command") == text for each in moat.processes()):
            return
        time.sleep(0.05)
    raise AssertionError(f"{text} still runs")


def typed():
    """Every public function says of all that it takes and gives what it is, and both clients have the same methods."""
    for name in moat_client.__all__:
        thing = getattr(moat_client, name)
        for member, function in inspect.getmembers(thing, inspect.isfunction) if inspect.isclass(thing) else [(name, thing)]:
            if not inspect.isfunction(function) or member.startswith("_") or not function.__module__.startswith("moat_client"):
                continue
            hints = typing.get_type_hints(function)
            missing = [each for each in inspect.signature(function).parameters if each not in hints and each != "self"]
            assert not missing and "return" in hints, (name, member, missing)
    for one, other in ((Moat, AsyncMoat), (moat_client.Context, moat_client.AsyncContext), (moat_client.Process, moat_client.AsyncProcess),
                       (moat_client.Files, moat_client.AsyncFiles)):
        public = [{name for name in dir(each) if not name.startswith("_")} - {"id", "context"} for each in (one, other)]
        assert public[0] == public[1], public[0] ^ public[1]
        for name in (each for each in public[0] if callable(getattr(one, each))):
            parameters = [set(inspect.signature(getattr(each, name)).parameters) - {"cancel"} for each in (one, other)]
            assert parameters[0] == parameters[1], (name, parameters)
    assert set(moat_client.CommandOptions.__annotations__) | {"stdin_open"} == set(moat_client.command.Options._fields)


def refuses(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


def bytes_of_the_system():
    """What Python has decoded from the system's bytes goes back as those bytes."""
    name = os.fsdecode(b"a\xff b")
    assert moat.exec(["printf", "%s", name]).raw.stdout == b"a\xff b"
    assert moat.exec(["sh", "-c", 'printf %s "$A"'], env={"A": name}).raw.stdout == b"a\xff b"
    refuses(TypeError, lambda: moat.exec(["true", 1]))
    refuses(TypeError, lambda: moat_client.quote(1))
    refuses(TypeError, lambda: moat_client.quote("a\0b"))
    refuses(ValueError, lambda: moat.exec("true", max_output=-1))
    refuses(ValueError, lambda: moat.exec("true", on_unsupported="zsh"))


def cancelled():
    """A Cancellation ends what runs, and what has not begun does not begin; an interrupt ends what is waited for."""
    done, started = Cancellation(), moat.status()["execs"]["started"]
    done.cancel()
    refuses(moat_client.Cancelled, lambda: moat.exec("true", cancel=done))
    assert moat.status()["execs"]["started"] == started

    cancel = Cancellation()
    server = moat.start_process("sleep 1010 & echo up; sleep 1010", cancel=cancel)
    server.wait_for_output("up")
    cancel.cancel()
    refuses(moat_client.Cancelled, server.wait)
    gone("sleep 1010 & echo up; sleep 1010")

    def interrupt():
        while not any(each.get("command") == "sleep 1011" and each["state"] == "running" for each in moat.processes()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    refuses(KeyboardInterrupt, lambda: moat.exec("sleep 1011"))
    gone("sleep 1011")

    def fail(*_):
        raise LookupError("mine")

    refuses(LookupError, lambda: moat.exec("echo a; sleep 1012", on_output=fail))
    other = moat.start_process("echo a; sleep 1013")
    refuses(LookupError, moat.attach(other.id, on_output=fail).wait)
    assert other.status()["state"] == "running", "it is somebody else's"
    other.kill()
    gone("echo a; sleep 1012")


def readers():
    """Who reads slowly holds the command back; who stops reading leaves it running."""
    seen, events = 0, moat.exec_stream(["sh", "-c", "head -c 300000000 /dev/zero; sleep 1000"])
    for event in events:
        start = event if event.type == "start" else start
        seen += len(event.data) if event.type == "stdout" else 0
        if seen < 1 << 20:
            continue
        time.sleep(1.5)
        known = moat.process(start.id)
        assert known["state"] == "running" and known["stdoutBytes"] < 64 << 20, known
        break
    events.close()
    assert moat.process(start.id)["state"] == "running"
    assert moat.kill(start.id)


async def cancelled_tasks():
    agent = AsyncMoat()
    for seconds in (0, 0.001, 0.005, 0.05):  # before it has an id, and behind
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(agent.exec("sleep 1020"), seconds)
            raise AssertionError("it ended")
    gone("sleep 1020")

    async def follow():
        async for event in agent.exec_stream("echo a; sleep 1021"):
            if event.type == "stdout":
                running.set()

    running = asyncio.Event()
    task = asyncio.ensure_future(follow())
    await running.wait()
    task.cancel()
    await asyncio.wait({task})
    gone("echo a; sleep 1021")

    async def fail(*_):
        raise LookupError("mine")

    failed = asyncio.ensure_future(agent.exec("echo a; sleep 1022", on_output=fail))
    await asyncio.wait({failed})
    assert isinstance(failed.exception(), LookupError)
    gone("echo a; sleep 1022")
    other = await agent.start_process("echo a; sleep 1023")
    watched = await agent.attach(other.id, on_output=fail)
    with contextlib.suppress(LookupError):
        await watched.wait()
        raise AssertionError("it did not fail")
    assert (await other.status())["state"] == "running", "it is somebody else's"
    await other.kill()


async def many_tasks():
    agent = AsyncMoat()
    results = await asyncio.gather(*(agent.exec(f"echo {i}; exit {i % 3}") for i in range(100)))
    assert [(each.stdout, each.exit_code) for each in results] == [(f"{i}\n", i % 3) for i in range(100)]


CHECKS = {
    "typed": typed, "bytes": bytes_of_the_system, "cancelled": cancelled, "readers": readers,
    "cancelled_tasks": lambda: asyncio.run(cancelled_tasks()), "many_tasks": lambda: asyncio.run(many_tasks()),
}

CHECKS[sys.argv[1]]()
