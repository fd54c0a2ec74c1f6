# SPDX-License-Identifier: Apache-2.0
"""The client for asyncio. Cancelling a task that waits for a command ends the command, and all that it has started."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import re
from typing import Any, AsyncIterator, Optional, Union

from . import calls, wire
from .client import SOCKET, TAIL, find
from .command import Collector, Events, Options, exec_request, retry_of
from .errors import ApiError, StreamError, TransportError, WaitError
from .types import (AsyncOnOutput, CommandLike, ExecEvent, ExecResult, Found, Logs, OnUnsupported, OutputEvent, SecureExecution,
                    StartEvent, VariableChanges, Variables)


class _Stream:
    """A connection with the answer to one request."""

    def __init__(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.response = wire.Response()
        self._first: list[bytes] = []
        self._path, self._reader, self._writer = path, reader, writer

    @classmethod
    async def open(cls, path: str, request: wire.Request) -> _Stream:
        data = request.encode()
        try:
            stream = cls(path, *await asyncio.open_unix_connection(path))
        except OSError as error:
            raise wire.lost(error, path, False) from error
        stream._writer.write(data)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await stream._writer.drain()  # what is refused before it was read has an answer all the same
        return stream

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body. It ends with the connection, however that ended: response.complete says."""
        while not self.response.complete:
            try:
                data = await self._reader.read(65536)
            except (ConnectionResetError, BrokenPipeError):
                data = b""
            except OSError as error:
                raise wire.lost(error, self._path, True) from error
            if not data:
                self.response.eof()
                return
            yield self.response.feed(data)

    async def begin(self) -> None:
        """Waits for the head. A refusal is raised."""
        async for piece in self.pieces():
            self._first.append(piece)
            if self.response.status is not None:
                break
        if self.response.status is None or self.response.status >= 300:
            wire.answer(self.response, b"".join([*self._first, *[piece async for piece in self.pieces()]]))

    async def records(self) -> AsyncIterator[dict[str, Any]]:
        """Of a stream that has begun."""
        lines = wire.Lines()
        for piece in self._first:
            for record in lines.feed(piece):
                yield record
        async for piece in self.pieces():
            for record in lines.feed(piece):
                yield record

    def close(self) -> None:
        self._writer.transport.abort()


