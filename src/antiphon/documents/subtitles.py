"""Subtitles (.srt): sentences may go over several cues; the alignment says which words of an answer each cue gets.

The number and the times of a cue stay. A sentence is not continued in the next cue after a pause, before a new speaker
(a dash), or when it is long already.
"""

from __future__ import annotations

import re

from antiphon.documents.inline import InlineText
from antiphon.documents.markup import Token, tokens
from antiphon.documents.protection import DocumentProtection
from antiphon.documents.units import Pieces, Unit
from antiphon.errors import DataError

_TIME = r"(\d{1,3}):(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_BLANK = r"[^\S\n]*"
# The head of a cue: its number, which some programs leave out, and its times.
_HEAD = re.compile(
    rf"^(?:{_BLANK}\d{{1,9}}{_BLANK}\n)?{_BLANK}{_TIME}{_BLANK}-->{_BLANK}{_TIME}[^\n]*(?:\n|\Z)", re.MULTILINE
)
_STYLE = re.compile(r"\{\\[^{}\n]*\}")  # {\an8}
_LINE = re.compile(r"[^\r\n]+")
_SPEAKER = re.compile(r"\s*(?:<[^<>]*>\s*)*[-–—♪\[(]")
MAX_PAUSE_SECONDS = 2.0
MAX_JOINED_CHARACTERS = 300


def read_subtitles(text: str, language: str | None, protection: DocumentProtection, *, name: str) -> Pieces:
    """The cues. DataError, which names the file, if there is none, or text before the first one."""
    heads = list(_HEAD.finditer(text))
    if not heads or text[: heads[0].start()].strip():
        what = "has text before its first cue" if heads else "has no cue"
        raise DataError(
            f"subtitles must have cues with times such as 00:00:01,000 --> 00:00:02,500, but `{name}` {what}."
        )
    pieces: list[str | Unit] = []
    done = 0
    inline = InlineText(entities=False)

    def between(start: int, end: int) -> Pieces:
        return (text[start:end],)

    def flush() -> None:
        nonlocal done, inline
        for unit, end in inline.units(language, protection, between, _without_arrow):
            pieces.extend((text[done : unit.start], unit))
            done = end
        inline = InlineText(entities=False)

    for place, head in enumerate(heads):
        begin = _line_end_before(text, head.start(), heads[place - 1].end() if place else 0)
        end = _line_end_before(text, heads[place + 1].start(), head.end()) if place + 1 < len(heads) else len(text)
        pause = _seconds(head, 1) - _seconds(heads[place - 1], 5) if place else 0.0
        is_long = len(inline) > MAX_JOINED_CHARACTERS
        if is_long or not 0 <= pause <= MAX_PAUSE_SECONDS or _SPEAKER.match(text, head.end()):
            flush()
        if len(inline) and begin == head.start():  # directly behind the head of a cue without text
            inline.extend_tag(head.end())
        elif len(inline):
            inline.add_tag(Token("other", text[begin : head.end()], begin), "single", is_space=True)
        _add_cue(inline, text, head.end(), end)
    flush()
    return (*pieces, text[done:])


def _line_end_before(text: str, place: int, least: int) -> int:
    """Where the line end before `place` begins, at `least` or behind it. A head is moved together with the line end
    before it, so that no word comes to stand in its line."""
    for line_end in ("\r\n", "\n"):
        if text.startswith(line_end, place - len(line_end)) and place - len(line_end) >= least:
            return place - len(line_end)
    return place


def _add_cue(inline: InlineText, text: str, start: int, end: int) -> None:
    """The lines of a cue, with their tags and line ends."""
    for token in tokens(text[start:end]):
        at = start + token.start
        if token.kind in ("open", "close"):
            inline.add_tag(token._replace(start=at), "open" if token.kind == "open" else "close")
            continue
        done = 0
        for style in [*_STYLE.finditer(token.raw), None]:
            stop = style.start() if style else len(token.raw)
            _add_lines(inline, token.raw[done:stop], at + done)
            if style:
                inline.add_tag(Token("other", style[0], at + stop), "single")
                done = style.end()


def _add_lines(inline: InlineText, raw: str, start: int) -> None:
    done = 0
    for line in _LINE.finditer(raw):
        if line.start() > done:
            inline.add_tag(Token("other", raw[done : line.start()], start + done), "single", is_space=True)
        inline.add_text(line[0], start + line.start())
        done = line.end()
    if done < len(raw):
        inline.add_tag(Token("other", raw[done:], start + done), "single", is_space=True)


def _without_arrow(text: str) -> str:
    """An answer must not make the head of a cue."""
    return text.replace("-->", "->")


def _seconds(head: re.Match[str], first: int) -> float:
    hours, minutes, seconds, thousandths = (head[first + i] for i in range(4))
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{thousandths}")
