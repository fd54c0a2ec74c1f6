# SPDX-License-Identifier: Apache-2.0
"""A command: the request for it, what its records mean, its result."""

from __future__ import annotations

import base64
import codecs
import os
from typing import Any, Iterator, Mapping, NamedTuple, Optional, Union

from .errors import ApiError
from .types import (CommandLike, ExecEvent, ExecResult, ExitEvent, OnUnsupported, OutputEvent, OutputStream, Raw, StartEvent,
                    Variables)
from .wire import Request

#: Of each stream of output, how many bytes a result keeps unless it is told otherwise.
MAX_OUTPUT = 16 << 20
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


class Options(NamedTuple):
    """How a command is run: see Moat.exec."""

    env: Optional[Variables] = None
    cwd: Optional[str] = None
    timeout: Optional[float] = None
    stdin: Optional[Union[str, bytes]] = None
    session_id: Optional[str] = None
    isolated: Optional[bool] = None
    on_unsupported: OnUnsupported = "error"

    def body(self) -> dict[str, Any]:
        if self.on_unsupported not in ("error", "bash"):
            raise ValueError('on_unsupported is "error" or "bash"')
        body: dict[str, Any] = {"cwd": self.cwd, "session": self.session_id, "isolated": self.isolated}
        if self.env is not None:
            body["env"] = environment(self.env)
        if self.timeout is not None:
            body["timeoutMs"] = max(1, round(self.timeout * 1000))
        if self.stdin is not None:
            stdin = text_or_bytes(self.stdin, "stdin")
            body.update({"stdin": stdin["base64"], "stdinEncoding": "base64"} if isinstance(stdin, dict) else {"stdin": stdin})
        return {name: value for name, value in body.items() if value is not None}


def exec_request(context: Optional[str], command: CommandLike, options: Options) -> Request:
    body = options.body()
    if isinstance(command, str):
        body["command"] = command
    elif isinstance(command, (list, tuple)):
        body["argv"] = [text_or_bytes(each, f"argument {i}") for i, each in enumerate(command)]
    else:
        raise TypeError("a command is a str, or a list of arguments")
    if context is not None:
        body["context"] = context
    return Request("POST", "/v1/exec", body, stream=True)


def retry_of(error: ApiError, options: Options) -> Optional[list[str]]:
    """What to send in the place of a string that goes beyond the language, where that was asked for."""
    if options.on_unsupported != "bash" or error.code != "UNSUPPORTED_SYNTAX":
        return None
    argv: Optional[list[str]] = error.details.get("retry", {}).get("argv")
    return argv


class Events:
    """What the records of a command mean to its caller."""

    def __init__(self, interpreter: Optional[str]) -> None:
        self.id: Optional[str] = None
        self.ended = False
        self._interpreter = interpreter
        make = codecs.getincrementaldecoder("utf-8")
        self._decoders = {stream: make("replace") for stream in STREAMS}

    def take(self, record: Mapping[str, Any]) -> Iterator[ExecEvent]:
        if record["type"] == "start":
            self.id = record["id"]
            yield StartEvent("start", record["id"], record["context"], record["created"], record["pid"], record["startedAt"],
                             record.get("warnings", []), self._interpreter)
        elif record["type"] in STREAMS:
            data = base64.b64decode(record["data"]) if record.get("encoding") == "base64" else record["data"].encode()
            yield OutputEvent(record["type"], self._decoders[record["type"]].decode(data), data)
        elif record["type"] == "exit":
            self.ended = True
            yield from self._rests()
            yield ExitEvent("exit", record["id"], record["exitCode"], record["signal"], record["timedOut"], record["oomKilled"],
                            record.get("filesInMemory"), record["stdoutBytes"], record["stderrBytes"], record["truncated"],
                            record["durationMs"], record["context"], record["created"])

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
        else:
            self.result = self._result(event)

    def raw(self) -> Raw:
        return Raw(bytes(self._kept["stdout"]), bytes(self._kept["stderr"]))

    def _result(self, end: ExitEvent) -> ExecResult:
        assert self.start
        raw = self.raw()
        return ExecResult(
            id=end.id, exit_code=end.exit_code, signal=end.signal, timed_out=end.timed_out, oom_killed=end.oom_killed,
            files_in_memory=end.files_in_memory, stdout=raw.stdout.decode(errors="replace"), stderr=raw.stderr.decode(errors="replace"),
            raw=raw, stdout_bytes=end.stdout_bytes, stderr_bytes=end.stderr_bytes, truncated=end.truncated or self._cut,
            duration_ms=end.duration_ms, context=end.context, created=end.created, warnings=self.start.warnings,
            interpreter=self.start.interpreter)
