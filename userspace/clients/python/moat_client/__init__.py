# SPDX-License-Identifier: Apache-2.0
"""moat-client: an agent of moat over its unix socket, with threads (Moat) or with asyncio (AsyncMoat)."""

from .aio import AsyncContext, AsyncMoat, AsyncProcess
from .client import Cancellation, Context, Moat, Process
from .command import quote
from .errors import ApiError, Cancelled, MoatError, StreamError, TransportError, WaitError
from .types import ExecEvent, ExecResult, ExitEvent, Found, Logs, OutputEvent, Raw, SecureExecution, StartEvent

__all__ = [
    "ApiError", "AsyncContext", "AsyncMoat", "AsyncProcess", "Cancellation", "Cancelled", "Context", "ExecEvent", "ExecResult",
    "ExitEvent", "Found", "Logs", "Moat", "MoatError", "OutputEvent", "Process", "Raw", "SecureExecution", "StartEvent",
    "StreamError", "TransportError", "WaitError", "quote",
]
