# SPDX-License-Identifier: Apache-2.0
"""What the client takes and gives."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Literal, Mapping, NamedTuple, Optional, Sequence, TypedDict, Union

if TYPE_CHECKING:
    from typing_extensions import Unpack
elif sys.version_info >= (3, 11):
    from typing import Unpack
else:  # for those who read the hints of a running program
    Unpack = Optional

#: A command string (moat-run(7)), or the arguments of a program.
CommandLike = Union[str, Sequence[Union[str, bytes]]]
Variables = Mapping[str, Union[str, bytes]]
#: None takes a variable out.
VariableChanges = Mapping[str, Optional[Union[str, bytes]]]
OutputStream = Literal["stdout", "stderr"]
OnUnsupported = Literal["error", "bash"]
OnOutput = Callable[[OutputStream, str, bytes], None]
AsyncOnOutput = Callable[[OutputStream, str, bytes], Optional[Awaitable[None]]]


class CommandOptions(TypedDict, total=False):
    """
    How a command is run: of exec, exec_stream, exec_secure and start_process.

    env: variables for it alone; it then runs apart from all others, unless isolated is False. cwd: an absolute path. timeout: seconds,
    after which it and all that it has started is killed; output_limit: bytes of both streams together, one that writes more is killed
    as well, and what lies beyond is left out; kill_signal: with this the end begins, such as "SIGTERM", and what is left is
    killed kill_after seconds later (5). stdin_as="file": stdin is a file of its own, /proc/self/fd/0, for a key that a program takes by
    the name of a file. tty: on a terminal of its own, of rows and cols (24 and 80); all that is written comes as
    stdout. session_id: the context session-ID, which is made when it is not there. on_unsupported: what becomes of a
    string that goes beyond moat's language, or has a substitution as text: "error": it is refused, or stays as it is; "bash": the
    context's bash, or sh, runs it; without it, as the context has it. id: 1 to 64 of A-Z a-z 0-9 . _ - of the caller's choice; the command is sent again when
    its answer is lost, and runs once; the agent takes 65536 of them an hour. allow_gaps: go on where the agent did not keep output
    because it was not read in time, which else is a StreamError, OUTPUT_LOST.
    """

    env: Optional[Variables]
    cwd: Optional[str]
    timeout: Optional[float]
    output_limit: Optional[int]
    kill_signal: Optional[str]
    kill_after: Optional[float]
    stdin: Optional[Union[str, bytes]]
    stdin_as: Optional[Literal["stream", "file"]]
    tty: Optional[bool]
    rows: Optional[int]
    cols: Optional[int]
    session_id: Optional[str]
    isolated: Optional[bool]
    on_unsupported: Optional[OnUnsupported]
    allow_gaps: bool
    id: Optional[str]


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


class Listener(NamedTuple):
    """What listens on a port; context and id of the command that made the socket, or service, or none of them."""

    port: int
    protocol: Literal["tcp", "udp"]
    address: str
    context: Optional[str]
    id: Optional[str]
    service: Optional[str]


class Listing(NamedTuple):
    """What is in a directory; truncated: not all of it."""

    entries: list[dict[str, Any]]
    truncated: bool


class Logs(NamedTuple):
    """What a command has written so far; of more than a MiB of a stream, what came first and what came last."""

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
    instance: str
    warnings: list[dict[str, Any]]


@dataclass(frozen=True)
class OutputEvent:
    """It has written this; data is what text was decoded from."""

    type: OutputStream
    text: str
    data: bytes


@dataclass(frozen=True)
class GapEvent:
    """The agent did not keep so many bytes, because nobody took them; None where it is not known of which stream."""

    type: Literal["gap"]
    lost: int
    stdout: Optional[int]
    stderr: Optional[int]


@dataclass(frozen=True)
class ExitEvent:
    """It has ended: the last event."""

    type: Literal["exit"]
    id: str
    exit_code: int
    signal: Optional[str]
    timed_out: bool
    output_limited: bool
    oom_killed: Optional[bool]
    files_in_memory: Optional[int]
    stdout_bytes: int
    stderr_bytes: int
    truncated: bool
    duration_ms: int
    context: str
    created: bool
    warnings: list[dict[str, Any]]
    interpreter: Optional[str]


ExecEvent = Union[StartEvent, OutputEvent, GapEvent, ExitEvent]


@dataclass(frozen=True)
class ExecResult:
    """How a command ended, and what it has written. exit_code is 128 and the signal's number, where one ended it."""

    id: str
    exit_code: int
    signal: Optional[str]
    timed_out: bool
    output_limited: bool
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
    instance: str
    warnings: list[dict[str, Any]]
    interpreter: Optional[str]

    @property
    def ok(self) -> bool:
        """Whether exit_code is 0."""
        return self.exit_code == 0
