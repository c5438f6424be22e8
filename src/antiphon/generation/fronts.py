"""What stands before a source to say what is asked for: a language's tag, a task's prefix.

A source that is answered in parts needs it before each of them.

>>> front_of("<fre> summarize: a text", ["summarize: "])
'<fre> summarize: '
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from antiphon.config import source_list

# A tag as `data.train.tag` makes it (Johnson et al. 2017), one of Marian's models for several languages, and the
# prefixes of T5 (Raffel et al. 2020, appendix D) whose texts may be long.
_KNOWN = re.compile(r"<[^\s<>]+> |>>[\w@-]+<< ?|translate \w[^:\n]{0,40} to \w[^:\n]{0,40}: |summarize: ")
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
    return tuple(dict.fromkeys(source.front for source in source_list(data) if source.front.strip()))
