"""The sound of an item over HTTP: in, to be heard; out, whole or the range that a player asks for (RFC 9110, section 14)."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from segue.core.errors import BadInput, NotFound, NotReady
from segue.core.records import Audio
from segue.events.checks import name_error
from segue.web.api import dense_item, service_of
from segue.web.problems import answer, problem

CHUNK = 256 * 1024
"""Bytes that are read and sent at a time."""
_RANGE = re.compile(r"\s*bytes=(?=.*\d)(\d{0,18})-(\d{0,18})\s*")


async def get_audio(request: Request) -> Response:
    """The bytes of an item's sound with its MIME type; one range of them (206) when asked, 416 beyond the end.

    Several ranges at once are answered with the whole, as the RFC allows. 404 where the item has no sound here.
    """
    service = service_of(request)
    item = dense_item(request)
    audio = await asyncio.to_thread(service.audio_of, item)
    if audio is None:
        raise NotFound(f"item {request.path_params['id']!r} has no sound here")
    file, size, tag = await asyncio.to_thread(_opened, audio)
    if file is None:
        raise NotFound(f"the file of item {request.path_params['id']!r} cannot be read now")
    return _answered(request, file, size, {"ETag": tag, "Accept-Ranges": "bytes", "Content-Type": audio.mime})


async def post_audio(request: Request) -> Response:
    """Hear the file in the body for this item: the answer comes when its vector is in place.

    422 with the reason where it is no music, 413 where it is larger than [sound] upload_mib allows.
    """
    uploading, item = service_of(request).uploading, request.path_params["id"]
    if uploading is None:
        raise NotReady("this server hears no files")
    if wrong := name_error("id", item):
        raise BadInput(wrong, "id")
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise BadInput("expected the file itself as the body, found a form: such as curl --data-binary @song.mp3", "body")
    most = uploading.most_bytes
    if int(request.headers.get("content-length") or 0) > most:
        raise _too_large(most)
    path = await _received(request, uploading.folder, most)
    try:
        done = uploading.listener.submit(item, path)
    except NotReady:
        path.unlink(missing_ok=True)
        raise
    return answer(await asyncio.wrap_future(done))


async def _received(request: Request, folder: Path, most: int) -> Path:
    """The body in a file of its own, which is removed again when it does not arrive whole."""
    handle, name = await asyncio.to_thread(tempfile.mkstemp, dir=folder)
    path, size = Path(name), 0
    try:
        with os.fdopen(handle, "wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    raise _too_large(most)
                await asyncio.to_thread(file.write, chunk)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the file is larger than {most >> 20} MiB: [sound] upload_mib sets how large one may be")


def _answered(request: Request, file: BinaryIO, size: int, headers: dict[str, str]) -> Response:
    headers |= {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        file.close()
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range", "")
    if request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        asked = ""  # the file is not what the player began with: it gets all of it
    found = _range(asked, size)
    first, last = found or (0, size - 1)
    if first > last:
        file.close()
        refused = problem(416, f"range: expected bytes below {size}, found {asked[:60]!r}", "range")
        refused.headers["Content-Range"] = f"bytes */{size}"
        return refused
    whole = found is None
    headers["Content-Length"] = str(last - first + 1)
    if not whole:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    if request.method == "HEAD":
        file.close()
        return Response(status_code=200 if whole else 206, headers=headers)
    return StreamingResponse(_pieces(file, first, last), 200 if whole else 206, headers)


def _opened(audio: Audio) -> tuple[BinaryIO | None, int, str]:
    """(open file, its size, its entity tag); no file where it is gone, empty, or no plain file."""
    if isinstance(audio.source, bytes):
        return BytesIO(audio.source), len(audio.source), f'"{blake2b(audio.source, digest_size=12).hexdigest()}"'
    try:
        # the path was resolved and found inside a scanned folder: a link that took its place since is not followed
        handle = os.open(audio.source, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None, 0, ""
    file = os.fdopen(handle, "rb", buffering=0)
    found = os.fstat(handle)
    if not _plain(found.st_mode) or not found.st_size:
        file.close()
        return None, 0, ""
    return file, found.st_size, f'"{found.st_mtime_ns:x}-{found.st_size:x}"'


def _plain(mode: int) -> bool:
    return mode & 0o170000 == 0o100000


def _range(asked: str, size: int) -> tuple[int, int] | None:
    """(first, last) byte of what is to be sent; None where no single range is asked, (1, 0) where it cannot be had."""
    match = _RANGE.fullmatch(asked)
    if match is None:
        return None
    if not match[1]:  # the last so many bytes
        wanted = min(int(match[2]), size)
        return (size - wanted, size - 1) if wanted else (1, 0)
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    return (first, min(last, size - 1)) if first <= last and first < size else (1, 0)


async def _pieces(file: BinaryIO, first: int, last: int) -> AsyncIterator[bytes]:
    """The bytes from first to last, in pieces; ends early where the file has become shorter."""
    try:
        await asyncio.to_thread(file.seek, first)
        left = last - first + 1
        while left > 0:
            piece = await asyncio.to_thread(file.read, min(CHUNK, left))
            if not piece:
                return
            left -= len(piece)
            yield piece
    finally:
        file.close()
