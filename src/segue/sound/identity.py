"""Which recording a file holds: a hash of its sound as stored, whatever its name and its tags."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import av
from av.error import FFmpegError

from segue.core.errors import BadSound
from segue.sound.decode import CLOSED, ONLY, sound_of

MOST_BYTES = 64 << 20
"""Sound that is hashed, from the start: half an hour of mp3, all of a song in any format."""
MIMES = {"mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg", "wav": "audio/wav", "mov": "audio/mp4"}
"""By the first name that FFmpeg gives a container: what is inside decides, not the file's name."""


@dataclass(frozen=True)
class Identity:
    """24 hexadecimal digits of blake2b over the packets of the first stream of sound, and the container's MIME type."""

    digest: str
    mime: str


def identify(path: Path) -> Identity:
    """The identity of a file, without decoding it: new tags, a cover or a new name leave it as it is; re-encoding does not.

    BadSound where the file cannot be opened as music.
    """
    try:
        if path.is_file() and not path.stat().st_size:
            raise BadSound("the file is empty")
        with path.open("rb") as file, av.open(file, "r", options=ONLY, metadata_errors="replace") as container:
            stream = sound_of(container)
            digest = blake2b(f"{stream.codec_context.name} {stream.rate}".encode(), digest_size=12)
            total = 0
            for packet in container.demux(stream):
                digest.update(packet)
                total += packet.size
                if total > MOST_BYTES:
                    break
            mime = MIMES.get(container.format.name.split(",")[0], "application/octet-stream")
    except FFmpegError as error:
        raise BadSound(f"expected a music file, found one that cannot be opened: {error.strerror or error}") from error
    except OSError as error:
        raise BadSound(f"{CLOSED}: {error.strerror}") from error
    except (ValueError, MemoryError, EOFError) as error:
        raise BadSound(f"expected a music file, found one that breaks the reader: {error}") from error
    if not total:
        raise BadSound("the file holds no sound")
    return Identity(digest.hexdigest(), mime)
