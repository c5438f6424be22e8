"""Templates that combine fields: `source_field: "premise: {premise} hypothesis: {hypothesis}"`, or "<{2}> {0}"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from antiphon.config import SourceConfig
from antiphon.data.lines import DataRow
from antiphon.errors import DataError
from antiphon.registry import nearest

_PLACE = re.compile(r"\{([^{}]+)\}")


def templates_of(source: SourceConfig) -> dict[str, str]:
    """The templates of `source` by side, for the sides whose field is a template."""
    fields = {"source": source.source_field, "target": source.target_field}
    return {side: field for side, field in fields.items() if isinstance(field, str) and _PLACE.search(field)}


def places(field: object) -> list[str]:
    """The fields that a template names, in order; an empty list if `field` is not a template."""
    return _PLACE.findall(field) if isinstance(field, str) else []


def without_templates(source: SourceConfig) -> SourceConfig:
    """`source` without its templates, as a reader needs it: a reader looks up only fields that exist."""
    return replace(source, **{f"{side}_field": None for side in templates_of(source)})


def fill(row: DataRow, templates: Mapping[str, str]) -> DataRow:
    """`row` with source and target filled in from templates over its fields. DataError names a missing field."""
    made = {side: _PLACE.sub(lambda match: _value(row, match[1]), template) for side, template in templates.items()}
    return row._replace(record={**row.record, **made}, targets=() if "target" in made else row.targets)


def _value(row: DataRow, name: str) -> str:
    if name not in row.record:
        have = ", ".join(f"`{field}`" for field in row.record) or "none"
        raise DataError(
            f"a template must name fields of the record, but `{name}` is not among {have} "
            f"({row.place}){nearest(name, row.record) or '.'} Correct `source_field` or `target_field`."
        )
    return row.record[name]
