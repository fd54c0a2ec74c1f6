# SPDX-License-Identifier: Apache-2.0
"""The client for asyncio. Cancelling a task that waits for a command ends the command, and all that it has started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Optional, Union

from . import calls, wire
from .aio_process import AsyncProcess, told
from .client import SOCKET
from .command import DELAYS, SILENCE, Collector, Events, Options, exec_request, quote
from .errors import ApiError, StreamError, TransportError
from .files import AsyncFiles
from .process import PORT_SLICE, TAIL, listening, not_listening
from .types import (AsyncOnOutput, CommandLike, CommandOptions, ExecEvent, ExecResult, Listener, Logs, OnUnsupported, SecureExecution,
                    StartEvent, Unpack, VariableChanges)

Content = Union[Iterable[Any], AsyncIterable[Any]]


class _Stream:
    """A connection with the answer to one request."""

    def __init__(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.response = wire.Response()
        self._first: list[bytes] = []
        self._path, self._reader, self._writer = path, reader, writer

    @classmethod
    async def open(cls, path: str, request: wire.Request, content: Content = ()) -> _Stream:
        """content: the pieces of the body, where the request has some."""
        data = request.encode()
        try:
            stream = cls(path, *await asyncio.open_unix_connection(path))
        except OSError as error:
            raise wire.lost(error, path, False) from error
        try:
            await stream._send(data, content if request.pieces else None)
        except BaseException:  # of the content: what is cut off changes nothing
            stream.close()
            raise
        return stream

    async def _send(self, data: bytes, content: Optional[Content]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # what is refused before it was read has an answer all the same
            self._writer.write(data)
            await self._writer.drain()
            async for piece in each(content or ()):
                self._writer.write(wire.chunk(piece))
                await self._writer.drain()
            if content is not None:
                self._writer.write(wire.LAST_CHUNK)
                await self._writer.drain()

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

    async def begin(self, record: bool) -> None:
        """Waits for the head, and the first record. A refusal is raised."""
        async for piece in self.pieces():
            self._first.append(piece)
            if self.response.status is not None and (not record or b"\n" in piece):
                break
        if self.response.status is None or self.response.status >= 300:
            wire.answer(self.response, b"".join([*self._first, *[piece async for piece in self.pieces()]]))
        elif record and b"\n" not in self._first[-1]:
            raise wire.lost_before_start()

    async def live_records(self) -> AsyncIterator[dict[str, Any]]:
        """The same as records(), where silence is the end of it."""
        records = self.records()
        while True:
            try:
                yield await asyncio.wait_for(records.__anext__(), SILENCE)
            except (StopAsyncIteration, asyncio.TimeoutError, TransportError):
                return

    async def records(self) -> AsyncIterator[dict[str, Any]]:
        """Of a stream that has begun."""
        lines = wire.Lines()
        for piece in self._first:
            for record in lines.feed(piece):
                yield record
        async for piece in self.pieces():
            for record in lines.feed(piece):
                yield record

    async def content(self) -> AsyncIterator[bytes]:
        """Of a stream that has begun, and has to be whole."""
        for piece in filter(None, self._first):
            yield piece
        async for piece in self.pieces():
            if piece:
                yield piece
        if not self.response.complete:
            raise wire.cut_content()

    def close(self) -> None:
        self._writer.transport.abort()


async def each(content: Content) -> AsyncIterator[Any]:
    if isinstance(content, AsyncIterable):
        async for piece in content:
            yield piece
    else:
        for piece in content:
            yield piece


class _AsyncRunner:
    """What can be run, in a context or where the options say."""

    def __init__(self, path: str, timeout: float, context: Optional[str], on_unsupported: Optional[OnUnsupported]) -> None:
        self._path, self._timeout, self._context, self._on_unsupported = path, timeout, context, on_unsupported
        #: Those of the context.
        self.files = AsyncFiles(self, "default" if context is None else context)

    # Asking

    async def _call(self, call: calls.Call, content: Content = ()) -> Any:
        """content: the pieces of a body that has some."""
        try:
            return call.take(await asyncio.wait_for(self._text(call.request, content), None if call.patient else self._timeout))
        except asyncio.TimeoutError:
            raise TransportError("NO_ANSWER", "the agent did not answer in time") from None

    async def _text(self, request: wire.Request, content: Content) -> str:
        stream = await _Stream.open(self._path, request, content)
        with contextlib.closing(stream):
            return wire.answer(stream.response, b"".join([piece async for piece in stream.pieces()]))

    async def _open(self, request: wire.Request, record: bool = False) -> _Stream:
        """A stream that has begun; a refusal is raised. To be closed."""
        stream = await _Stream.open(self._path, request)
        try:
            await stream.begin(record)
        except BaseException:
            stream.close()
            raise
        return stream

    async def _content(self, request: wire.Request) -> AsyncIterator[bytes]:
        with contextlib.closing(await self._open(request)) as stream:
            async for piece in stream.content():
                yield piece

    # Running

    async def _post(self, command: CommandLike, options: Options) -> _Stream:
        """Sends it, and again where it has an id and the answer is lost. The stream with its first record."""
        instance = await self._call(calls.get("/v1/health", calls.member("instance"))) if options.id is not None else None
        request = exec_request(self._context, command, options, instance)
        first: Optional[TransportError] = None
        for delay in (*DELAYS, None) if instance else (None,):
            try:
                return await self._open(request, record=True)
            except TransportError as error:
                first = first or error
                if delay is None or first.code == "CANNOT_CONNECT":
                    raise first from None
                await asyncio.sleep(delay)
        raise AssertionError

    async def _first(self, command: CommandLike,
                     options: Options) -> tuple[Events, _Stream, AsyncIterator[dict[str, Any]], list[ExecEvent]]:
        """A command that runs, as its first record says."""
        stream = await self._post(command, options)
        events, records = Events(options.allow_gaps), stream.live_records()
        async for record in records:
            return events, stream, records, list(events.take(record))
        stream.close()
        raise events.cut()

    async def _reopen(self, events: Events) -> Optional[_Stream]:
        """The stream of a command that runs, from the byte on that was not seen; None: there is none to be had."""
        while (delay := events.retry()) is not None:
            await asyncio.sleep(delay)
            try:
                return await self._open(calls.output(events.id or "", events.at))
            except TransportError:
                continue
            except ApiError as error:
                raise events.cut() from error
        return None

    async def _follow(self, stream: _Stream, records: AsyncIterator[dict[str, Any]], events: Events) -> AsyncIterator[ExecEvent]:
        """What comes behind the first record. When the connection is lost it goes on over another one where it stopped."""
        following: Optional[_Stream] = stream
        while following:
            with contextlib.closing(following):
                async for record in records:
                    for event in events.take(record):
                        yield event
                    if events.ended:
                        return
            following = await self._reopen(events)
            if following:
                records = following.live_records()
        raise events.cut()

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
        try:
            for event in first:
                yield event
            async with contextlib.aclosing(self._follow(stream, records, events)) as rest:
                async for event in rest:
                    yield event
        except asyncio.CancelledError:
            await self._kill_quietly(events.id)
            raise
        finally:
            stream.close()

    async def _attached(self, id: str, since: int, allow_gaps: bool) -> AsyncIterator[ExecEvent]:
        """The same of a command that was started by somebody, from a byte of its output on."""
        stream = await self._open(calls.output(id, since), record=True)
        async with contextlib.aclosing(self._follow(stream, stream.live_records(), Events(allow_gaps, since))) as events:
            async for event in events:
                yield event

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

    async def exec(self, command: CommandLike, *, on_output: Optional[AsyncOnOutput] = None, max_output: Optional[int] = None,
                   **options: Unpack[CommandOptions]) -> ExecResult:
        """Runs a command to its end: as Moat.exec. What on_output returns may be awaitable."""
        return await self._run(command, Options.of(options, self._on_unsupported), on_output, Collector(max_output))

    def exec_stream(self, command: CommandLike, **options: Unpack[CommandOptions]) -> AsyncIterator[ExecEvent]:
        """Its records as they come: start, output, exit. Who reads slowly holds the command back for some 30
        seconds; who stops leaves it running. A connection that is lost is taken up where it stopped."""
        return self._stream(command, Options.of(options, self._on_unsupported))

    async def exec_secure(self, command: CommandLike, *, on_output: Optional[AsyncOnOutput] = None, max_output: Optional[int] = None,
                          allow_unshielded: bool = False, **options: Unpack[CommandOptions]) -> ExecResult:
        """Runs a command apart from all others, and only where the kernel shields its variables: else NOT_SHIELDED."""
        secure = Options.of(calls.secure(options), self._on_unsupported)
        # The mode is what can change while the agent runs.
        if not allow_unshielded and await self._call(calls.get("/v1/mode", calls.member("mode"))) != "enforce":
            shield = await self._call(calls.secure_execution())
            if not shield.available:
                raise calls.not_shielded(shield.reason)
        return await self._run(command, secure, on_output, Collector(max_output))

    async def start_process(self, command: CommandLike, *, on_output: Optional[AsyncOnOutput] = None, max_output: Optional[int] = None,
                            stdin_open: bool = False, **options: Unpack[CommandOptions]) -> AsyncProcess:
        """Starts a command that goes on. A task reads its output, and calls on_output. stdin_open: its standard input is written
        with write(); so is that of a terminal without it."""
        events = self._stream(command, Options.of(options, self._on_unsupported, stdin_open=stdin_open or None))
        start = await events.__anext__()
        assert isinstance(start, StartEvent)
        return AsyncProcess(self, start, events, on_output, TAIL if max_output is None else max_output, False)


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

    async def cd(self, directory: str) -> None:
        """As cd in a command string, for the commands that come. Raises where it cannot."""
        calls.check_cd(await self.exec(f"cd {quote(directory)}"), directory)

    async def reset_state(self) -> bool:
        """Forgets what its command strings went to, exported, assigned and unset. Whether there was anything."""
        return await self._call(calls.reset_state(self.name))

    async def info(self) -> dict[str, Any]:
        return await self._call(calls.get(calls.context_path(self.name)))

    async def remove(self, *, keep: bool = False) -> dict[str, Any]:
        """Kills what runs in it, and removes it; keep: lets it run to its end."""
        return await self._call(calls.remove_context(self.name, keep))


class _MadeContext(AsyncContext):
    """It is made by its first use."""

    async def _made(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await ask()
        except ApiError as error:
            if error.code != "NO_SUCH_CONTEXT":
                raise
        try:
            await super()._call(calls.make_context(self.name))
        except ApiError as error:
            if error.code != "CONTEXT_EXISTS":  # by somebody else, meanwhile
                raise
        return await ask()

    async def _call(self, call: calls.Call, content: Content = ()) -> Any:
        if call.request.pieces:  # which come once
            await self._call(calls.get(calls.context_path(self.name)))
        return await self._made(lambda: super(_MadeContext, self)._call(call, content))

    async def _open(self, request: wire.Request, record: bool = False) -> _Stream:
        stream: _Stream = await self._made(lambda: super(_MadeContext, self)._open(request, record))
        return stream


class AsyncMoat(_AsyncRunner):
    """An agent. What it runs itself runs in the context default, or in that of a session. Each method is that of Moat."""

    def __init__(self, socket_path: Optional[str] = None, *, request_timeout: float = 60,
                 on_unsupported: Optional[OnUnsupported] = None) -> None:
        super().__init__(socket_path or os.environ.get("MOAT_SOCKET") or SOCKET, request_timeout, None, on_unsupported)

    def context(self, name: str) -> AsyncContext:
        return AsyncContext(self, name)

    @property
    def platform(self) -> AsyncContext:
        return _MadeContext(self, "platform")

    @property
    def user(self) -> AsyncContext:
        return _MadeContext(self, "user")

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

    async def attach(self, id: str, *, since: int = 0, allow_gaps: bool = False, on_output: Optional[AsyncOnOutput] = None,
                     max_output: Optional[int] = None) -> AsyncProcess:
        events = self._attached(id, since, allow_gaps)
        start = await events.__anext__()
        assert isinstance(start, StartEvent)
        return AsyncProcess(self, start, events, on_output, TAIL if max_output is None else max_output, True)

    async def signal(self, id: str, signal: Union[str, int], *, to: Optional[str] = None) -> dict[str, Any]:
        return await self._call(calls.signal(id, signal, to))

    async def ports(self) -> list[Listener]:
        return listening(await self._call(calls.get("/v1/ports", calls.member("ports"))))

    async def wait_for_port(self, port: int, timeout: float = 30) -> list[Listener]:
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            found = await self._call(calls.listeners(port, min(left, PORT_SLICE)))
            if found:
                return listening(found)
        raise not_listening(port, timeout)

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
            raise StreamError("STREAM_CUT", "the stream of events was cut off")
