"""Tags and prefixes of sources, which name a language or a task, and the template of the training data.

If a source is split, they are repeated before each part.

>>> leading_text("<fre> summarize: a text", ["summarize: "])
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
_MAX_PREFIXES = 16  # tags and prefixes in a row


def leading_text(text: str, prefixes: Iterable[str] = ()) -> str:
    """The tags and prefixes with which `text` begins; `prefixes` are those of the data that a model was trained on."""
    end, known = 0, sorted(filter(None, prefixes), key=len, reverse=True)
    for _ in range(_MAX_PREFIXES):
        rest = text[end:]
        found = next((prefix for prefix in known if rest.startswith(prefix)), "")
        if not found and (match := _KNOWN.match(rest)):
            found = match[0]
        if not found:
            break
        end += len(found)
    return text[:end]


def prefixes_of(data: object) -> tuple[str, ...]:
    """The tags and prefixes that the sources of DataConfig.train put before their texts, each once."""
    found = [source.source_prefix for source in source_list(data)]
    found.append(template_of(data).partition("{}")[0])  # with the words of a template of one field
    return tuple(dict.fromkeys(prefix for prefix in found if prefix.strip()))


def template_of(data: object) -> str:
    """The template of the sources of DataConfig.train, with `{}` for the text: tag, prefix and a `source_field` with
    one field; "" if they differ, a source has several fields, or there is none."""
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


def is_empty_text(text: str, prefixes: Iterable[str]) -> bool:
    """Whether a text is blank, alone or after one of the `prefixes` of the training data."""
    ended = f"{text} "  # a prefix ends with a space, which may be cut off
    return is_blank(text) or any(
        ended.startswith(prefix) and is_blank(ended[len(prefix) :]) for prefix in prefixes if prefix
    )


def in_template(texts: list[str], template: str) -> list[str]:
    """Each text inserted into the template; blank texts, and those that already have it, are unchanged."""
    if not template:
        return texts
    before, _, after = template.partition("{}")
    return [
        text if is_blank(text) or (text.startswith(before) and text.endswith(after)) else f"{before}{text}{after}"
        for text in texts
    ]
