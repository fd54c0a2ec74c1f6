# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 and lines of JSON without any input or output: what is sent, and what the bytes that come back mean."""

from __future__ import annotations

import json
from typing import Any, Iterator, NamedTuple, Optional, Union

from .errors import ApiError, MoatError, TransportError

HEAD_MAX = 65536
NDJSON = "application/x-ndjson"
OCTETS = "application/octet-stream"


class Request(NamedTuple):
    """body: an object; content: bytes in its place; pieces: they are sent behind it, by chunk(). stream: the answer is one of records;
    range: of a file, and the answer is its content."""

    method: str
    path: str
    body: Any = None
    stream: bool = False
    content: Optional[bytes] = None
    pieces: bool = False
    range: Optional[str] = None

    def encode(self) -> bytes:
        """One connection for each: none is sent over one that is closing."""
        accept = NDJSON if self.stream else OCTETS if self.range is not None else "application/json"
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: moat", "Connection: close", f"Accept: {accept}"]
        body = b""
        if self.range:
            lines.append(f"Range: {self.range}")
        if self.pieces:
            lines += [f"Content-Type: {OCTETS}", "Transfer-Encoding: chunked"]
        elif self.content is not None:
            body = self.content
            lines += [f"Content-Type: {OCTETS}", f"Content-Length: {len(body)}"]
        elif self.body is not None:
            body = json.dumps(self.body, ensure_ascii=False).encode()
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body


LAST_CHUNK = b"0\r\n\r\n"


def chunk(piece: Union[str, bytes]) -> bytes:
    """A piece as it is sent: nothing, where it is empty, since an empty one would be the last."""
    if not isinstance(piece, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"a piece is neither str nor bytes, but {type(piece).__name__}")
    data = piece.encode() if isinstance(piece, str) else bytes(piece)
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class Response:
    """An answer, piece by piece as it comes: feed(), and eof() at the end of the connection."""

    def __init__(self) -> None:
        self.status: Optional[int] = None
        self.complete = False
        self._buffer = b""
        self._chunked = False
        self._left: Optional[int] = None  # bytes of the body, or of the chunk; None: up to the end of the connection

    def feed(self, data: bytes) -> bytes:
        """What of the body is in it."""
        self._buffer += data
        if self.status is None and not self._take_head():
            return b""
        body = b"".join(self._chunks() if self._chunked else self._plain())
        return body

    def eof(self) -> None:
        """Nothing more comes."""
        if self.status is None:
            raise TransportError("CONNECTION_LOST", "the connection to the agent was lost")
        if self._left is None and not self._chunked:
            self.complete = True

    def _take_head(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            if len(head) > HEAD_MAX:
                raise no_answer("no head")
            return False
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        words = status.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
            raise no_answer(status[:80])
        self.status, self._buffer = int(words[1]), rest
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        if not self._chunked and "content-length" in headers:
            self._left = int(headers["content-length"])
        return True

    def _plain(self) -> Iterator[bytes]:
        data, self._buffer = self._buffer, b""
        if self._left is not None:
            data = data[:self._left]
            self._left -= len(data)
            self.complete = self._left == 0
        yield data

    def _chunks(self) -> Iterator[bytes]:
        """Each chunk is its size, a line end, so many bytes, a line end; the last one has none."""
        while not self.complete:
            if self._left is None:
                line, end, rest = self._buffer.partition(b"\r\n")
                if not end:
                    return
                try:
                    self._left, self._buffer = int(line.split(b";")[0], 16), rest
                except ValueError:
                    raise no_answer("a chunk without a size") from None
                if self._left == 0:
                    self.complete = True
                    return
            data, self._buffer = self._buffer[:self._left], self._buffer[self._left:]
            self._left -= len(data)
            yield data
            if self._left > 0 or len(self._buffer) < 2:
                return
            self._left, self._buffer = None, self._buffer[2:]


class Lines:
    """The records of a stream. What is behind the last line end was cut off, and is no record."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        *lines, rest = data.split(b"\n")
        for line in lines:
            text = b"".join([*self._parts, line])
            self._parts = []
            try:
                yield json.loads(text)
            except ValueError:
                raise no_answer("not a record") from None
        if rest:
            self._parts.append(rest)


def no_answer(what: str) -> TransportError:
    return TransportError("NO_ANSWER", f"not an answer of the agent's: {what}")


def cut_content() -> TransportError:
    return TransportError("CONNECTION_LOST", "the content was cut off")


def lost_before_start() -> TransportError:
    return TransportError("CONNECTION_LOST", "the connection was lost before the command was known to run")


def lost(error: OSError, path: str, sent: bool) -> MoatError:
    """Of what the system says about a connection."""
    if isinstance(error, TimeoutError):
        return TransportError("NO_ANSWER", "the agent did not answer in time")
    if sent:
        return TransportError("CONNECTION_LOST", f"the connection to the agent was lost: {error.strerror}", {"errno": error.errno})
    return TransportError("CANNOT_CONNECT", f"cannot connect to {path}: {error.strerror}", {"errno": error.errno})


def answer(response: Response, body: bytes) -> str:
    """The text of a whole answer, or the refusal that it is."""
    if response.status is None or not response.complete:
        raise TransportError("CONNECTION_LOST", "the answer of the agent was cut off")
    text = body.decode()
    if response.status < 300:
        return text
    try:
        said = json.loads(text)
        refusal = ApiError(response.status, said["code"], said["message"], said.get("details"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise no_answer(f"HTTP {response.status}") from None
    raise refusal
