# SPDX-License-Identifier: Apache-2.0
"""A command: the request for it, what its records mean, its result."""

from __future__ import annotations

import base64
import codecs
import os
from typing import Any, Iterator, Mapping, NamedTuple, Optional, Union

from .errors import StreamError
from .types import (CommandLike, CommandOptions, ExecEvent, ExecResult, ExitEvent, GapEvent, OnUnsupported, OutputEvent, OutputStream, Raw,
                    StartEvent, Variables)
from .wire import Request

#: Of each stream of output, how many bytes a result keeps unless it is told otherwise.
MAX_OUTPUT = 16 << 20
#: Before each attempt to go on with a stream whose connection was lost: seconds.
DELAYS = (0, 0.1, 0.5, 2)
#: The agent says every 15 seconds that it is there: who misses that three times has lost it.
SILENCE = 45
STREAMS: tuple[OutputStream, OutputStream] = ("stdout", "stderr")


def quote(text: str) -> str:
    """The word of the command language that stands for exactly this text."""
    if not isinstance(text, str):
        raise TypeError("quote() takes a string")
    if "\0" in text:
        raise TypeError("a word cannot have a NUL in it")
    return "'" + text.replace("'", "'\\''") + "'"  # always: 2 before > would be a descriptor, and "if" a keyword


def text_or_bytes(value: Any, what: str) -> Any:
    """As the API takes it. A str that the system has decoded (os.environ, os.listdir) goes back to its bytes."""
    if isinstance(value, str):
        try:
            value.encode()
            return value
        except UnicodeEncodeError:
            value = os.fsencode(value)
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{what} is neither str nor bytes, but {type(value).__name__}")
    return {"base64": base64.b64encode(value).decode()}


def environment(variables: Mapping[str, Any], may_be_none: bool = False) -> dict[str, Any]:
    return {name: None if value is None and may_be_none else text_or_bytes(value, f"the variable {name}")
            for name, value in variables.items()}


def milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


class Options(NamedTuple):
    """The same as CommandOptions, and stdin_open."""

    env: Optional[Variables] = None
    cwd: Optional[str] = None
    timeout: Optional[float] = None
    stdin: Optional[Union[str, bytes]] = None
    session_id: Optional[str] = None
    isolated: Optional[bool] = None
    on_unsupported: Optional[OnUnsupported] = None
    allow_gaps: bool = False
    id: Optional[str] = None
    output_limit: Optional[int] = None
    kill_signal: Optional[str] = None
    kill_after: Optional[float] = None
    tty: Optional[bool] = None
    rows: Optional[int] = None
    cols: Optional[int] = None
    stdin_as: Optional[str] = None
    stdin_open: Optional[bool] = None

    @classmethod
    def of(cls, given: CommandOptions, on_unsupported: Optional[OnUnsupported], **more: Any) -> Options:
        """An option that is misspelt may be the one that keeps a secret."""
        for name in given:
            if name not in CommandOptions.__annotations__:
                raise TypeError(f"there is no option {name}; there are {', '.join(CommandOptions.__annotations__)}")
        options = cls(**{**given, **more})
        return options._replace(on_unsupported=on_unsupported) if given.get("on_unsupported") is None else options

    def body(self) -> dict[str, Any]:
        if self.on_unsupported not in (None, "error", "bash"):
            raise ValueError('on_unsupported is "error" or "bash"')
        body: dict[str, Any] = {"cwd": self.cwd, "session": self.session_id, "isolated": self.isolated, "id": self.id,
                                "outputLimit": self.output_limit, "killSignal": self.kill_signal, "tty": self.tty, "rows": self.rows, "cols": self.cols,
                                "stdinAs": self.stdin_as, "stdinOpen": self.stdin_open}
        if self.env is not None:
            body["env"] = environment(self.env)
        if self.timeout is not None:
            body["timeoutMs"] = milliseconds(self.timeout)
        if self.kill_after is not None:
            body["killAfterMs"] = milliseconds(self.kill_after)
        if self.stdin is not None:
            stdin = text_or_bytes(self.stdin, "stdin")
            body.update({"stdin": stdin["base64"], "stdinEncoding": "base64"} if isinstance(stdin, dict) else {"stdin": stdin})
        return {name: value for name, value in body.items() if value is not None}


def exec_request(context: Optional[str], command: CommandLike, options: Options, instance: Optional[str]) -> Request:
    """instance: the life of the agent that it is meant for; with an id it then runs once, however often it is sent."""
    body = options.body()
    if instance is not None:
        body["instance"] = instance
    if isinstance(command, str):
        body["command"] = command
        if options.on_unsupported:
            body["shell"] = "fallback" if options.on_unsupported == "bash" else "never"
    elif isinstance(command, (list, tuple)):
        body["argv"] = [text_or_bytes(each, f"argument {i}") for i, each in enumerate(command)]
    else:
        raise TypeError("a command is a str, or a list of arguments")
    if context is not None:
        body["context"] = context
    return Request("POST", "/v1/exec", body, stream=True)


