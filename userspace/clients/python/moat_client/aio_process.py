# SPDX-License-Identifier: Apache-2.0
"""A command that goes on, for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from typing import TYPE_CHECKING, Any, AsyncIterator, Optional, Union

from . import calls
from .command import Collector
from .errors import StreamError, TransportError, WaitError
from .process import PORT_DELAY, PORT_SLICE, TAIL, find, listening, not_listening
from .stdin import Stdin, pieces
from .types import AsyncOnOutput, ExecEvent, ExecResult, Found, Listener, OutputEvent, StartEvent

if TYPE_CHECKING:
    from .aio import _AsyncRunner


async def told(on_output: Optional[AsyncOnOutput], event: ExecEvent) -> None:
    if on_output and isinstance(event, OutputEvent):
        done = on_output(event.type, event.text, event.data)
        if inspect.isawaitable(done):
            await done


class AsyncProcess:
    """A command that goes on, made by start_process or attach."""

    def __init__(self, runner: _AsyncRunner, start: StartEvent, events: AsyncIterator[ExecEvent],
                 on_output: Optional[AsyncOnOutput], max_output: int, attached: bool) -> None:
        """attached: as in Process."""
        self._runner, self._on_output, self._collector = runner, on_output, Collector(max_output)
        self._changed = asyncio.Condition()
        self._writing = asyncio.Lock()
        self._stdin, self._attached = Stdin(start.id, None if attached else 0), attached
        self._ended = False
        self._tails = {"stdout": "", "stderr": ""}
        self._collector.add(start)
        self.id, self.context, self.created, self.pid = start.id, start.context, start.created, start.pid
        self.started_at, self.warnings = start.started_at, start.warnings
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
            if not self._attached:
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

    async def wait(self, timeout: Optional[float] = None, *, tree: bool = False) -> ExecResult:
        """Its result, when it has ended; tree: when nothing is left that it has started, either. A WaitError after so many seconds. Who
        stops waiting leaves it running."""
        late = WaitError("TIMEOUT", f"the process did not end within {timeout} s")
        if tree and not await self._runner._call(calls.wait(self.id, True, timeout)):
            raise late
        done, _ = await asyncio.wait({self._task}, timeout=None if tree else timeout)
        if not done:
            raise late
        return self._task.result()

    async def _raise_ended(self, what: str) -> None:
        result = await self.wait()
        raise WaitError("PROCESS_ENDED", f"the process ended {what}: status {result.exit_code}", result)

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
                    await self._raise_ended("without it")
                await self._changed.wait()
        return found

    async def wait_for_port(self, port: int, timeout: float = 30) -> list[Listener]:
        """Returns when it listens on a port, or what it has started does. Raises a WaitError as wait_for_output does."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            found = listening(await self._runner._call(calls.listeners(port, min(left, PORT_SLICE))), self.id)
            if found:
                return found
            done, _ = await asyncio.wait({self._task}, timeout=max(0, min(PORT_DELAY, end - time.monotonic())))
            if done:
                await self._raise_ended(f"and did not listen on port {port}")
        raise not_listening(port, timeout)

    async def write(self, data: Union[str, bytes]) -> None:
        """To its standard input, which was opened by stdin_open or tty; returns when its pipe has taken all of it."""
        async with self._writing:
            for piece in pieces(data):
                await self._write(piece, False)

    async def close_stdin(self) -> None:
        """The end of its standard input."""
        async with self._writing:
            await self._write(b"", True)

    async def _write(self, piece: bytes, close: bool) -> None:
        for call in self._stdin.attempts(piece, close):
            try:
                self._stdin.took(piece, (await self._runner._call(call))["offset"])
            except BaseException as error:
                self._stdin.failed(error)

    async def resize(self, rows: int, cols: int) -> dict[str, Any]:
        """The size of its terminal from now on."""
        return await self._runner._call(calls.resize(self.id, rows, cols))

    async def signal(self, signal: Union[str, int], *, to: Optional[str] = None) -> dict[str, Any]:
        """To its process group: "TERM", "SIGTERM" or 15; to: "main", to itself, or "tree", to all that it has started."""
        return await self._runner._call(calls.signal(self.id, signal, to))

    async def kill(self) -> bool:
        """Ends it and all that it has started; False when nothing was left."""
        return await self._runner._call(calls.kill(self.id))

    async def status(self) -> dict[str, Any]:
        return await self._runner._call(calls.get(calls.process_path(self.id)))