class _AsyncRunner:
    """What can be run, in a context or where the options say."""

    def __init__(self, path: str, timeout: float, context: Optional[str], on_unsupported: OnUnsupported) -> None:
        self._path, self._timeout, self._context, self._on_unsupported = path, timeout, context, on_unsupported

    # Asking

    async def _call(self, call: calls.Call) -> Any:
        try:
            return call.take(await asyncio.wait_for(self._text(call.request), self._timeout))
        except asyncio.TimeoutError:
            raise TransportError("NO_ANSWER", "the agent did not answer in time") from None

    async def _text(self, request: wire.Request) -> str:
        stream = await _Stream.open(self._path, request)
        with contextlib.closing(stream):
            return wire.answer(stream.response, b"".join([piece async for piece in stream.pieces()]))

    async def _open(self, request: wire.Request) -> _Stream:
        """A stream that has begun; a refusal is raised. To be closed."""
        stream = await _Stream.open(self._path, request)
        try:
            await stream.begin()
        except BaseException:
            stream.close()
            raise
        return stream

    # Running

    def _options(self, env: Optional[Variables], cwd: Optional[str], timeout: Optional[float], stdin: Optional[Union[str, bytes]],
                 session_id: Optional[str], isolated: Optional[bool], on_unsupported: Optional[OnUnsupported]) -> Options:
        return Options(env, cwd, timeout, stdin, session_id, isolated, on_unsupported or self._on_unsupported)

    async def _start(self, command: CommandLike, options: Options) -> tuple[Optional[str], _Stream]:
        """The interpreter of a command, or None, and its stream."""
        try:
            return None, await self._open(exec_request(self._context, command, options))
        except ApiError as error:
            argv = retry_of(error, options)
            if not argv:
                raise
            return argv[0], await self._open(exec_request(self._context, argv, options))

    async def _first(self, command: CommandLike, options: Options) -> tuple[Events, _Stream, AsyncIterator[dict[str, Any]], list[ExecEvent]]:
        """A command that runs, as its first record says."""
        interpreter, stream = await self._start(command, options)
        events, records = Events(interpreter), stream.records()
        async for record in records:
            return events, stream, records, list(events.take(record))
        stream.close()
        raise StreamError("the connection ended before the command's first record")

    async def _kill_quietly(self, id: Optional[str]) -> None:
        """When something else is told."""
        if id:
            with contextlib.suppress(Exception):
                await self._call(calls.kill(id))

    async def _stream(self, command: CommandLike, options: Options) -> AsyncIterator[ExecEvent]:
        # Who gave up before the command has an id would not know whether it runs: then it is waited for, and ended.
        starting = asyncio.ensure_future(self._first(command, options))
        try:
            events, stream, records, first = await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                events, stream, _, _ = await starting
                stream.close()
                await self._kill_quietly(events.id)
            raise
        with contextlib.closing(stream):
            try:
                for event in first:
                    yield event
                async for record in records:
                    for event in events.take(record):
                        yield event
                    if events.ended:
                        return
            except asyncio.CancelledError:
                await self._kill_quietly(events.id)
                raise
            raise StreamError("the connection ended before the command's last record", events.id)

    async def _run(self, command: CommandLike, options: Options, on_output: Optional[AsyncOnOutput], collector: Collector) -> ExecResult:
        """To its end. What breaks it off ends the command, except that the connection is gone."""
        try:
            async with contextlib.aclosing(self._stream(command, options)) as events:
                async for event in events:
                    collector.add(event)
                    await told(on_output, event)
        except StreamError as error:
            error.raw = collector.raw()
            raise
        except TransportError:
            raise
        except BaseException:
            await self._kill_quietly(collector.id)
            raise
        assert collector.result
        return collector.result

    async def exec(self, command: CommandLike, *, env: Optional[Variables] = None, cwd: Optional[str] = None,
                   timeout: Optional[float] = None, stdin: Optional[Union[str, bytes]] = None, session_id: Optional[str] = None,
                   isolated: Optional[bool] = None, on_unsupported: Optional[OnUnsupported] = None,
                   on_output: Optional[AsyncOnOutput] = None, max_output: Optional[int] = None) -> ExecResult:
        """Runs a command to its end: as Moat.exec. What on_output returns may be awaitable."""
        options = self._options(env, cwd, timeout, stdin, session_id, isolated, on_unsupported)
        return await self._run(command, options, on_output, Collector(max_output))

    def exec_stream(self, command: CommandLike, *, env: Optional[Variables] = None, cwd: Optional[str] = None,
                    timeout: Optional[float] = None, stdin: Optional[Union[str, bytes]] = None, session_id: Optional[str] = None,
                    isolated: Optional[bool] = None, on_unsupported: Optional[OnUnsupported] = None) -> AsyncIterator[ExecEvent]:
        """Its records as they come: start, output, exit. Who reads slowly holds the command back; who stops leaves it running."""
        return self._stream(command, self._options(env, cwd, timeout, stdin, session_id, isolated, on_unsupported))

    async def exec_secure(self, command: CommandLike, *, env: Optional[Variables] = None, cwd: Optional[str] = None,
                          timeout: Optional[float] = None, stdin: Optional[Union[str, bytes]] = None,
                          session_id: Optional[str] = None, on_unsupported: Optional[OnUnsupported] = None,
                          on_output: Optional[AsyncOnOutput] = None, max_output: Optional[int] = None,
                          allow_unshielded: bool = False) -> ExecResult:
        """Runs a command apart from all others, and only where the kernel shields its variables: else NOT_SHIELDED."""
        options = self._options(env, cwd, timeout, stdin, session_id, True, on_unsupported)
        if not allow_unshielded and await self._call(calls.get("/v1/mode", calls.member("mode"))) != "enforce":
            raise calls.not_shielded((await self._call(calls.secure_execution())).reason)
        return await self._run(command, options, on_output, Collector(max_output))

    async def start_process(self, command: CommandLike, *, env: Optional[Variables] = None, cwd: Optional[str] = None,
                            timeout: Optional[float] = None, stdin: Optional[Union[str, bytes]] = None,
                            session_id: Optional[str] = None, isolated: Optional[bool] = None,
                            on_unsupported: Optional[OnUnsupported] = None, on_output: Optional[AsyncOnOutput] = None,
                            max_output: Optional[int] = None) -> AsyncProcess:
        """Starts a command that goes on. A task reads its output, and calls on_output."""
        options = self._options(env, cwd, timeout, stdin, session_id, isolated, on_unsupported)
        events = self._stream(command, options)
        start = await events.__anext__()
        assert isinstance(start, StartEvent)
        return AsyncProcess(self, start, events, on_output, TAIL if max_output is None else max_output)


