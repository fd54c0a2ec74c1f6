# SPDX-License-Identifier: Apache-2.0
"""moat-client: an agent of moat over its unix socket, with threads (Moat) or with asyncio (AsyncMoat)."""

from .aio import AsyncContext, AsyncMoat
from .aio_process import AsyncProcess
from .client import Cancellation, Context, Moat
from .command import quote
from .errors import ApiError, Cancelled, MoatError, StreamError, TransportError, WaitError
from .files import AsyncFiles, Files
from .process import Process
from .types import (CommandOptions, ExecEvent, ExecResult, ExitEvent, Found, GapEvent, Listener, Listing, Logs, OutputEvent, Raw,
                    SecureExecution, StartEvent)

__all__ = [
    "ApiError", "AsyncContext", "AsyncFiles", "AsyncMoat", "AsyncProcess", "Cancellation", "Cancelled", "CommandOptions", "Context",
    "ExecEvent", "ExecResult", "ExitEvent", "Files", "Found", "GapEvent", "Listener", "Listing", "Logs", "Moat", "MoatError",
    "OutputEvent", "Process", "Raw", "SecureExecution", "StartEvent", "StreamError", "TransportError", "WaitError", "quote",
]
