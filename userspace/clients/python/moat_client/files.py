# SPDX-License-Identifier: Apache-2.0
"""
The files of a context, with the rights of its commands, for both clients. A path that does not begin with / is beneath the context's
workspace, or else its directory. What is read there is a program's word: other commands of the context can have changed it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, AsyncIterable, AsyncIterator, Iterable, Iterator, Optional, Union
from urllib.parse import quote_from_bytes, urlencode

from .calls import Call, context_path, member, whole
from .errors import MoatError
from .types import Listing
from .wire import Request

if TYPE_CHECKING:
    from .aio import _AsyncRunner
    from .client import _Runner

Path = Union[str, bytes, "os.PathLike[str]"]
Piece = Union[str, bytes]
#: What read() takes into memory, unless it is told otherwise: the file is user code's.
MAX_BYTES = 64 << 20


class Requests:
    """What is asked of the agent."""

    def __init__(self, context: str) -> None:
        self._path = f"{context_path(context)}/files?path="

    def _address(self, path: Path, *flags: str, **parameters: Any) -> str:
        """Parameters that are None are left out."""
        given = urlencode({name: value for name, value in parameters.items() if value is not None})
        return "&".join([self._path + quote_from_bytes(os.fsencode(path), safe=""), *flags, *([given] if given else [])])

    def content(self, path: Path, offset: int, length: Optional[int]) -> Request:
        if offset < 0 or (length is not None and length < 1):
            raise ValueError("offset and length are numbers of bytes, and length is not 0")
        whole_file = offset == 0 and length is None
        last = "" if length is None else offset + length - 1
        return Request("GET", self._address(path), range="" if whole_file else f"bytes={offset}-{last}")

    def write(self, path: Path, data: Any, *flags: str, mode: Optional[str] = None, mkdirs: bool = True, atomic: bool = True,
              if_absent: bool = False, if_match: Optional[str] = None) -> Call:
        """data: the whole; what is neither str nor bytes is sent piece by piece."""
        address = self._address(path, *flags, mode=mode, mkdirs=None if mkdirs else "false", atomic=None if atomic else "false",
                                ifNoneMatch="*" if if_absent else None, ifMatch=if_match)
        if isinstance(data, str):
            data = data.encode()
        if isinstance(data, (bytes, bytearray, memoryview)):
            return Call(Request("PUT", address, content=bytes(data)), whole, patient=True)
        return Call(Request("PUT", address, pieces=True), whole, patient=True)

    def ask(self, path: Path, form: str, *flags: str, **parameters: Any) -> Call:
        return Call(Request("GET", self._address(path, form, *flags, **parameters)), whole)

    def do(self, path: Path, op: str, **body: Any) -> Call:
        given = {name: value for name, value in body.items() if value is not None}
        return Call(Request("POST", self._address(path), {"op": op, **given}), whole)

    def remove(self, path: Path, recursive: bool) -> Call:
        return Call(Request("DELETE", self._address(path, *(["recursive"] * recursive))), member("removed"))


def as_text(content: bytes, path: Path) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise MoatError("NOT_TEXT", f"{path!r} is not UTF-8: read its bytes") from error


def too_large(path: Path, limit: int) -> MoatError:
    return MoatError("FILE_TOO_LARGE", f"{path!r} has more than {limit} bytes", {"limit": limit})


def as_listing(answer: dict[str, Any]) -> Listing:
    return Listing(answer["entries"], answer["truncated"])


class Files:
    """Those of a context: context.files."""

    def __init__(self, runner: _Runner, context: str) -> None:
        self._runner, self._requests = runner, Requests(context)

    def read(self, path: Path, *, offset: int = 0, length: Optional[int] = None, max_bytes: int = MAX_BYTES) -> str:
        """As text; what is not UTF-8 is refused, NOT_TEXT. A larger file than max_bytes is refused as well, FILE_TOO_LARGE."""
        return as_text(self.read_bytes(path, offset=offset, length=length, max_bytes=max_bytes), path)

    def read_bytes(self, path: Path, *, offset: int = 0, length: Optional[int] = None, max_bytes: int = MAX_BYTES) -> bytes:
        content = bytearray()
        for piece in self.read_stream(path, offset=offset, length=length):
            content += piece
            if len(content) > max_bytes:
                raise too_large(path, max_bytes)
        return bytes(content)

    def read_stream(self, path: Path, *, offset: int = 0, length: Optional[int] = None) -> Iterator[bytes]:
        """Of any size, piece by piece. Raises where it does not come whole."""
        return self._runner._content(self._requests.content(path, offset, length))

    def write(self, path: Path, content: Union[Piece, Iterable[Piece]], *, mode: Optional[str] = None, mkdirs: bool = True,
              atomic: bool = True, if_absent: bool = False, if_match: Optional[str] = None) -> dict[str, Any]:
        """Replaces the content at once, or not at all; makes the file and, with mkdirs, the directories above it. Pieces are sent as they
        come. mode: of a new file, "0644". atomic=False: into the file that is there, which its other names and mounts then have as well.
        if_absent: only where there is none (FILE_EXISTS); if_match: only where the content has this SHA-256 (FILE_CHANGED)."""
        call = self._requests.write(path, content, mode=mode, mkdirs=mkdirs, atomic=atomic, if_absent=if_absent, if_match=if_match)
        return self._runner._call(call, content)

    def append(self, path: Path, content: Union[Piece, Iterable[Piece]], *, mode: Optional[str] = None,
               mkdirs: bool = True) -> dict[str, Any]:
        """Puts something behind the content."""
        return self._runner._call(self._requests.write(path, content, "append", mode=mode, mkdirs=mkdirs), content)

    def list(self, path: Path, *, recursive: bool = False, limit: Optional[int] = None) -> Listing:
        """In no order; limit: 1000 without it."""
        return as_listing(self._runner._call(self._requests.ask(path, "list", *(["recursive"] * recursive), limit=limit)))

    def stat(self, path: Path, *, hash: bool = False) -> dict[str, Any]:
        """Of a link itself; hash: with sha256 of a file."""
        return self._runner._call(self._requests.ask(path, "stat", *(["hash"] * hash)))

    def exists(self, path: Path) -> bool:
        return self._runner._call(self._requests.ask(path, "exists"))["exists"]

    def mkdir(self, path: Path, *, mode: Optional[str] = None, mkdirs: bool = True) -> dict[str, Any]:
        """And those above it; one that is there is fine then."""
        return self._runner._call(self._requests.do(path, "mkdir", mode=mode, mkdirs=mkdirs))

    def remove(self, path: Path, *, recursive: bool = False) -> bool:
        """A file, a link or an empty directory; recursive: one that is not empty as well."""
        return self._runner._call(self._requests.remove(path, recursive))

    def rename(self, path: Path, to: str, *, overwrite: bool = True, mkdirs: bool = True) -> dict[str, Any]:
        return self._runner._call(self._requests.do(path, "rename", to=to, overwrite=overwrite, mkdirs=mkdirs))

    def replace(self, path: Path, old: str, new: str, *, count: int = 1, if_match: Optional[str] = None) -> dict[str, Any]:
        """Replaces a text that is there exactly count times; otherwise nothing is changed: NOT_REPLACED."""
        return self._runner._call(self._requests.do(path, "replace", old=old, new=new, count=count, ifMatch=if_match))


class AsyncFiles:
    """The same with asyncio."""

    def __init__(self, runner: _AsyncRunner, context: str) -> None:
        self._runner, self._requests = runner, Requests(context)

    async def read(self, path: Path, *, offset: int = 0, length: Optional[int] = None, max_bytes: int = MAX_BYTES) -> str:
        return as_text(await self.read_bytes(path, offset=offset, length=length, max_bytes=max_bytes), path)

    async def read_bytes(self, path: Path, *, offset: int = 0, length: Optional[int] = None, max_bytes: int = MAX_BYTES) -> bytes:
        content = bytearray()
        async for piece in self.read_stream(path, offset=offset, length=length):
            content += piece
            if len(content) > max_bytes:
                raise too_large(path, max_bytes)
        return bytes(content)

    def read_stream(self, path: Path, *, offset: int = 0, length: Optional[int] = None) -> AsyncIterator[bytes]:
        return self._runner._content(self._requests.content(path, offset, length))

    async def write(self, path: Path, content: Union[Piece, Iterable[Piece], AsyncIterable[Piece]], *, mode: Optional[str] = None,
                    mkdirs: bool = True, atomic: bool = True, if_absent: bool = False,
                    if_match: Optional[str] = None) -> dict[str, Any]:
        """As Files.write; the pieces may come asynchronously."""
        call = self._requests.write(path, content, mode=mode, mkdirs=mkdirs, atomic=atomic, if_absent=if_absent, if_match=if_match)
        return await self._runner._call(call, content)

    async def append(self, path: Path, content: Union[Piece, Iterable[Piece], AsyncIterable[Piece]], *, mode: Optional[str] = None,
                     mkdirs: bool = True) -> dict[str, Any]:
        return await self._runner._call(self._requests.write(path, content, "append", mode=mode, mkdirs=mkdirs), content)

    async def list(self, path: Path, *, recursive: bool = False, limit: Optional[int] = None) -> Listing:
        return as_listing(await self._runner._call(self._requests.ask(path, "list", *(["recursive"] * recursive), limit=limit)))

    async def stat(self, path: Path, *, hash: bool = False) -> dict[str, Any]:
        return await self._runner._call(self._requests.ask(path, "stat", *(["hash"] * hash)))

    async def exists(self, path: Path) -> bool:
        return (await self._runner._call(self._requests.ask(path, "exists")))["exists"]

    async def mkdir(self, path: Path, *, mode: Optional[str] = None, mkdirs: bool = True) -> dict[str, Any]:
        return await self._runner._call(self._requests.do(path, "mkdir", mode=mode, mkdirs=mkdirs))

    async def remove(self, path: Path, *, recursive: bool = False) -> bool:
        return await self._runner._call(self._requests.remove(path, recursive))

    async def rename(self, path: Path, to: str, *, overwrite: bool = True, mkdirs: bool = True) -> dict[str, Any]:
        return await self._runner._call(self._requests.do(path, "rename", to=to, overwrite=overwrite, mkdirs=mkdirs))

    async def replace(self, path: Path, old: str, new: str, *, count: int = 1, if_match: Optional[str] = None) -> dict[str, Any]:
        return await self._runner._call(self._requests.do(path, "replace", old=old, new=new, count=count, ifMatch=if_match))