async def told(on_output: Optional[AsyncOnOutput], event: ExecEvent) -> None:
    if on_output and isinstance(event, OutputEvent):
        done = on_output(event.type, event.text, event.data)
        if inspect.isawaitable(done):
            await done


class AsyncProcess:
    """A command that goes on, made by start_process."""

    def __init__(self, runner: _AsyncRunner, start: StartEvent, events: AsyncIterator[ExecEvent],
                 on_output: Optional[AsyncOnOutput], max_output: int) -> None:
        self._runner, self._on_output, self._collector = runner, on_output, Collector(max_output)
        self._changed = asyncio.Condition()
        self._ended = False
        self._tails = {"stdout": "", "stderr": ""}
        self._collector.add(start)
        self.id, self.context, self.created, self.pid = start.id, start.context, start.created, start.pid
        self.started_at, self.warnings, self.interpreter = start.started_at, start.warnings, start.interpreter
        self._task = asyncio.ensure_future(self._follow(events))

    async def _follow(self, events: AsyncIterator[ExecEvent]) -> ExecResult:
        try:
            async for event in events:
                await self._take(event)
        except StreamError as error:
            error.raw = self._collector.raw()
            raise
        except TransportError:
            raise
        except BaseException:
            await self._runner._kill_quietly(self.id)
            raise
        finally:
            self._ended = True
            async with self._changed:
                self._changed.notify_all()
        assert self._collector.result
        return self._collector.result

    async def _take(self, event: ExecEvent) -> None:
        self._collector.add(event)
        if isinstance(event, OutputEvent):
            self._tails[event.type] = (self._tails[event.type] + event.text)[-TAIL:]
            async with self._changed:
                self._changed.notify_all()
        await told(self._on_output, event)

    async def wait(self, timeout: Optional[float] = None) -> ExecResult:
        """Its result, when it has ended; a WaitError after so many seconds. Who stops waiting leaves it running."""
        done, _ = await asyncio.wait({self._task}, timeout=timeout)
        if not done:
            raise WaitError("TIMEOUT", f"the process did not end within {timeout} s")
        return self._task.result()

    async def wait_for_output(self, pattern: Union[str, re.Pattern[str]], timeout: Optional[float] = 30) -> Found:
        """Returns when it has written this. Raises a WaitError after so many seconds, or when the process ends."""
        try:
            return await asyncio.wait_for(self._find(pattern), timeout)
        except asyncio.TimeoutError:
            raise WaitError("TIMEOUT", f"no such output within {timeout} s") from None

    async def _find(self, pattern: Union[str, re.Pattern[str]]) -> Found:
        async with self._changed:
            while not (found := find(self._tails, pattern)):
                if self._ended:
                    result = await self.wait()
                    raise WaitError("PROCESS_ENDED", f"the process ended without it: status {result.exit_code}", result)
                await self._changed.wait()
        return found

    async def signal(self, signal: Union[str, int]) -> dict[str, Any]:
        """To its process group: "TERM", "SIGTERM" or 15."""
        return await self._runner._call(calls.signal(self.id, signal))

    async def kill(self) -> bool:
        """Ends it and all that it has started; False when nothing was left."""
        return await self._runner._call(calls.kill(self.id))

    async def status(self) -> dict[str, Any]:
        return await self._runner._call(calls.get(calls.process_path(self.id)))


