"""Records with nested values, as in JSON, parquet files and data sets of the hub.

* `translation.en` is the key `en` inside `translation`, unless the record has a key of exactly this name.
* Numbers, true and false become text. NaN and infinity are not JSON values (RFC 8259, section 6) and count as missing,
  as null does.
* A list of texts is joined with spaces in the source; in the target it is a list of several targets.
* Bytes, also as {bytes, path}, are the reference of an image or sound (media/references.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from antiphon.config import SourceConfig
from antiphon.data.lines import Cursor, DataPlace, DataRow
from antiphon.data.media.references import with_media
from antiphon.errors import DataError
from antiphon.registry import nearest
from antiphon.settings import show

_PLAIN = str | int | float


def nested_row(found: Mapping[str, Any], source: SourceConfig | None, place: DataPlace, cursor: Cursor) -> DataRow:
    """The row of one record: its plain values as texts, and the fields of `source` as keys `source` and `target`."""
    found = with_media(found, place)
    record = plain_values(found)
    if isinstance(several := found.get("image"), list):  # no file has this name: several are an error, not left out
        record["image"] = " ".join(map(str, several))
    targets: tuple[str, ...] = ()
    fields = (None, None) if source is None else (source.source_field, source.target_field)
    left = found.get("source" if fields[0] is None else str(fields[0]))
    right = found.get("target" if fields[1] is None else str(fields[1]))
    if type(left) is str and type(right) is str:  # nearly all rows
        record["source"], record["target"] = left, right
        return DataRow(record, place, cursor)
    for side, field in zip(("source", "target"), fields, strict=True):
        name = side if field is None else str(field)
        if field is None and name not in found:
            continue
        texts = texts_of(found, name, f"{side}_field", place)
        if side == "source":
            record[side] = texts[0] if len(texts) == 1 else " ".join(texts)  # a reference stays one
        elif not texts:
            raise DataError(
                f"the field `{name}` must hold at least one text, but is an empty list ({place}). Drop the record."
            )
        else:
            record[side] = texts[0]
            targets = tuple(texts) if len(texts) > 1 else ()
    return DataRow(record, place, cursor, targets)


def plain_values(found: Mapping[str, Any]) -> dict[str, str]:
    """The values of a record that are strings, numbers or booleans, as texts."""
    return {str(key): value if type(value) is str else _text(value) for key, value in found.items() if _is_plain(value)}


def texts_of(found: Mapping[str, Any], name: str, setting: str, place: DataPlace) -> list[str]:
    """The texts of the field `name`: one, or those of a list. DataError, which names `setting`, if there are none."""
    texts = _texts(_inside(found, name))
    if texts is None:
        raise _no_text(found, name, setting, place)
    return texts


def _no_text(found: Mapping[str, Any], name: str, setting: str, place: DataPlace) -> DataError:
    value, have = _inside(found, name), ", ".join(f"`{key}`" for key in found) or "none"
    missing = name not in found and value is None
    other = "null" if value is None else show(value)
    problem = f"is not among {have}{nearest(name, map(str, found))}" if missing else f"is {other}"
    return DataError(f"the field `{name}` must be a text or a list of texts, but {problem} ({place}). Set `{setting}`.")


def _texts(value: Any) -> list[str] | None:
    """The texts of a plain value or of a list of them; None for anything else."""
    values = value if isinstance(value, list | tuple) else [value]
    return [_text(item) for item in values] if all(map(_is_plain, values)) else None


def _is_plain(value: Any) -> bool:
    return type(value) is str or (
        isinstance(value, _PLAIN) and not (isinstance(value, float) and not math.isfinite(value))
    )


def _inside(found: Mapping[str, Any], name: str) -> Any:
    """The value of a key, or of a dotted path of keys."""
    value: Any = found
    for key in [name] if name in found else name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(value: str | int | float) -> str:
    return value if isinstance(value, str) else json.dumps(value)
