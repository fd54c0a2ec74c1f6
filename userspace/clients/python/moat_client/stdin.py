# SPDX-License-Identifier: Apache-2.0
"""The standard input of a command, written piece by piece: what is sent, for both clients."""

from __future__ import annotations

from typing import Iterator, Optional, Union

from .calls import Call, process_path, whole
from .errors import ApiError, TransportError
from .wire import Request

#: The agent takes 2 MiB at once.
PIECE = 1 << 20
ATTEMPTS = 4


def pieces(data: Union[str, bytes]) -> Iterator[bytes]:
    if not isinstance(data, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"what is written is a str or bytes, not {type(data).__name__}")
    content = data.encode() if isinstance(data, str) else bytes(data)
    return (content[at:at + PIECE] for at in range(0, len(content), PIECE))


class Stdin:
    """
    Each byte arrives once, in order. Where an answer is lost the bytes are sent again for the place where they have to be; that is
    known for a single writer, from the beginning or its first answer on. Otherwise the lost connection is the error.
    """

    def __init__(self, id: str, offset: Optional[int]) -> None:
        """offset: how many bytes were written before; None where that is not known."""
        self._path, self._offset, self._alone = f"{process_path(id)}/stdin", offset, True
        self._failure: Optional[BaseException] = None  # behind it nothing is written any more
        self._left, self._closing = 0, False

    def attempts(self, piece: bytes, close: bool) -> Iterator[Call]:
        """The request, and again until took() or failed() has said that this is the end of it."""
        if self._failure:
            raise self._failure
        self._left, self._closing = ATTEMPTS, close
        while self._left > 0:
            again = self._left < ATTEMPTS
            query = "&".join([f"offset={self._offset}"] * again + ["close"] * close)
            yield Call(Request("POST", self._path + ("?" + query if query else ""), content=piece), whole, patient=True)

    def took(self, piece: bytes, offset: int) -> None:
        """What others write beside it makes its place unknown, for good."""
        self._alone = self._alone and self._offset in (None, offset - len(piece))
        self._offset, self._left = offset if self._alone else None, 0

    def failed(self, error: BaseException) -> None:
        """Raises it, unless the request is to be sent again."""
        again, self._left = self._left < ATTEMPTS, self._left - 1
        if isinstance(error, TransportError) and self._offset is not None and self._left > 0:
            return
        if again and self._closing and isinstance(error, ApiError) and error.code == "STDIN_CLOSED":  # by the one before
            self._left = 0
            return
        self._failure = error
        raise error