class AsyncContext(_AsyncRunner):
    """A context by its name; that it exists is not asked. warnings are those of create_context."""

    def __init__(self, parent: _AsyncRunner, name: str, warnings: Optional[list[dict[str, Any]]] = None) -> None:
        super().__init__(parent._path, parent._timeout, name, parent._on_unsupported)
        self.name = name
        self.warnings: list[dict[str, Any]] = warnings or []

    async def set_env(self, variables: VariableChanges) -> dict[str, Any]:
        """Sets variables for what is started later; None takes one out."""
        return await self._call(calls.set_env(self.name, variables))

    async def set_directory(self, directory: Optional[str]) -> dict[str, Any]:
        """Where commands start that say nothing else; None: as if it had never been given."""
        return await self._call(calls.set_directory(self.name, directory))

    async def info(self) -> dict[str, Any]:
        return await self._call(calls.get(calls.context_path(self.name)))

    async def remove(self, *, keep: bool = False) -> dict[str, Any]:
        """Kills what runs in it, and removes it; keep: lets it run to its end."""
        return await self._call(calls.remove_context(self.name, keep))


class AsyncMoat(_AsyncRunner):
    """An agent. What it runs itself runs in the context default, or in that of a session. Each method is that of Moat."""

    def __init__(self, socket_path: Optional[str] = None, *, request_timeout: float = 60,
                 on_unsupported: OnUnsupported = "error") -> None:
        super().__init__(socket_path or os.environ.get("MOAT_SOCKET") or SOCKET, request_timeout, None, on_unsupported)

    def context(self, name: str) -> AsyncContext:
        return AsyncContext(self, name)

    async def create_context(self, name: str, *, env: Optional[VariableChanges] = None, **keys: Any) -> AsyncContext:
        info = await self._call(calls.create_context(name, env, keys))
        return AsyncContext(self, info["name"], info["warnings"])

    async def contexts(self) -> list[dict[str, Any]]:
        return await self._call(calls.get("/v1/contexts", calls.member("contexts")))

    async def exec_in_context(self, name: str, command: CommandLike, **options: Any) -> ExecResult:
        return await self.context(name).exec(command, **options)

    async def set_env_vars(self, variables: VariableChanges) -> dict[str, Any]:
        return await self._call(calls.set_env("default", variables))

    async def has_secure_execution(self) -> bool:
        return (await self.secure_execution()).available

    async def secure_execution(self) -> SecureExecution:
        return await self._call(calls.secure_execution())

    async def processes(self) -> list[dict[str, Any]]:
        return await self._call(calls.get("/v1/processes", calls.member("processes")))

    async def process(self, id: str) -> dict[str, Any]:
        return await self._call(calls.get(calls.process_path(id)))

    async def logs(self, id: str) -> Logs:
        return await self._call(calls.logs(id))

    async def kill(self, id: str) -> bool:
        return await self._call(calls.kill(id))

    async def signal(self, id: str, signal: Union[str, int]) -> dict[str, Any]:
        return await self._call(calls.signal(id, signal))

    async def status(self) -> dict[str, Any]:
        return await self._call(calls.get("/v1/status"))

    async def services(self) -> list[dict[str, Any]]:
        return await self._call(calls.get("/v1/services", calls.member("services")))

    async def health(self, *, ready: bool = False, service: Optional[str] = None) -> dict[str, Any]:
        return await self._call(calls.health(ready, service))

    async def mode(self) -> str:
        return await self._call(calls.get("/v1/mode", calls.member("mode")))

    async def set_mode(self, mode: str) -> str:
        return await self._call(calls.set_mode(mode))

    async def metrics(self) -> str:
        return await self._call(calls.get("/metrics", str))

    async def events(self, *, since: Optional[int] = None, follow: bool = False) -> AsyncIterator[dict[str, Any]]:
        stream = await self._open(calls.events(since, follow))
        with contextlib.closing(stream):
            async for record in stream.records():
                yield record
        if follow or not stream.response.complete:
            raise StreamError("the stream of events was cut off")
