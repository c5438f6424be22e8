"""The lines of manuscripts with transcriptions of one convention.

    python recipes/prepare/manuscripts.py --data $ANTIPHON_DATA/caroline-lines --output data/caroline
    python recipes/prepare/manuscripts.py --data ... --output data/caroline --reader runs/latin-lines/model

Unpacks the images and writes train.tsv and dev.tsv. Ten of the thirteen hands of training were transcribed by other
rules than the validation lines: a bar above a letter is a tilde and not a macron, there is a space before a point, the
mark like a semicolon is a colon, and `&` is resolved to `et`. Which rule a line follows cannot be seen in its image, so
the training lines are written by the rules of the validation lines, which stay as they are. With `--reader`, a model
that learned printed lines decides for each `et` of these ten hands whether it is `&` in the image: where the text with
`&` has the higher score.
"""

from __future__ import annotations

import argparse
import csv
import re
import tarfile
import unicodedata
from pathlib import Path

import antiphon

TILDE, MACRON = "\u0303", "\u0304"
COLUMNS = ("image", "manuscript", "text")


def one_convention(text: str) -> str:
    """A transcription with macrons, without spaces before points, and with semicolons for colons."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).replace(TILDE, MACRON))
    return re.sub(" +([.;,])", r"\1", text.replace(":", ";"))


def with_ampersands(model: antiphon.Model, image: Path, text: str) -> str:
    """The text with `&` for those `et` that have a higher score as `&`, from left to right."""
    place = text.find("et")
    while place >= 0:
        other = text[:place] + "&" + text[place + 2 :]
        scores = model.score([str(image)] * 2, [text, other])
        text = other if scores[1] > scores[0] else text
        place = text.find("et", place + 1)
    return text


def read(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def resolved_hands(rows: list[dict[str, str]]) -> set[str]:
    """The manuscripts in whose transcriptions no `&` stands."""
    return {row["manuscript"] for row in rows} - {row["manuscript"] for row in rows if "&" in row["text"]}


def write(table: Path, rows: list[dict[str, str]]) -> None:
    lines = ["\t".join(COLUMNS), *("\t".join(row[name] for name in COLUMNS) for row in rows)]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--reader", type=Path, help="a model of printed lines, which finds the `&` in the images")
    options = parser.parse_args()
    if not (options.data / "lines.tar.xz").is_file():
        raise SystemExit(f"--data must be a folder with lines.tar.xz, but {options.data} has none.")
    options.output.mkdir(parents=True, exist_ok=True)
    with tarfile.open(options.data / "lines.tar.xz") as archive:
        archive.extractall(options.output, filter="data")
    train = read(options.data / "train.tsv")
    resolved = resolved_hands(train)
    found = 0
    model = antiphon.load(options.reader) if options.reader else None
    for row in train:
        row["text"] = one_convention(row["text"])
        if isinstance(model, antiphon.Model) and row["manuscript"] in resolved:
            row["text"] = with_ampersands(model, options.output / row["image"], row["text"])
            found += row["text"].count("&")
    write(options.output / "train.tsv", train)
    write(options.output / "dev.tsv", read(options.data / "dev.tsv"))
    print(f"{len(train):,} lines for training, {found:,} & found")


if __name__ == "__main__":
    main()
