# SPDX-License-Identifier: Apache-2.0
"""The client for programs without an event loop."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import threading
import time
from typing import Any, Callable, Iterator, Optional, Union

from . import calls, wire
from .command import Collector, Events, Options, exec_request, retry_of
from .errors import ApiError, Cancelled, StreamError, TransportError, WaitError
from .types import (CommandLike, ExecEvent, ExecResult, Found, Logs, OnOutput, OnUnsupported, OutputEvent, SecureExecution, StartEvent,
                    VariableChanges, Variables)

SOCKET = "/run/moat/moat.sock"
#: What wait_for_output can still find, and what the result of a process keeps: of each stream.
TAIL = 1 << 20


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

    def __init__(self, path: str, request: wire.Request, timeout: Optional[float]) -> None:
        data, self._path, sent = request.encode(), path, False
        self.response = wire.Response()
        self._first: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
            sent = True
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._socket.sendall(data)  # what is refused before it was read has an answer all the same
        except OSError as error:
            self.close()
            raise wire.lost(error, path, sent) from error

    def pieces(self) -> Iterator[bytes]:
        """The body. It ends with the connection, however that ended: response.complete says."""
        while not self.response.complete:
            try:
                data = self._socket.recv(65536)
            except ConnectionResetError:
                data = b""
            except OSError as error:
                raise wire.lost(error, self._path, True) from error
            if not data:
                self.response.eof()
                return
            yield self.response.feed(data)

    def begin(self) -> None:
        """Waits for the head. A refusal is raised."""
        for piece in self.pieces():
            self._first.append(piece)
            if self.response.status is not None:
                break
        if self.response.status is None or self.response.status >= 300:
            wire.answer(self.response, b"".join([*self._first, *self.pieces()]))

    def records(self) -> Iterator[dict[str, Any]]:
        """Of a stream that has begun."""
        lines = wire.Lines()
        for piece in itertools.chain(self._first, self.pieces()):
            yield from lines.feed(piece)

    def close(self) -> None:
        self._socket.close()


class _Runner:
    """What can be run, in a context or where the options say."""

    def __init__(self, path: str, timeout: float, context: Optional[str], on_unsupported: OnUnsupported) -> None:
        self._path, self._timeout, self._context, self._on_unsupported = path, timeout, context, on_unsupported

    # Asking

    def _call(self, call: calls.Call) -> Any:
        deadline = time.monotonic() + self._timeout
        stream = _Stream(self._path, call.request, self._timeout)
        with contextlib.closing(stream):
            pieces = []
            for piece in stream.pieces():
                pieces.append(piece)
                if time.monotonic() > deadline:
                    raise TransportError("NO_ANSWER", "the agent did not answer in time")
            return call.take(wire.answer(stream.response, b"".join(pieces)))

    def _open(self, request: wire.Request) -> _Stream:
        """A stream that has begun; a refusal is raised. To be closed."""
        stream = _Stream(self._path, request, None)
        try:
            stream.begin()
        except BaseException:
            stream.close()
            raise
        return stream

    # Running

    def _options(self, env: Optional[Variables], cwd: Optional[str], timeout: Optional[float], stdin: Optional[Union[str, bytes]],
                 session_id: Optional[str], isolated: Optional[bool], on_unsupported: Optional[OnUnsupported]) -> Options:
        return Options(env, cwd, timeout, stdin, session_id, isolated, on_unsupported or self._on_unsupported)

    def _start(self, command: CommandLike, options: Options) -> tuple[Optional[str], _Stream]:
        """The interpreter of a command, or None, and its stream."""
        try:
            return None, self._open(exec_request(self._context, command, options))
        except ApiError as error:
            argv = retry_of(error, options)
            if not argv:
                raise
            return argv[0], self._open(exec_request(self._context, argv, options))

    def _kill_quietly(self, id: Optional[str]) -> None:
        """When something else is told."""
        if id:
            with contextlib.suppress(Exception):
                self._call(calls.kill(id))

    def _stream(self, command: CommandLike, options: Options, cancel: Optional[Cancellation]) -> Iterator[ExecEvent]:
        if cancel and cancel.cancelled:
            raise Cancelled
        with contextlib.ExitStack() as stack:
            interpreter, stream = self._start(command, options)
            stack.callback(stream.close)
            events = Events(interpreter)
            for record in stream.records():
                for event in events.take(record):
                    if isinstance(event, StartEvent) and cancel:
                        stack.enter_context(cancel._calling(lambda: self._kill_quietly(events.id)))
                    if events.ended and cancel and cancel.cancelled:
                        raise Cancelled
                    yield event
                if events.ended:
                    return
            raise StreamError("the connection ended before the command's last record", events.id)

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

    def exec(self, command: CommandLike, *, env: Optional[Variables] = None, cwd: Optional[str] = None, timeout: Optional[float] = None,
             stdin: Optional[Union[str, bytes]] = None, session_id: Optional[str] = None, isolated: Optional[bool] = None,
             on_unsupported: Optional[OnUnsupported] = None, on_output: Optional[OnOutput] = None, max_output: Optional[int] = None,
             cancel: Optional[Cancellation] = None) -> ExecResult:
        """Runs a command to its end. Whatever its status, that is a result.

        env: variables for it alone; it then runs apart from all others, unless isolated is False. cwd: an absolute path.
        timeout: seconds, after which it and all that it has started is killed. session_id: the context session-ID, which is
        made when it is not there. on_unsupported="bash": bash runs a string that goes beyond moat's language, as interpreter
        says. on_output: called with each piece of output; the command waits for it in the end. max_output: bytes of each
        stream that the result keeps, by default 16 MiB. cancel: ends it.
        """
        options = self._options(env, cwd, timeout, stdin, session_id, isolated, on_unsupported)
        return self._run(command, options, cancel, on_output, Collector(max_output))

    def exec_stream(self, command: CommandLike, *, env: Optional[Variables] = None, cwd: Optional[str] = None,
                    timeout: Optional[float] = None, stdin: Optional[Union[str, bytes]] = None, session_id: Optional[str] = None,
                    isolated: Optional[bool] = None, on_unsupported: Optional[OnUnsupported] = None,
                    cancel: Optional[Cancellation] = None) -> Iterator[ExecEvent]:
        """Its records as they come: start, output, exit. Who reads slowly holds the command back; who stops leaves it running."""
        return self._stream(command, self._options(env, cwd, timeout, stdin, session_id, isolated, on_unsupported), cancel)

    def exec_secure(self, command: CommandLike, *, env: Optional[Variables] = None, cwd: Optional[str] = None,
                    timeout: Optional[float] = None, stdin: Optional[Union[str, bytes]] = None, session_id: Optional[str] = None,
                    on_unsupported: Optional[OnUnsupported] = None, on_output: Optional[OnOutput] = None,
                    max_output: Optional[int] = None, cancel: Optional[Cancellation] = None, allow_unshielded: bool = False) -> ExecResult:
        """Runs a command apart from all others, and only where the kernel shields its variables: else NOT_SHIELDED."""
        options = self._options(env, cwd, timeout, stdin, session_id, True, on_unsupported)
        if not allow_unshielded and self._call(calls.get("/v1/mode", calls.member("mode"))) != "enforce":
            raise calls.not_shielded(self._call(calls.secure_execution()).reason)
        return self._run(command, options, cancel, on_output, Collector(max_output))

    def start_process(self, command: CommandLike, *, env: Optional[Variables] = None, cwd: Optional[str] = None,
                      timeout: Optional[float] = None, stdin: Optional[Union[str, bytes]] = None, session_id: Optional[str] = None,
                      isolated: Optional[bool] = None, on_unsupported: Optional[OnUnsupported] = None,
                      on_output: Optional[OnOutput] = None, max_output: Optional[int] = None,
                      cancel: Optional[Cancellation] = None) -> Process:
        """Starts a command that goes on. A thread reads its output, and calls on_output."""
        options = self._options(env, cwd, timeout, stdin, session_id, isolated, on_unsupported)
        return Process(self, command, options, cancel, on_output, TAIL if max_output is None else max_output)


class Process:
    """A command that goes on, made by start_process."""

    id: str
    context: str

    def __init__(self, runner: _Runner, command: CommandLike, options: Options, cancel: Optional[Cancellation],
                 on_output: Optional[OnOutput], max_output: int) -> None:
        self._runner, self._on_output, self._collector = runner, on_output, Collector(max_output)
        self._changed = threading.Condition()
        self._tails = {"stdout": "", "stderr": ""}
        self._failure: Optional[BaseException] = None
        self._ended = False
        stream = runner._stream(command, options, cancel)
        start = next(stream)
        assert isinstance(start, StartEvent)
        self._collector.add(start)
        self.id, self.context, self.created, self.pid = start.id, start.context, start.created, start.pid
        self.started_at, self.warnings, self.interpreter = start.started_at, start.warnings, start.interpreter
        threading.Thread(target=self._follow, args=(stream,), name=f"moat {start.id}", daemon=True).start()

    def _follow(self, stream: Iterator[ExecEvent]) -> None:
        try:
            for event in stream:
                self._take(event)
        except StreamError as error:
            error.raw = self._collector.raw()
            self._failure = error
        except BaseException as error:  # the one who waits gets it
            if not isinstance(error, TransportError):
                self._runner._kill_quietly(self.id)
            self._failure = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, event: ExecEvent) -> None:
        with self._changed:
            self._collector.add(event)
            if not isinstance(event, OutputEvent):
                return
            self._tails[event.type] = (self._tails[event.type] + event.text)[-TAIL:]
            self._changed.notify_all()
        if self._on_output:
            self._on_output(event.type, event.text, event.data)

    def wait(self, timeout: Optional[float] = None) -> ExecResult:
        """Its result, when it has ended; a WaitError after so many seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, timeout):
                raise WaitError("TIMEOUT", f"the process did not end within {timeout} s")
        if self._failure:
            raise self._failure
        assert self._collector.result
        return self._collector.result

    def wait_for_output(self, pattern: Union[str, re.Pattern[str]], timeout: Optional[float] = 30) -> Found:
        """Returns when it has written this. Raises a WaitError after so many seconds, or when the process ends."""
        with self._changed:
            self._changed.wait_for(lambda: find(self._tails, pattern) or self._ended, timeout)
            found, ended = find(self._tails, pattern), self._ended
        if found:
            return found
        if not ended:
            raise WaitError("TIMEOUT", f"no such output within {timeout} s")
        result = self.wait()
        raise WaitError("PROCESS_ENDED", f"the process ended without it: status {result.exit_code}", result)

    def signal(self, signal: Union[str, int]) -> dict[str, Any]:
        """To its process group: "TERM", "SIGTERM" or 15."""
        return self._runner._call(calls.signal(self.id, signal))

    def kill(self) -> bool:
        """Ends it and all that it has started; False when nothing was left."""
        return self._runner._call(calls.kill(self.id))

    def status(self) -> dict[str, Any]:
        return self._runner._call(calls.get(calls.process_path(self.id)))


