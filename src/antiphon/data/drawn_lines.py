"""Printed lines: images of texts, drawn from fonts, as training data for reading lines (extra `[images]`).

    table = lines_of_text(["in 3 hours", "10 days"], Path("lines"))     # lines/lines.tsv and lines/0000000.png, ...

    data: {train: {path: lines/lines.tsv}}
    task: transcription
    model: {input: image}

An image has the height that its font needs, so that lines keep the proportions of their font; augmentations of the
recipe (blur, shear, ...) make them look less clean.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.errors import ConfigError, DataError
from antiphon.settings import show

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

TABLE = "lines.tsv"
_ENDINGS = (".ttf", ".otf", ".woff", ".pfb")
REMEDY = "Leave it out, or give other `fonts`."
_NO_CHARACTER = "\U0010ffff"  # never assigned: every font draws its mark for an absent character
_MAX_WIDTH = 2**15  # pixels: far longer than a line


def lines_of_text(
    texts: Iterable[str],
    folder: Path | str,
    *,
    fonts: Sequence[Path | str] | None = None,
    size: int = 32,
    seed: int = 0,
) -> Path:
    """Draw each text into a grey image in `folder`, and return the table of image, text and font.

    `fonts` are font files (.ttf, .otf, .woff, .pfb), by default all that `find_fonts` finds; `seed` draws the font of
    each text, from those that have all its characters, and its margins. `size` is the size of the letters in pixels,
    changed by up to a tenth.

    DataError for a text that is blank, has a line break, is too long, or that no font has all characters of;
    ConfigError without fonts or without Pillow.
    """
    rows = list(texts)
    for number, text in enumerate(rows):
        if not isinstance(text, str) or not text.strip() or len(text.splitlines()) != 1:
            raise DataError(
                f"`texts` must be texts of one line, but number {number + 1} is {show(text)}. Leave it out."
            )
    characters = {each for text in rows for each in text if not each.isspace()}
    chosen = [Path(font) for font in fonts] if fonts is not None else find_fonts()
    if not chosen:
        raise ConfigError("`fonts` must be font files, but there is none. Give them.")
    drawn = _drawn_by(chosen, characters)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    table = place / TABLE
    with table.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write("image\ttext\tfont\n")
        for number, text in enumerate(rows):
            draw = random.Random(f"{seed} {number}")
            able = [font for font in chosen if drawn[font].issuperset("".join(text.split()))]
            if not able:
                raise DataError(
                    f"text {number + 1}, `{text[:40]}`, has characters that no font draws together. {REMEDY}"
                )
            font = draw.choice(able)
            name = f"{number:07}.png"
            _draw(text, place / name, font=font, size=round(size * draw.uniform(0.9, 1.1)), draw=draw)
            stream.write(f"{name}\t{text.replace(chr(9), ' ')}\t{font.stem}\n")
    return table


def find_fonts(characters: Iterable[str] = "", *, folders: Sequence[Path | str] | None = None) -> list[Path]:
    """The font files of this machine that draw all of `characters`, sorted by name; `folders` are searched instead of
    the system's. ConfigError without Pillow."""
    places = [Path(each) for each in folders] if folders is not None else _system_folders()
    wanted = {each for each in characters if not each.isspace()}
    files = {file for place in places if place.is_dir() for file in place.rglob("*") if file.suffix.lower() in _ENDINGS}
    return sorted((file for file in files if _draws(file, wanted)), key=lambda file: (file.name, str(file)))


def _system_folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts"]
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".fonts", home / ".local/share/fonts"]


def _draws(file: Path, characters: set[str]) -> bool:
    """Whether a font can be read and has all characters."""
    try:
        return _drawn(file, characters) == characters
    except ConfigError:  # Pillow is missing
        raise
    except (OSError, ValueError):  # not a font, or one without outlines
        return False


def _drawn(file: Path, characters: set[str]) -> set[str]:
    """Those of `characters` that a font has: what it draws for them differs from its mark for an absent one."""
    font = _font(file, 24)
    absent = _picture(font, _NO_CHARACTER)
    if _picture(font, "a") == _picture(font, "b") != absent:  # a font of last resort: one sign for all of a script
        return set()
    return {each for each in characters if _picture(font, each) not in (absent, None)}


def _drawn_by(fonts: Sequence[Path], characters: set[str]) -> dict[Path, set[str]]:
    """For each of a user's fonts those of `characters` that it has; ConfigError for a file that is no font."""
    found = {}
    for file in fonts:
        try:
            found[file] = _drawn(file, characters)
        except OSError as error:
            problem = f"`fonts` must be font files, but `{file}` cannot be read ({error})"
            raise ConfigError(f"{problem}. Leave it out.") from None
    return found


def _picture(font: FreeTypeFont, character: str) -> bytes | None:
    """The pixels of a character; None if there are none."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (64, 64))
    ImageDraw.Draw(image).text((16, 16), character, fill=255, font=font)
    return image.tobytes() if image.getbbox() else None


def _draw(text: str, file: Path, *, font: Path, size: int, draw: random.Random) -> None:
    """Draw a text, dark on light, with random margins, into a .png file."""
    from PIL import Image, ImageDraw

    loaded = _font(font, size)
    left, top, right, bottom = loaded.getbbox(text)
    ascent, descent = loaded.getmetrics()
    top, bottom = min(top, 0), max(bottom, ascent + descent)
    margins = [draw.randint(1, max(2, size // 4)) for _ in range(4)]
    width, height = round(right - left) + margins[0] + margins[2], round(bottom - top) + margins[1] + margins[3]
    if width > _MAX_WIDTH:
        raise DataError(f"a line must be at most {_MAX_WIDTH} pixels wide, but `{text[:40]}…` is {width}. Shorten it.")
    paper, ink = draw.randint(200, 255), draw.randint(0, 90)
    image = Image.new("L", (width, height), paper)
    ImageDraw.Draw(image).text((margins[0] - left, margins[1] - top), text, fill=ink, font=loaded)
    image.save(file)


def _font(file: Path, size: int) -> FreeTypeFont:
    try:
        from PIL import ImageFont
    except ImportError:
        raise ConfigError("drawing lines needs Pillow. Run pip install 'antiphon[images]'.") from None
    return ImageFont.truetype(str(file), size)
