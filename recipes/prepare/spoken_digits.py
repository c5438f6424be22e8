"""Spoken digits: the clips of the Free Spoken Digit Dataset as tables, and strings of digits made of them.

    python recipes/prepare/spoken_digits.py --data $ANTIPHON_DATA/fsdd --output data/digits
    python recipes/prepare/spoken_digits.py --data $ANTIPHON_DATA/fsdd --output data/digits-george --leave-out george

Writes `recordings/` and `strings/` (.wav), and `train.tsv`, `valid.tsv`, `test.tsv` (single digits),
`train-strings.tsv`, `valid-strings.tsv`, `test-strings.tsv`, with the columns audio, text and speaker. A string is two
to seven clips of one speaker with 0 to 0.3 s of silence between them. The test clips are those of the data set; the
validation clips are recordings 5 to 9 of its training clips. With `--leave-out`, the test set is all clips of that
speaker, and the others are those of training and validation.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import tarfile
import wave
from pathlib import Path

RATE = 8000  # samples a second, 16 bit
MOST_SILENCE = 0.3  # seconds between two digits
VALID = range(5, 10)  # numbers of the recordings
Row = tuple[str, str, str]  # audio, text, speaker


def read_rows(table: Path) -> list[Row]:
    with table.open(encoding="utf-8", newline="") as stream:
        return [(row["audio"], row["text"], row["speaker"]) for row in csv.DictReader(stream, delimiter="\t")]


def number_of(row: Row) -> int:
    """The number of a recording: 7 of recordings/3_jackson_7.wav."""
    return int(Path(row[0]).stem.rpartition("_")[2])


def splits(data: Path, leave_out: str | None) -> dict[str, list[Row]]:
    train, test = read_rows(data / "train.tsv"), read_rows(data / "test.tsv")
    if leave_out is not None:
        speakers = {row[2] for row in train}
        if leave_out not in speakers:
            raise SystemExit(f"--leave-out must be one of {', '.join(sorted(speakers))}, but is {leave_out}")
        test = [row for row in train + test if row[2] == leave_out]
        train = [row for row in train if row[2] != leave_out]
    return {
        "train": [row for row in train if number_of(row) not in VALID],
        "valid": [row for row in train if number_of(row) in VALID],
        "test": test,
    }


def write_rows(table: Path, rows: list[Row]) -> None:
    with table.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write("audio\ttext\tspeaker\n")
        stream.writelines("\t".join(row) + "\n" for row in rows)


def strings(rows: list[Row], count: int, *, folder: Path, name: str, samples: dict[str, bytes]) -> list[Row]:
    """`count` strings of two to seven clips of one speaker, written as .wav files."""
    by_speaker: dict[str, list[Row]] = {}
    for row in rows:
        by_speaker.setdefault(row[2], []).append(row)
    made: list[Row] = []
    for number in range(count):
        draw = random.Random(f"{name} {number}")
        speaker = draw.choice(sorted(by_speaker))
        clips = draw.choices(by_speaker[speaker], k=draw.randint(2, 7))
        parts: list[bytes] = []
        for clip in clips:
            parts.append(samples[clip[0]])
            parts.append(bytes(2 * draw.randint(0, int(MOST_SILENCE * RATE))))
        file = f"strings/{name}-{number:05}.wav"
        with wave.open(str(folder / file), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(RATE)
            sound.writeframes(b"".join(parts[:-1]))
        made.append((file, " ".join(clip[1] for clip in clips), speaker))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--leave-out", help="a speaker who is heard in the test set only")
    parser.add_argument("--strings", type=int, default=4000, help="for training; an eighth of it for each other set")
    options = parser.parse_args()
    for name in ("recordings", "strings"):
        (options.output / name).mkdir(parents=True, exist_ok=True)
    samples: dict[str, bytes] = {}
    with tarfile.open(options.data / "recordings.tar.xz") as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is None or not member.name.endswith(".wav"):
                continue
            content = stream.read()
            file = f"recordings/{Path(member.name).name}"
            (options.output / file).write_bytes(content)
            with wave.open(io.BytesIO(content)) as sound:
                samples[file] = sound.readframes(sound.getnframes())
    for name, rows in splits(options.data, options.leave_out).items():
        write_rows(options.output / f"{name}.tsv", rows)
        count = options.strings if name == "train" else options.strings // 8
        made = strings(rows, count, folder=options.output, name=name, samples=samples)
        write_rows(options.output / f"{name}-strings.tsv", made)
        print(f"{name}: {len(rows):,} digits, {len(made):,} strings")


if __name__ == "__main__":
    main()
