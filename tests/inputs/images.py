"""Images for tests, as the bytes of files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from antiphon.inputs.image_features import image_of


def picture(height: int, width: int, *, channels: int = 1, seed: int = 0) -> Tensor:
    """Pixels (C, H, W) without any symmetry, uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (channels, height, width), generator=generator, dtype=torch.uint8)


def stored(image: Tensor | Image.Image, kind: str = "PNG", **settings: Any) -> io.BytesIO:
    """A file of `kind`."""
    file = io.BytesIO()
    (image_of(image) if isinstance(image, Tensor) else image).save(file, kind, **settings)
    file.seek(0)
    return file


def write_pictures(folder: Path, count: int) -> list[str]:
    """Colour images in `folder`: their names for `count` rows, "" for each fourth row, which has none."""
    names = ["" if number % 4 == 3 else f"{number}.png" for number in range(count)]
    for number, name in enumerate(names):
        if name:
            (folder / name).write_bytes(stored(picture(9, 20, channels=3, seed=number)).getvalue())
    return names


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_head(width: int, height: int) -> io.BytesIO:
    """A grey PNG that claims a size, with hardly any pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0" * 100)), chunk(b"IEND", b"")]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
