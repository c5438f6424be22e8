"""What stands before a source to say what is asked for: a language's tag, a task's prefix.

A source that is answered in parts needs it before each of them.

>>> front_of("<fre> summarize: a text", ["summarize: "])
'<fre> summarize: '
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from antiphon.config import SourceConfig, source_list
from antiphon.text.kinds import is_blank

# A tag as `data.train.tag` makes it (Johnson et al. 2017), one of Marian's models for several languages, and the
# prefixes of T5 (Raffel et al. 2020, appendix D) whose texts may be long.
_KNOWN = re.compile(
    r"<[^\s<>]+>\s+|>>[\w@-]+<<\s*|(?i:translate) \w[^:\n]{0,40} to \w[^:\n]{0,40}:\s+|(?i:summarize):\s+"
)
_FIELD = re.compile(r"\{[^{}]+\}")  # of a template of the data
_MOST = 16  # tags and prefixes in a row


def front_of(text: str, fronts: Iterable[str] = ()) -> str:
    """The tags and prefixes with which `text` begins; `fronts` are those of the data that a model was trained on."""
    end, known = 0, sorted(filter(None, fronts), key=len, reverse=True)
    for _ in range(_MOST):
        rest = text[end:]
        front = next((front for front in known if rest.startswith(front)), "")
        if not front and (match := _KNOWN.match(rest)):
            front = match[0]
        if not front:
            break
        end += len(front)
    return text[:end]


def fronts_of(data: object) -> tuple[str, ...]:
    """What the sources of DataConfig.train put before their texts, each once."""
    found = [source.source_prefix for source in source_list(data)]
    found.append(template_of(data).partition("{}")[0])  # with the words of a template of one field
    return tuple(dict.fromkeys(front for front in found if front.strip()))


def template_of(data: object) -> str:
    """What the sources of DataConfig.train put around every text, `{}` in the text's place: tag, prefix and a
    `source_field` with one field; "" where they differ, a source is made of several fields, or nothing is put."""
    found = {_template(source) for source in source_list(data)}
    template = found.pop() if len(found) == 1 else ""
    return template if template.count("{}") == 1 and template.replace("{}", "").strip() else ""


def _template(source: SourceConfig) -> str:
    field = source.source_field
    places = _FIELD.findall(field) if isinstance(field, str) else []
    if len(places) > 1 or source.is_text:
        return ""
    around = _FIELD.sub("{}", field) if places and isinstance(field, str) else "{}"
    return source.source_prefix + around


def asks_nothing(text: str, fronts: Iterable[str]) -> bool:
    """Whether a text is blank, alone or behind one of the `fronts` of the data that a model was trained on."""
    ended = f"{text} "  # a front ends with a space, which may be cut off
    return is_blank(text) or any(ended.startswith(front) and is_blank(ended[len(front) :]) for front in fronts if front)


def framed(texts: list[str], template: str) -> list[str]:
    """Each text in the template, but those that have its words already, and blank ones."""
    if not template:
        return texts
    before, _, after = template.partition("{}")
    return [
        text if is_blank(text) or (text.startswith(before) and text.endswith(after)) else f"{before}{text}{after}"
        for text in texts
    ]
