"""Attention drawn on an image, or below a spectrogram, as inline SVG: an image for each token of the answer, or one
picture with a row of cells for each."""

from __future__ import annotations

import base64
import hashlib
import html
import struct
import zlib
from collections.abc import Sequence

from antiphon.display.colours import code_of, shade
from antiphon.display.html import Markup, joined, side_by_side
from antiphon.errors import printable

INK = "#d9480f"  # of weights on an image
MAX_OPACITY, LEAST_SHARE = 0.75, 0.03  # of the largest weight; smaller shares are not drawn
MAX_TOKENS = 64  # that are drawn
MIN_SIDE, MAX_WIDTH, ROW = 96, 640, 18  # pixels on the screen
_FONT = 'font-family="system-ui,sans-serif" font-size="12" fill="currentColor"'

Rectangle = tuple[int, int, int, int]  # left, top, width, height
TokenWeights = tuple[str, Sequence[float]]  # a token, and its weight of each position


def png(content: bytes, *, width: int, height: int, channels: int) -> bytes:
    """A PNG of pixels, row by row, one byte a channel: grey (1 channel) or colour (3)."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = width * channels
    lines = b"".join(b"\0" + content[row * size : (row + 1) * size] for row in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def on_picture(
    picture: bytes, size: tuple[int, int], boxes: Sequence[Rectangle | None], rows: Sequence[TokenWeights]
) -> Markup:
    """The picture, a PNG of `size` (width, height), once for each token, with the weights of its positions on it."""
    width, height = size
    scale = max(1.0, MIN_SIDE / max(min(width, height), 1))
    shown = min(width * scale, MAX_WIDTH)
    name, stored = _once(picture, size)
    figures = []
    for token, weights in rows[:MAX_TOKENS]:
        inside = "".join(_cells(boxes, weights))
        label = html.escape(printable(token))
        figures.append(
            Markup(
                f'<figure style="margin:2px"><svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" '
                f'width="{shown:.0f}" height="{shown * height / width:.0f}" viewBox="0 0 {width} {height}">'
                f'<use href="#{name}"/>{inside}</svg>'
                f'<figcaption style="font-size:12px"><bdi>{label}</bdi></figcaption></figure>'
            )
        )
    return joined(stored, side_by_side(figures))


def beneath_picture(
    picture: bytes, size: tuple[int, int], boxes: Sequence[Rectangle | None], rows: Sequence[TokenWeights]
) -> Markup:
    """The picture, and below it a row of cells for each token, each below the columns of its position."""
    width, height = size
    scale = min(MAX_WIDTH / width, 4.0)
    top, rows = max(min(height * scale, 200.0), MIN_SIDE), rows[:MAX_TOKENS]
    left = 8 + 7 * max((len(token) for token, _ in rows), default=0)
    whole, below = left + width * scale, top + 4 + ROW * len(rows)
    data = base64.b64encode(picture).decode()
    parts = [
        f'<image href="data:image/png;base64,{data}" x="{left}" width="{width * scale:.1f}" height="{top:.0f}" '
        'preserveAspectRatio="none"/>'
    ]
    largest = _largest(rows)
    for row, (token, weights) in enumerate(rows):
        y = top + 4 + ROW * row
        parts.append(
            f'<text x="{left - 4}" y="{y + 13:.0f}" text-anchor="end" {_FONT}>{html.escape(printable(token))}</text>'
        )
        for box, weight in zip(boxes, weights, strict=True):
            share = weight / largest
            if box is not None and share >= LEAST_SHARE:
                parts.append(
                    f'<rect x="{left + box[0] * scale:.1f}" y="{y:.0f}" width="{box[2] * scale:.1f}" '
                    f'height="{ROW - 2}" fill="{code_of(shade(share))}"/>'
                )
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="attention below a spectrogram" '
        f'width="{whole:.0f}" height="{below:.0f}" viewBox="0 0 {whole:.0f} {below:.0f}">{"".join(parts)}</svg>'
    )


def _once(picture: bytes, size: tuple[int, int]) -> tuple[str, Markup]:
    """The id of a picture, and the hidden element that stores it for the others of the page."""
    name = f"antiphon-{hashlib.blake2b(picture, digest_size=8).hexdigest()}"
    data = base64.b64encode(picture).decode()
    image = (
        f'<image id="{name}" href="data:image/png;base64,{data}" width="{size[0]}" height="{size[1]}" '
        'style="image-rendering:pixelated"/>'
    )
    return name, Markup(f'<svg width="0" height="0" style="position:absolute" aria-hidden="true">{image}</svg>')


def _cells(boxes: Sequence[Rectangle | None], weights: Sequence[float]) -> list[str]:
    """The positions as rectangles, relative to the token's largest weight on the picture."""
    there = [(box, weight) for box, weight in zip(boxes, weights, strict=True) if box is not None]
    largest = max((weight for _, weight in there), default=0.0) or 1.0
    return [
        f'<rect x="{box[0]}" y="{box[1]}" width="{box[2]}" height="{box[3]}" fill="{INK}" '
        f'fill-opacity="{MAX_OPACITY * weight / largest:.2f}"/>'
        for box, weight in there
        if weight / largest >= LEAST_SHARE
    ]


def _largest(rows: Sequence[TokenWeights]) -> float:
    return max((weight for _, weights in rows for weight in weights), default=0.0) or 1.0