def find(tails: dict[str, str], pattern: Union[str, re.Pattern[str]]) -> Optional[Found]:
    """A text, or what a pattern matches, in what was written."""
    wanted = re.compile(re.escape(pattern)) if isinstance(pattern, str) else pattern
    for stream in ("stdout", "stderr"):
        match = wanted.search(tails[stream])
        if match:
            return Found("stdout" if stream == "stdout" else "stderr", match[0])
    return None


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

    def info(self) -> dict[str, Any]:
        return self._call(calls.get(calls.context_path(self.name)))

    def remove(self, *, keep: bool = False) -> dict[str, Any]:
        """Kills what runs in it, and removes it; keep: lets it run to its end."""
        return self._call(calls.remove_context(self.name, keep))


class Moat(_Runner):
    """An agent. What it runs itself runs in the context default, or in that of a session."""

    def __init__(self, socket_path: Optional[str] = None, *, request_timeout: float = 60,
                 on_unsupported: OnUnsupported = "error") -> None:
        super().__init__(socket_path or os.environ.get("MOAT_SOCKET") or SOCKET, request_timeout, None, on_unsupported)

    # Contexts

    def context(self, name: str) -> Context:
        """One that there is, or a session's: session-ID. Nothing is asked."""
        return Context(self, name)

    def create_context(self, name: str, *, env: Optional[VariableChanges] = None, **keys: Any) -> Context:
        """keys: those of moat.conf(5)."""
        info = self._call(calls.create_context(name, env, keys))
        return Context(self, info["name"], info["warnings"])

    def contexts(self) -> list[dict[str, Any]]:
        return self._call(calls.get("/v1/contexts", calls.member("contexts")))

    def exec_in_context(self, name: str, command: CommandLike, **options: Any) -> ExecResult:
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

    def logs(self, id: str) -> Logs:
        """What a command has written so far."""
        return self._call(calls.logs(id))

    def kill(self, id: str) -> bool:
        """Ends a command and all that it has started; False when nothing was left."""
        return self._call(calls.kill(id))

    def signal(self, id: str, signal: Union[str, int]) -> dict[str, Any]:
        """To its process group: "TERM", "SIGTERM" or 15."""
        return self._call(calls.signal(id, signal))

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
            raise StreamError("the stream of events was cut off")
