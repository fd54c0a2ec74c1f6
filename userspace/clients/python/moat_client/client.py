# SPDX-License-Identifier: Apache-2.0
"""The client for programs without an event loop."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
from typing import Any, Callable, Iterable, Iterator, Optional, Union

from . import calls, wire
from .command import DELAYS, SILENCE, Collector, Events, Options, exec_request, quote
from .errors import ApiError, Cancelled, StreamError, TransportError
from .files import Files
from .process import PORT_SLICE, TAIL, Process, listening, not_listening
from .types import (CommandLike, CommandOptions, ExecEvent, ExecResult, Listener, Logs, OnOutput, OnUnsupported, OutputEvent,
                    SecureExecution, StartEvent, Unpack, VariableChanges)

SOCKET = "/run/moat/moat.sock"


class Cancellation:
    """Ends commands from another thread: given to them as `cancel`. They then raise Cancelled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._calls: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        with self._lock:
            self._cancelled, waiting, self._calls = True, self._calls, []
        for call in waiting:
            call()

    @contextlib.contextmanager
    def _calling(self, call: Callable[[], None]) -> Iterator[None]:
        with self._lock:
            now = self._cancelled
            if not now:
                self._calls.append(call)
        if now:
            call()
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._calls.remove(call)


class _Stream:
    """A connection with the answer to one request."""

    def __init__(self, path: str, request: wire.Request, timeout: Optional[float], content: Iterable[Any] = ()) -> None:
        """content: the pieces of the body, where the request has some."""
        data, self._path, sent = request.encode(), path, False
        self.response = wire.Response()
        self._first: list[bytes] = []
        self._may_end = False
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
            sent = True
            self._send(data, content if request.pieces else None)
        except OSError as error:
            self.close()
            raise wire.lost(error, path, sent) from error
        except BaseException:  # of the content: what is cut off changes nothing
            self.close()
            raise

    def _send(self, data: bytes, content: Optional[Iterable[Any]]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # what is refused before it was read has an answer all the same
            self._socket.sendall(data)
            for piece in content or ():
                self._socket.sendall(wire.chunk(piece))
            if content is not None:
                self._socket.sendall(wire.LAST_CHUNK)

    def pieces(self) -> Iterator[bytes]:
        """The body. It ends with the connection, however that ended: response.complete says."""
        while not self.response.complete:
            try:
                data = self._socket.recv(65536)
            except ConnectionResetError:
                data = b""
            except TimeoutError as error:
                if self.response.status is None or not self._may_end:
                    raise wire.lost(error, self._path, True) from error
                data = b""
            except OSError as error:
                raise wire.lost(error, self._path, True) from error
            if not data:
                self.response.eof()
                return
            yield self.response.feed(data)

    def begin(self, record: bool) -> None:
        """Waits for the head, and the first record. A refusal is raised."""
        for piece in self.pieces():
            self._first.append(piece)
            if self.response.status is not None and (not record or b"\n" in piece):
                break
        if self.response.status is None or self.response.status >= 300:
            wire.answer(self.response, b"".join([*self._first, *self.pieces()]))
        elif record and b"\n" not in self._first[-1]:
            raise wire.lost_before_start()

    def give_up_after(self, seconds: float) -> None:
        """Silence is the end of it."""
        self._may_end = True
        self._socket.settimeout(seconds)

    def records(self) -> Iterator[dict[str, Any]]:
        """Of a stream that has begun."""
        lines = wire.Lines()
        for piece in itertools.chain(self._first, self.pieces()):
            yield from lines.feed(piece)

    def content(self) -> Iterator[bytes]:
        """Of a stream that has begun, and has to be whole."""
        yield from filter(None, itertools.chain(self._first, self.pieces()))
        if not self.response.complete:
            raise wire.cut_content()

    def close(self) -> None:
        self._socket.close()


class _Runner:
    """What can be run, in a context or where the options say."""

    def __init__(self, path: str, timeout: float, context: Optional[str], on_unsupported: Optional[OnUnsupported]) -> None:
        self._path, self._timeout, self._context, self._on_unsupported = path, timeout, context, on_unsupported
        #: Those of the context.
        self.files = Files(self, "default" if context is None else context)

    # Asking

    def _call(self, call: calls.Call, content: Iterable[Any] = ()) -> Any:
        """content: the pieces of a body that has some."""
        deadline = time.monotonic() + self._timeout
        stream = _Stream(self._path, call.request, None if call.patient else self._timeout, content)
        with contextlib.closing(stream):
            pieces = []
            for piece in stream.pieces():
                pieces.append(piece)
                if time.monotonic() > deadline and not call.patient:
                    raise TransportError("NO_ANSWER", "the agent did not answer in time")
            return call.take(wire.answer(stream.response, b"".join(pieces)))

    def _open(self, request: wire.Request, record: bool = False) -> _Stream:
        """A stream that has begun; a refusal is raised. To be closed."""
        stream = _Stream(self._path, request, None)
        try:
            stream.begin(record)
        except BaseException:
            stream.close()
            raise
        return stream

    def _content(self, request: wire.Request) -> Iterator[bytes]:
        with contextlib.closing(self._open(request)) as stream:
            yield from stream.content()

    # Running

    def _post(self, command: CommandLike, options: Options) -> _Stream:
        """Sends it, and again where it has an id and the answer is lost. The stream with its first record."""
        instance = self._call(calls.get("/v1/health", calls.member("instance"))) if options.id is not None else None
        request = exec_request(self._context, command, options, instance)
        first: Optional[TransportError] = None
        for delay in (*DELAYS, None) if instance else (None,):
            try:
                return self._open(request, record=True)
            except TransportError as error:
                first = first or error
                if delay is None or first.code == "CANNOT_CONNECT":
                    raise first from None
                time.sleep(delay)
        raise AssertionError

    def _kill_quietly(self, id: Optional[str]) -> None:
        """When something else is told."""
        if id:
            with contextlib.suppress(Exception):
                self._call(calls.kill(id))

    def _all_records(self, stream: _Stream, events: Events) -> Iterator[dict[str, Any]]:
        """When the connection is lost they go on over another one where they stopped."""
        while True:
            with contextlib.closing(stream), contextlib.suppress(TransportError):
                stream.give_up_after(SILENCE)
                yield from stream.records()
            following = self._reopen(events)
            if not following:
                return
            stream = following

    def _reopen(self, events: Events) -> Optional[_Stream]:
        """None: there is none to be had."""
        while (delay := events.retry()) is not None:
            time.sleep(delay)
            try:
                return self._open(calls.output(events.id or "", events.at))
            except TransportError:
                continue
            except ApiError as error:
                raise events.cut() from error
        return None

    def _stream(self, command: CommandLike, options: Options, cancel: Optional[Cancellation]) -> Iterator[ExecEvent]:
        if cancel and cancel.cancelled:
            raise Cancelled
        yield from self._events(self._post(command, options), Events(options.allow_gaps), cancel)

    def _attached(self, id: str, since: int, allow_gaps: bool) -> Iterator[ExecEvent]:
        """The same of a command that was started by somebody, from a byte of its output on."""
        yield from self._events(self._open(calls.output(id, since), record=True), Events(allow_gaps, since), None)

    def _events(self, stream: _Stream, events: Events, cancel: Optional[Cancellation]) -> Iterator[ExecEvent]:
        with contextlib.ExitStack() as stack:
            stack.callback(stream.close)
            records = stack.enter_context(contextlib.closing(self._all_records(stream, events)))
            for record in records:
                for event in events.take(record):
                    if isinstance(event, StartEvent) and cancel:
                        stack.enter_context(cancel._calling(lambda: self._kill_quietly(events.id)))
                    if events.ended and cancel and cancel.cancelled:
                        raise Cancelled
                    yield event
                if events.ended:
                    return
            raise events.cut()

    def _run(self, command: CommandLike, options: Options, cancel: Optional[Cancellation], on_output: Optional[OnOutput],
             collector: Collector) -> ExecResult:
        """To its end. What breaks it off, also KeyboardInterrupt, ends the command, except that the connection is gone."""
        try:
            for event in self._stream(command, options, cancel):
                collector.add(event)
                if isinstance(event, OutputEvent) and on_output:
                    on_output(event.type, event.text, event.data)
        except StreamError as error:
            error.raw = collector.raw()
            raise
        except TransportError:
            raise
        except BaseException:
            self._kill_quietly(collector.id)
            raise
        assert collector.result
        return collector.result

    def exec(self, command: CommandLike, *, on_output: Optional[OnOutput] = None, max_output: Optional[int] = None,
             cancel: Optional[Cancellation] = None, **options: Unpack[CommandOptions]) -> ExecResult:
        """Runs a command to its end. Whatever its status, that is a result.

        options: see CommandOptions. on_output: called with each piece of output; the command waits for it in the end. max_output: bytes
        of each stream that the result keeps, by default 16 MiB. cancel: ends it.
        """
        return self._run(command, Options.of(options, self._on_unsupported), cancel, on_output, Collector(max_output))

    def exec_stream(self, command: CommandLike, *, cancel: Optional[Cancellation] = None,
                    **options: Unpack[CommandOptions]) -> Iterator[ExecEvent]:
        """Its records as they come: start, output, exit. Who reads slowly holds the command back for some 30
        seconds; who stops leaves it running. A connection that is lost is taken up where it stopped."""
        return self._stream(command, Options.of(options, self._on_unsupported), cancel)

    def exec_secure(self, command: CommandLike, *, on_output: Optional[OnOutput] = None, max_output: Optional[int] = None,
                    cancel: Optional[Cancellation] = None, allow_unshielded: bool = False,
                    **options: Unpack[CommandOptions]) -> ExecResult:
        """Runs a command apart from all others, and only where the kernel shields its variables: else NOT_SHIELDED."""
        secure = Options.of(calls.secure(options), self._on_unsupported)
        # The mode is what can change while the agent runs.
        if not allow_unshielded and self._call(calls.get("/v1/mode", calls.member("mode"))) != "enforce":
            shield = self._call(calls.secure_execution())
            if not shield.available:
                raise calls.not_shielded(shield.reason)
        return self._run(command, secure, cancel, on_output, Collector(max_output))

    def start_process(self, command: CommandLike, *, on_output: Optional[OnOutput] = None, max_output: Optional[int] = None,
                      cancel: Optional[Cancellation] = None, stdin_open: bool = False,
                      **options: Unpack[CommandOptions]) -> Process:
        """Starts a command that goes on. A thread reads its output, and calls on_output. stdin_open: its standard input is written
        with write(); so is that of a terminal without it."""
        stream = self._stream(command, Options.of(options, self._on_unsupported, stdin_open=stdin_open or None), cancel)
        return Process(self, stream, on_output, TAIL if max_output is None else max_output, False)


class Context(_Runner):
    """A context by its name; that it exists is not asked. warnings are those of create_context."""

    def __init__(self, parent: _Runner, name: str, warnings: Optional[list[dict[str, Any]]] = None) -> None:
        super().__init__(parent._path, parent._timeout, name, parent._on_unsupported)
        self.name = name
        self.warnings: list[dict[str, Any]] = warnings or []

    def set_env(self, variables: VariableChanges) -> dict[str, Any]:
        """Sets variables for what is started later; None takes one out."""
        return self._call(calls.set_env(self.name, variables))

    def set_directory(self, directory: Optional[str]) -> dict[str, Any]:
        """Where commands start that say nothing else; None: as if it had never been given."""
        return self._call(calls.set_directory(self.name, directory))

    def cd(self, directory: str) -> None:
        """As cd in a command string, for the commands that come. Raises where it cannot."""
        calls.check_cd(self.exec(f"cd {quote(directory)}"), directory)

    def reset_state(self) -> bool:
        """Forgets what its command strings went to, exported, assigned and unset. Whether there was anything."""
        return self._call(calls.reset_state(self.name))

    def info(self) -> dict[str, Any]:
        return self._call(calls.get(calls.context_path(self.name)))

    def remove(self, *, keep: bool = False) -> dict[str, Any]:
        """Kills what runs in it, and removes it; keep: lets it run to its end."""
        return self._call(calls.remove_context(self.name, keep))


class _MadeContext(Context):
    """It is made by its first use."""

    def _made(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except ApiError as error:
            if error.code != "NO_SUCH_CONTEXT":
                raise
        try:
            super()._call(calls.make_context(self.name))
        except ApiError as error:
            if error.code != "CONTEXT_EXISTS":  # by somebody else, meanwhile
                raise
        return ask()

    def _call(self, call: calls.Call, content: Iterable[Any] = ()) -> Any:
        if call.request.pieces:  # which come once
            self._call(calls.get(calls.context_path(self.name)))
        return self._made(lambda: super(_MadeContext, self)._call(call, content))

    def _open(self, request: wire.Request, record: bool = False) -> _Stream:
        stream: _Stream = self._made(lambda: super(_MadeContext, self)._open(request, record))
        return stream


class Moat(_Runner):
    """An agent. What it runs itself runs in the context default, or in that of a session."""

    def __init__(self, socket_path: Optional[str] = None, *, request_timeout: float = 60,
                 on_unsupported: Optional[OnUnsupported] = None) -> None:
        super().__init__(socket_path or os.environ.get("MOAT_SOCKET") or SOCKET, request_timeout, None, on_unsupported)

    # Contexts

    def context(self, name: str) -> Context:
        """One that there is, or a session's: session-ID. Nothing is asked."""
        return Context(self, name)

    @property
    def platform(self) -> Context:
        """The context platform, for what has the platform's credentials; made by its first use."""
        return _MadeContext(self, "platform")

    @property
    def user(self) -> Context:
        """The context user, for generated code; made by its first use."""
        return _MadeContext(self, "user")

    def create_context(self, name: str, *, env: Optional[VariableChanges] = None, **keys: Any) -> Context:
        """keys: those of moat.conf(5); isolation and persistent, which are True of every context, may be said."""
        info = self._call(calls.create_context(name, env, keys))
        return Context(self, info["name"], info["warnings"])

    def contexts(self) -> list[dict[str, Any]]:
        return self._call(calls.get("/v1/contexts", calls.member("contexts")))

    def exec_in_context(self, name: str, command: CommandLike, **options: Any) -> ExecResult:
        """options: those of exec."""
        return self.context(name).exec(command, **options)

    def set_env_vars(self, variables: VariableChanges) -> dict[str, Any]:
        """Sets variables of the context default, which later ones are made with."""
        return self._call(calls.set_env("default", variables))

    # Secrets

    def has_secure_execution(self) -> bool:
        """False unless the kernel shields the variables of a command; why not, says secure_execution()."""
        return self.secure_execution().available

    def secure_execution(self) -> SecureExecution:
        return self._call(calls.secure_execution())

    # Processes

    def processes(self) -> list[dict[str, Any]]:
        return self._call(calls.get("/v1/processes", calls.member("processes")))

    def process(self, id: str) -> dict[str, Any]:
        return self._call(calls.get(calls.process_path(id)))

    def attach(self, id: str, *, since: int = 0, allow_gaps: bool = False, on_output: Optional[OnOutput] = None,
               max_output: Optional[int] = None) -> Process:
        """A command that somebody has started, with its output from byte since on."""
        return Process(self, self._attached(id, since, allow_gaps), on_output, TAIL if max_output is None else max_output, True)

    def logs(self, id: str) -> Logs:
        """What a command has written so far."""
        return self._call(calls.logs(id))

    def kill(self, id: str) -> bool:
        """Ends a command and all that it has started; False when nothing was left."""
        return self._call(calls.kill(id))

    def signal(self, id: str, signal: Union[str, int], *, to: Optional[str] = None) -> dict[str, Any]:
        """To its process group: "TERM", "SIGTERM" or 15; to: "main", to itself, or "tree", to all that it has started."""
        return self._call(calls.signal(id, signal, to))

    # Ports

    def ports(self) -> list[Listener]:
        """What commands and services listen on."""
        return listening(self._call(calls.get("/v1/ports", calls.member("ports"))))

    def wait_for_port(self, port: int, timeout: float = 30) -> list[Listener]:
        """Returns when something listens on a port. A WaitError after so many seconds."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            found = self._call(calls.listeners(port, min(left, PORT_SLICE)))
            if found:
                return listening(found)
        raise not_listening(port, timeout)

    # The agent

    def status(self) -> dict[str, Any]:
        return self._call(calls.get("/v1/status"))

    def services(self) -> list[dict[str, Any]]:
        return self._call(calls.get("/v1/services", calls.member("services")))

    def health(self, *, ready: bool = False, service: Optional[str] = None) -> dict[str, Any]:
        """Raises while the agent does not serve; ready: or a service is not ready; service: this one."""
        return self._call(calls.health(ready, service))

    def mode(self) -> str:
        return self._call(calls.get("/v1/mode", calls.member("mode")))

    def set_mode(self, mode: str) -> str:
        """ "enforce" or "audit"; the mode before."""
        return self._call(calls.set_mode(mode))

    def metrics(self) -> str:
        """In the text format of Prometheus."""
        return self._call(calls.get("/metrics", str))

    def events(self, *, since: Optional[int] = None, follow: bool = False) -> Iterator[dict[str, Any]]:
        """What the agent has recorded behind number since; follow: and what it records from now on."""
        with contextlib.closing(self._open(calls.events(since, follow))) as stream:
            yield from stream.records()
        if follow or not stream.response.complete:
            raise StreamError("STREAM_CUT", "the stream of events was cut off")
