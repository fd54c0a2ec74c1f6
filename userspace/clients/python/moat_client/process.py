# SPDX-License-Identifier: Apache-2.0
"""A command that goes on, for programs without an event loop."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Any, Iterator, Optional, Union

from . import calls
from .command import Collector
from .errors import StreamError, TransportError, WaitError
from .stdin import Stdin, pieces
from .types import ExecEvent, ExecResult, Found, Listener, OnOutput, OutputEvent, StartEvent

if TYPE_CHECKING:
    from .client import _Runner

#: What wait_for_output can still find, and what the result of a process keeps: of each stream.
TAIL = 1 << 20
#: At most so long the agent is asked to wait for a port, before it is looked whether the process is still there: seconds.
PORT_SLICE = 0.5
#: Before what is listening but somebody else's is looked at again: seconds.
PORT_DELAY = 0.1


class Process:
    """A command that goes on, made by start_process or attach."""

    id: str
    context: str

    def __init__(self, runner: _Runner, stream: Iterator[ExecEvent], on_output: Optional[OnOutput], max_output: int,
                 attached: bool) -> None:
        """attached: it is somebody else's, who may have written to it, and whom a failure here does not concern."""
        self._runner, self._on_output, self._collector = runner, on_output, Collector(max_output)
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._tails = {"stdout": "", "stderr": ""}
        self._failure: Optional[BaseException] = None
        self._ended = False
        start = next(stream)
        assert isinstance(start, StartEvent)
        self._collector.add(start)
        self.id, self.context, self.created, self.pid = start.id, start.context, start.created, start.pid
        self.started_at, self.warnings = start.started_at, start.warnings
        self._stdin, self._attached = Stdin(self.id, None if attached else 0), attached
        threading.Thread(target=self._follow, args=(stream,), name=f"moat {start.id}", daemon=True).start()

    def _follow(self, stream: Iterator[ExecEvent]) -> None:
        try:
            for event in stream:
                self._take(event)
        except StreamError as error:
            error.raw = self._collector.raw()
            self._failure = error
        except BaseException as error:  # the one who waits gets it
            if not isinstance(error, TransportError) and not self._attached:
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

    def wait(self, timeout: Optional[float] = None, *, tree: bool = False) -> ExecResult:
        """Its result, when it has ended; tree: when nothing is left that it has started, either. A WaitError after so many seconds."""
        late = WaitError("TIMEOUT", f"the process did not end within {timeout} s")
        if tree and not self._runner._call(calls.wait(self.id, True, timeout)):
            raise late
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, None if tree else timeout):
                raise late
        if self._failure:
            raise self._failure
        assert self._collector.result
        return self._collector.result

    def _raise_ended(self, what: str) -> None:
        result = self.wait()
        raise WaitError("PROCESS_ENDED", f"the process ended {what}: status {result.exit_code}", result)

    def wait_for_output(self, pattern: Union[str, re.Pattern[str]], timeout: Optional[float] = 30) -> Found:
        """Returns when it has written this. Raises a WaitError after so many seconds, or when the process ends."""
        with self._changed:
            self._changed.wait_for(lambda: find(self._tails, pattern) or self._ended, timeout)
            found, ended = find(self._tails, pattern), self._ended
        if not found and ended:
            self._raise_ended("without it")
        if not found:
            raise WaitError("TIMEOUT", f"no such output within {timeout} s")
        return found

    def wait_for_port(self, port: int, timeout: float = 30) -> list[Listener]:
        """Returns when it listens on a port, or what it has started does. Raises a WaitError as wait_for_output does."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            found = listening(self._runner._call(calls.listeners(port, min(left, PORT_SLICE))), self.id)
            if found:
                return found
            with self._changed:
                if self._changed.wait_for(lambda: self._ended, max(0, min(PORT_DELAY, end - time.monotonic()))):
                    break
        if self._ended:
            self._raise_ended(f"and did not listen on port {port}")
        raise not_listening(port, timeout)

    def write(self, data: Union[str, bytes]) -> None:
        """To its standard input, which was opened by stdin_open or tty; returns when its pipe has taken all of it."""
        with self._writing:
            for piece in pieces(data):
                self._write(piece, False)

    def close_stdin(self) -> None:
        """The end of its standard input."""
        with self._writing:
            self._write(b"", True)

    def _write(self, piece: bytes, close: bool) -> None:
        for call in self._stdin.attempts(piece, close):
            try:
                self._stdin.took(piece, self._runner._call(call)["offset"])
            except BaseException as error:
                self._stdin.failed(error)

    def resize(self, rows: int, cols: int) -> dict[str, Any]:
        """The size of its terminal from now on."""
        return self._runner._call(calls.resize(self.id, rows, cols))

    def signal(self, signal: Union[str, int], *, to: Optional[str] = None) -> dict[str, Any]:
        """To its process group: "TERM", "SIGTERM" or 15; to: "main", to itself, or "tree", to all that it has started."""
        return self._runner._call(calls.signal(self.id, signal, to))

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


def listening(found: list[dict[str, Any]], id: Optional[str] = None) -> list[Listener]:
    """Of the agent's answer; id: those of one command."""
    return [Listener(each["port"], each["protocol"], each["address"], each["context"], each["id"], each["service"])
            for each in found if id is None or each["id"] == id]


def not_listening(port: int, timeout: float) -> WaitError:
    return WaitError("TIMEOUT", f"nothing listened on port {port} within {timeout} s")
