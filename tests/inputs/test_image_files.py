"""Files of images: what they hold is read right, or refused in one line, by the head where it is too large."""

from __future__ import annotations

import io
import sys
import time

import numpy
import pytest
import torch
from inputs.images import chunk, picture, png_head, stored
from PIL import Image

from antiphon.errors import ConfigError, DataError
from antiphon.inputs.image_features import image_of, pixels
from antiphon.inputs.images.files import image_size, read_image

SIZES = [(2**31 - 1, 1), (2**31 - 1, 2**31 - 1), (10**5, 10**3), (8193, 8192)]


@pytest.mark.parametrize("size", SIZES)
def test_a_bomb_is_refused_by_its_head(size: tuple[int, int], recwarn: pytest.WarningsRecorder) -> None:
    file = png_head(*size)
    begun = time.perf_counter()
    with pytest.raises(DataError, match=r"`a\.png` must have at most 67108864 pixels, but has [0-9 x]+\. Make"):
        image_size(file, "`a.png`")
    with pytest.raises(DataError, match="at most 67108864 pixels"):
        read_image(file, "`a.png`", mode="L")
    assert time.perf_counter() - begun < 0.2  # twice 100 ms
    assert not recwarn.list


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"II*\0\0\0", b"GIF89a", b"%!PS-Adobe-3.0 EPSF"]
)
def test_what_is_no_image_is_refused(content: bytes) -> None:
    for read in (
        lambda: image_size(io.BytesIO(content), "`a`"),
        lambda: read_image(io.BytesIO(content), "`a`", mode="L"),
    ):
        with pytest.raises(DataError, match=r"`a` must be an image \(PNG, .*\), but cannot be read as one"):
            read()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"])
def test_a_file_that_is_cut_short_is_an_error_and_a_whole_one_is_read(kind: str) -> None:
    smooth = torch.arange(64, dtype=torch.uint8).view(1, 8, 8) * 3
    content = stored(smooth, kind).getvalue()
    found = pixels(read_image(io.BytesIO(content), "`a`", mode="L"))
    assert image_size(io.BytesIO(content), "`a`") == (8, 8) and int((found.int() - smooth.int()).abs().max()) < 9
    broken = stored(picture(40, 50), kind).getvalue()
    with pytest.raises(DataError, match=r"`a` (is an image .* that cannot be read|must be an image)"):
        read_image(io.BytesIO(broken[: len(broken) // 2]), "`a`", mode="L")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_turns_are_obeyed(kind: str) -> None:
    rows = torch.zeros(1, 8, 24, dtype=torch.uint8)
    rows[:, :, :8] = 255  # white on the left
    for turn, white in ((1, "left"), (3, "right"), (6, "top"), (8, "bottom"), (2, "right"), (5, "top"), (7, "bottom")):
        exif = Image.Exif()
        exif[0x0112] = turn
        file = stored(rows, kind, exif=exif)
        size, image = image_size(file, "`a`"), read_image(file, "`a`", mode="L")
        found = pixels(image)[0].float()
        sides = {"left": found[:, :2], "right": found[:, -2:], "top": found[:2], "bottom": found[-2:]}
        assert size == image.size == ((24, 8) if turn < 5 else (8, 24)), turn
        assert max(sides, key=lambda side: float(sides[side].mean())) == white, turn


def test_the_turn_of_a_png_may_stand_behind_its_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = stored(picture(4, 9)).getvalue()
    file = io.BytesIO(plain[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + plain[-12:])
    assert image_size(file, "`a`") == read_image(file, "`a`", mode="L").size == (4, 9)


def test_transparency_is_white() -> None:
    black = torch.zeros(1, 2, 2, dtype=torch.uint8)
    alpha = image_of(torch.tensor([[[0, 255], [128, 255]]], dtype=torch.uint8))
    for mode in ("LA", "RGBA"):
        image = image_of(black).convert(mode)
        image.putalpha(alpha)
        found = pixels(read_image(stored(image), "`a`", mode="L"))[0].tolist()
        assert found == [[255, 0], [127, 0]], mode
    indexed = image_of(torch.tensor([[[0, 40]]], dtype=torch.uint8)).convert("P")
    for image in (indexed, image_of(torch.tensor([[[0, 40]]], dtype=torch.uint8))):
        found = pixels(read_image(stored(image, transparency=0), "`a`", mode="RGB"))[:, 0].T.tolist()
        assert found == [[255] * 3, [40] * 3], image.mode


def test_sixteen_bits_become_eight() -> None:
    values = numpy.arange(256, dtype=numpy.uint16).reshape(16, 16) * 257
    for kind in ("PNG", "TIFF"):
        found = pixels(read_image(stored(Image.fromarray(values), kind), "`a`", mode="L"))
        assert found.flatten().tolist() == list(range(256)), kind
    swapped = Image.frombytes("I;16B", (16, 16), values.astype(">u2").tobytes())
    assert pixels(read_image(stored(swapped, "TIFF"), "`a`", mode="L")).flatten().tolist() == list(range(256))
    inverse = stored(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    assert pixels(read_image(inverse, "`a`", mode="L")).flatten().tolist() == list(range(255, -1, -1))
    clear = stored(Image.fromarray(values), "PNG", transparency=257)
    assert pixels(read_image(clear, "`a`", mode="L"))[0, 0, :3].tolist() == [0, 255, 2]
    with pytest.raises(DataError, match="must have 8 or 16 bits for each channel, but has 32"):
        read_image(stored(Image.fromarray(values.astype(numpy.float32)), "TIFF"), "`a`", mode="L")


def test_colour_becomes_grey_and_grey_colour() -> None:
    red = Image.new("RGB", (2, 1), "red")
    assert pixels(read_image(stored(red), "`a`", mode="L"))[0, 0].tolist() == [76, 76]  # ITU-R 601
    assert pixels(read_image(stored(red.convert("1")), "`a`", mode="RGB")).shape == (3, 1, 2)
    assert pixels(read_image(stored(red.convert("CMYK"), "JPEG"), "`a`", mode="RGB"))[:, 0, 0].tolist()[0] > 200


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_several_pages_or_frames_are_refused(kind: str) -> None:
    frames = [image_of(picture(6, 6, seed=seed)) for seed in (1, 2)]
    file = stored(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="`a` must be one image, but has several pages or frames"):
        image_size(file, "`a`")


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=r"need the library Pillow.*pip install 'antiphon\[images\]'"):
        image_size(io.BytesIO(b""), "`a`")
