"""`antiphon generate --output talk.srt`: the answer to a recording as subtitles, one cue for each segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from antiphon.cli.streams import lines, output
from antiphon.errors import UsageError

if TYPE_CHECKING:
    from antiphon.generation.translator import Translator

SUBTITLES = (".srt", ".vtt")


def is_subtitles(path: str) -> bool:
    """Whether an output is a file of subtitles."""
    return PurePath(path).suffix.lower() in SUBTITLES


def check_subtitles(path: str, inputs: Sequence[str], given: Mapping[str, object]) -> None:
    """UsageError for several inputs, or a flag of `given` that an output of subtitles does not allow."""
    if len(inputs) > 1:
        raise UsageError(f"`--output {path}` needs one --input, a recording, but there are {len(inputs)}. Give one.")
    flag = next((name for name, value in given.items() if value), None)
    if flag is not None:
        raise UsageError(f"`{flag}` cannot be given with subtitles (`--output {path}`). Drop one of them.")


def write_subtitles(model: Translator, given: str, path: str, search: Mapping[str, Any]) -> None:
    """Write the segments of a recording: the file `given`, or the one that is named on its only line.

    A recording of any length is answered, in windows, unless `search` has other settings.
    """
    from antiphon.generation.timed.subtitles import subtitles
    from antiphon.text.kinds import SOUNDS

    is_sound = PurePath(given).suffix.lower().removeprefix(".") in SOUNDS
    names = [given] if is_sound else [line for line in lines(given) if line]
    if len(names) != 1:
        raise UsageError(
            f"`--output {path}` needs the name of one recording, but `{given}` has {len(names)}. Give one."
        )
    (answer,) = model.generate(names, **{"timestamps": "segments", "overflow": "window", **search})
    text = subtitles(answer.as_json().get("segments", []), PurePath(path).suffix.lower())
    with output(path, reads=given) as writer:
        writer.write(text)
