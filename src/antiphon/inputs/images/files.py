"""Images in files, read by Pillow (extra `images`): upright, in 8 bits, grey or in colour, on white.

    with open("line.png", "rb") as file:
        size = image_size(file, "`line.png`")                       # (width, height), from the head of the file
        image = read_image(file, "`line.png`", mode="L")            # a PIL image

The size is that after the turn that EXIF asks for. A file is refused by its head if it is no image, or has so many
pixels that decoding it would exhaust the memory. Only decoders of known formats are tried: some of Pillow's others run
programs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import torch

from antiphon.errors import ConfigError, DataError, one_line

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 2**26  # 67 million: a page of A3 at 500 dots an inch
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP")
KNOWN = "PNG, JPEG, TIFF, WebP, GIF or BMP"
_SMALLER = "Make it smaller, or cut it into parts."
_ORIENTATION, _PHOTOMETRIC = 0x0112, 262  # tags of EXIF and TIFF
_PNG_SIGNATURE = 8  # bytes before the first chunk of a PNG


def pillow() -> type[Image.Image]:
    """The class of Pillow's images; ConfigError if it is not installed."""
    try:
        # Without these, Pillow would import all its plugins to find two of FORMATS.
        from PIL import Image, TiffImagePlugin, WebPImagePlugin  # noqa: F401
    except ImportError:
        problem = "images need the library Pillow, which is not installed"
        raise ConfigError(f"{problem}. Run pip install 'antiphon[images]'.") from None
    return Image.Image


def image_size(file: BinaryIO, what: str) -> tuple[int, int]:
    """The width and height of an image, upright, from the head of its file. DataError, which names `what`."""
    with _opened(file, what) as image:
        width, height = image.size
        return (width, height) if _turn(image, file) < 5 else (height, width)


def read_image(file: BinaryIO, what: str, *, mode: str) -> Image.Image:
    """The image in `file`, upright and without transparency, in `mode` L (grey) or RGB. DataError, which names
    `what`, for a file that is no image, is too large, is broken, or has several frames."""
    from PIL import Image

    with _opened(file, what) as image:
        try:
            turn = _turn(image, file)
            image.load()
            found = opaque(image, what, mode)
        except DataError:
            raise
        except Exception as error:  # decoders raise many kinds for broken files
            problem = f"{what} is an image ({image.format}) that cannot be read ({_reason(error)})"
            raise DataError(f"{problem}. Replace the file.") from error
    turns = Image.Transpose
    turned = {
        2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE,
        6: turns.ROTATE_270, 7: turns.TRANSVERSE, 8: turns.ROTATE_90,
    }.get(turn)  # fmt: skip
    return found if turned is None else found.transpose(turned)


@contextmanager
def _opened(file: BinaryIO, what: str) -> Iterator[Image.Image]:
    pillow()
    from PIL import Image

    file.seek(0)
    try:
        with warnings.catch_warnings():  # Pillow's warning of large images, which are refused below
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise DataError(f"{what} must have at most {MAX_PIXELS} pixels, but {_too_many(error)}. {_SMALLER}") from error
    except Exception as error:  # of broken heads, too
        problem = f"must be an image ({KNOWN}), but cannot be read as one"
        raise DataError(f"{what} {problem}. Check the file, or convert it to PNG.") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        problem = f"must have at most {MAX_PIXELS} pixels, but has {width} x {height}"
        raise DataError(f"{what} {problem}. {_SMALLER}")
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise DataError(f"{what} must be one image, but has several pages or frames. Split it into one file each.")
    yield image


def _too_many(error: Exception) -> str:
    """What Pillow's error says of the size: "Image size (N pixels) exceeds ..."."""
    _, _, rest = str(error).partition("(")
    return f"has {rest.partition(' ')[0]}" if rest[:1].isdigit() else "has more"


def _reason(error: Exception) -> str:
    return one_line(error).rstrip(".") or type(error).__name__


def _turn(image: Image.Image, file: BinaryIO) -> int:
    """The orientation of EXIF, from 1 (upright) to 8."""
    from PIL import Image

    if image.format == "TIFF":
        return 1  # Pillow turns it
    if image.format == "PNG" and "exif" not in image.info:  # `getexif` would decode it all to look behind the pixels
        exif = Image.Exif()
        content = _png_exif(file)
        if content:
            exif.load(content)
    else:
        exif = image.getexif()
    turn = exif.get(_ORIENTATION, 1)
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _png_exif(file: BinaryIO) -> bytes:
    """The content of a PNG's eXIf chunk, which may stand behind its pixels; empty if there is none."""
    place = file.tell()
    file.seek(_PNG_SIGNATURE)
    found = b""
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        size = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            found = b"Exif\0\0" + file.read(min(size, 2**16))
            break
        file.seek(size + 4, 1)  # the content and its checksum
    file.seek(place)
    return found


def opaque(image: Image.Image, what: str, mode: str) -> Image.Image:
    """`image` in 8 bits, L or RGB, with what is transparent in white. DataError for pixels of 32 bits."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return _in_8_bits(image).convert(mode)
    if image.mode in ("I", "F"):
        problem = f"{what} must have 8 or 16 bits for each channel, but has 32"
        raise DataError(f"{problem}, of which nobody knows what is white. Convert it, for example to PNG.")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert(mode)
    return image.convert(mode)


def _in_8_bits(image: Image.Image) -> Image.Image:
    """A grey image of 16 bits in 8: Pillow would cut values above 255."""
    from PIL import Image

    pairs = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(-1, 2).int()
    low, high = pairs.T.flip(0) if image.mode == "I;16B" else pairs.T
    values = low + 256 * high
    if image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
        values = 65535 - values  # white is zero, as Pillow obeys for 8 bits alone
    grey = ((values + 128) // 257).to(torch.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.frombytes("L", image.size, grey.numpy().tobytes())
