# SPDX-License-Identifier: Apache-2.0
"""What can go wrong. A command that ends with another status than 0 is no error but a result."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from .types import ExecResult, Raw


class MoatError(Exception):
    """Of all. code is stable; details has what is known beside it."""

    def __init__(self, code: str, message: str, details: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details: dict[str, Any] = dict(details or {})


class ApiError(MoatError):
    """The agent refused: code, message and details are its own (moat-api(7)), status is HTTP's."""

    def __init__(self, status: int, code: str, message: str, details: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(code, message, details)
        self.status = status


class TransportError(MoatError):
    """CANNOT_CONNECT: nothing was sent. CONNECTION_LOST, NO_ANSWER: it may have been done all the same."""


class StreamError(MoatError):
    """STREAM_CUT: how the command ended is not known, and it may still run. raw is what it had written before."""

    def __init__(self, message: str, id: Optional[str] = None, raw: Optional[Raw] = None) -> None:
        super().__init__("STREAM_CUT", message)
        self.id = id
        self.raw = raw


class WaitError(MoatError):
    """What was waited for did not come: TIMEOUT, or PROCESS_ENDED with the result."""

    def __init__(self, code: str, message: str, result: Optional[ExecResult] = None) -> None:
        super().__init__(code, message)
        self.result = result


class Cancelled(MoatError):
    """CANCELLED: a Cancellation ended the command, and all that it had started."""

    def __init__(self) -> None:
        super().__init__("CANCELLED", "the command was cancelled")