class Events:
    """
    What the records of a command mean to its caller. When their connection is lost they go on over another one: retry() says whether,
    and after how many seconds; at is the first byte that was not seen.
    """

    def __init__(self, allow_gaps: bool, at: int = 0) -> None:
        self.id: Optional[str] = None
        self.at = at
        self.ended = False
        self._allow_gaps = allow_gaps
        self._instance: Optional[str] = None
        self._failures = 0
        make = codecs.getincrementaldecoder("utf-8")
        self._decoders = {stream: make("replace") for stream in STREAMS}

    def take(self, record: Mapping[str, Any]) -> Iterator[ExecEvent]:
        if record["type"] == "start" and self.id:
            if record["instance"] != self._instance:
                raise self.cut()
        elif record["type"] == "start":
            self.id, self._instance = record["id"], record["instance"]
            yield StartEvent("start", record["id"], record["context"], record["created"], record["pid"], record["startedAt"],
                             record["instance"], record.get("warnings", []))
        elif record["type"] in STREAMS:
            data = base64.b64decode(record["data"]) if record.get("encoding") == "base64" else record["data"].encode()
            self._seen(record["at"] + len(data))
            yield OutputEvent(record["type"], self._decoders[record["type"]].decode(data), data)
        elif record["type"] == "gap":
            self._seen(record["at"])
            if not self._allow_gaps:
                raise StreamError("OUTPUT_LOST", f"{record['lost']} bytes of output are lost: they were not read in time", self.id)
            yield GapEvent("gap", record["lost"], record.get("stdout"), record.get("stderr"))
        elif record["type"] == "exit":
            self.ended = True
            yield from self._rests()
            yield ExitEvent("exit", record["id"], record["exitCode"], record["signal"], record["timedOut"],
                            record["outputLimited"], record["oomKilled"], record.get("filesInMemory"), record["stdoutBytes"], record["stderrBytes"], record["truncated"],
                            record["durationMs"], record["context"], record["created"], record.get("warnings", []), record.get("interpreter"))

    def _seen(self, at: int) -> None:
        self.at, self._failures = at, 0

    def retry(self) -> Optional[float]:
        """None: it is given up."""
        if not self.id or self._failures == len(DELAYS):
            return None
        self._failures += 1
        return DELAYS[self._failures - 1]

    def cut(self) -> StreamError:
        return StreamError("STREAM_CUT", "the connection ended before the command's last record", self.id)

    def _rests(self) -> Iterator[OutputEvent]:
        """The beginning of a character that never came whole."""
        for stream in STREAMS:
            text = self._decoders[stream].decode(b"", True)
            if text:
                yield OutputEvent(stream, text, b"")


class Collector:
    """What is kept of a command while it runs, and becomes its result."""

    def __init__(self, maximum: Optional[int] = None) -> None:
        if maximum is not None and maximum < 0:
            raise ValueError("max_output is a number of bytes")
        self._max = MAX_OUTPUT if maximum is None else maximum
        self._kept = {stream: bytearray() for stream in STREAMS}
        self._cut = False
        self.start: Optional[StartEvent] = None
        self.result: Optional[ExecResult] = None

    @property
    def id(self) -> Optional[str]:
        return self.start.id if self.start else None

    def add(self, event: ExecEvent) -> None:
        if isinstance(event, StartEvent):
            self.start = event
        elif isinstance(event, OutputEvent):
            kept = self._kept[event.type]
            room = self._max - len(kept)
            kept += event.data[:room]
            self._cut = self._cut or len(event.data) > room
        elif isinstance(event, GapEvent):
            self._cut = True
        else:
            self.result = self._result(event)

    def raw(self) -> Raw:
        return Raw(bytes(self._kept["stdout"]), bytes(self._kept["stderr"]))

    def _result(self, end: ExitEvent) -> ExecResult:
        assert self.start
        raw = self.raw()
        return ExecResult(
            id=end.id, exit_code=end.exit_code, signal=end.signal, timed_out=end.timed_out,
            output_limited=end.output_limited, oom_killed=end.oom_killed, files_in_memory=end.files_in_memory, stdout=raw.stdout.decode(errors="replace"), stderr=raw.stderr.decode(errors="replace"),
            raw=raw, stdout_bytes=end.stdout_bytes, stderr_bytes=end.stderr_bytes, truncated=end.truncated or self._cut,
            duration_ms=end.duration_ms, context=end.context, created=end.created, instance=self.start.instance,
            warnings=[*self.start.warnings, *end.warnings], interpreter=end.interpreter)
