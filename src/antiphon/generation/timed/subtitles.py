"""Segments as subtitles: .srt (SubRip) and .vtt (WebVTT, W3C).

subtitles(answer.as_json()["segments"], ".srt")     # "1\\n00:00:00,000 --> 00:00:02,400\\nHello.\\n\\n2\\n..."
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FORMATS = (".srt", ".vtt")


def subtitles(segments: Sequence[Mapping[str, Any]], kind: str) -> str:
    """The segments, as objects of `Generation.as_json`, in a format of FORMATS: one cue for each."""
    is_srt = kind == ".srt"
    cues = []
    for number, segment in enumerate(segments, 1):
        start, end = (_time(segment[name], "," if is_srt else ".") for name in ("start", "end"))
        head = f"{number}\n" if is_srt else ""
        cues.append(f"{head}{start} --> {end}\n{_text(segment['text'], is_srt=is_srt)}\n\n")
    return "".join(cues) if is_srt else "WEBVTT\n\n" + "".join(cues)


def _time(seconds: float, mark: str) -> str:
    """Hours, minutes, seconds and thousandths of a second."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{mark}{rest % 1000:03}"


def _text(text: str, *, is_srt: bool) -> str:
    """The text of a cue, without what would end it or be read as its head or as a tag."""
    text = " ".join(text.split()).replace("-->", "->")
    return text if is_srt else text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
