# SPDX-License-Identifier: Apache-2.0
"""What the client takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Awaitable, Callable, Literal, Mapping, NamedTuple, Optional, Sequence, Union

#: A command string (moat-run(7)), or the arguments of a program.
CommandLike = Union[str, Sequence[Union[str, bytes]]]
Variables = Mapping[str, Union[str, bytes]]
#: None takes a variable out.
VariableChanges = Mapping[str, Optional[Union[str, bytes]]]
OutputStream = Literal["stdout", "stderr"]
OnUnsupported = Literal["error", "bash"]
OnOutput = Callable[[OutputStream, str, bytes], None]
AsyncOnOutput = Callable[[OutputStream, str, bytes], Optional[Awaitable[None]]]


class Raw(NamedTuple):
    """Output as it was written."""

    stdout: bytes
    stderr: bytes


class SecureExecution(NamedTuple):
    """Whether the kernel shields the variables of a command from all others, and why not."""

    available: bool
    reason: Optional[str]


class Found(NamedTuple):
    """What wait_for_output has found, and where."""

    stream: OutputStream
    text: str


class Logs(NamedTuple):
    """What a command has written so far: of each stream its first MiB."""

    stdout: str
    stderr: str
    raw: Raw
    stdout_bytes: int
    stderr_bytes: int
    truncated: bool


@dataclass(frozen=True)
class StartEvent:
    """The command runs."""

    type: Literal["start"]
    id: str
    context: str
    created: bool
    pid: int
    started_at: str
    warnings: list[dict[str, Any]]
    interpreter: Optional[str]


@dataclass(frozen=True)
class OutputEvent:
    """It has written this; data is what text was decoded from."""

    type: OutputStream
    text: str
    data: bytes


@dataclass(frozen=True)
class ExitEvent:
    """It has ended: the last event."""

    type: Literal["exit"]
    id: str
    exit_code: int
    signal: Optional[str]
    timed_out: bool
    oom_killed: Optional[bool]
    files_in_memory: Optional[int]
    stdout_bytes: int
    stderr_bytes: int
    truncated: bool
    duration_ms: int
    context: str
    created: bool


ExecEvent = Union[StartEvent, OutputEvent, ExitEvent]


@dataclass(frozen=True)
class ExecResult:
    """How a command ended, and what it has written. exit_code is 128 and the signal's number, where one ended it."""

    id: str
    exit_code: int
    signal: Optional[str]
    timed_out: bool
    oom_killed: Optional[bool]
    files_in_memory: Optional[int]
    stdout: str
    stderr: str
    raw: Raw
    stdout_bytes: int
    stderr_bytes: int
    truncated: bool
    duration_ms: int
    context: str
    created: bool
    warnings: list[dict[str, Any]]
    interpreter: Optional[str]

    @property
    def ok(self) -> bool:
        """Whether exit_code is 0."""
        return self.exit_code == 0
