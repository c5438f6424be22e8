"""From a request to the inputs that are sent to a model process: settings are checked, and those of a row picked.

search = SearchDefaults(info)
config = search.checked({"beam_size": 1}, count=2)       # BadInput, which names the setting
prepare(call, config, search=search, info=info)          # a SubmitInput for each input
"""

from __future__ import annotations

import itertools
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from antiphon.config import GenerationConfig
from antiphon.config.generation import TEXT_OF_ROWS
from antiphon.errors import ConfigError
from antiphon.registry import nearest
from antiphon.serving.process.messages import SubmitInput
from antiphon.serving.service import BadInput, Detail, GenerateCall, ModelInfo
from antiphon.settings import SettingError, build, override, plain, show

BYTES_OF_FILES = 16  # of an image or a recording, that weigh as much in the queue as a character of a text
SOURCE_SETTINGS = ("overflow", "max_source_tokens", "prompt")
_LISTS = ("allowed", "required", "forbidden")  # settings with one list of texts for all rows, or one for each
_MOST_KNOWN, _LONGEST_KEY = 128, 2000  # settings of calls, and characters of each, that are remembered
_FILES = {"speech": "sound files", "image": "image files"}  # what models that read no text take, by `ModelInfo.input`
_numbers = itertools.count(1)


def next_number() -> int:
    """A number for a job, which no other one of this server has."""
    return next(_numbers)


class SearchDefaults:
    """The search settings of a model that are used where a call gives none."""

    def __init__(self, info: ModelInfo) -> None:
        self.config = build(GenerationConfig, info.generation)
        self._usual: dict[str, Any] = plain(self.config)
        self._known: OrderedDict[str, GenerationConfig] = OrderedDict()  # settings that were asked for lately, as JSON
        self._differences: dict[GenerationConfig, dict[str, Any]] = {}

    def checked(self, settings: Mapping[str, Any], *, count: int) -> GenerationConfig:
        """The settings of a call with `count` inputs. BadInput for an unknown one, a wrong value, or another number of
        values than inputs."""
        config = self._overridden(settings)
        for name in (*TEXT_OF_ROWS, *_LISTS):
            value = getattr(config, name)
            if _is_by_row(name, value) and len(value) != count:
                one = "text" if name in TEXT_OF_ROWS else "list of texts"
                raise BadInput(
                    f"`{name}` must be one {one}, or one for each of the {count} inputs, but there are {len(value)}.",
                    field=name,
                )
        return config

    def _overridden(self, settings: Mapping[str, Any]) -> GenerationConfig:
        """The model's settings with those of a call. Clients repeat theirs, and the check of all takes a while."""
        if not settings:
            return self.config
        try:
            key = json.dumps(settings, sort_keys=True)
        except (TypeError, ValueError):  # of a caller in Python, with other values than JSON has
            key = ""
        if key not in self._known:
            try:
                config = override(self.config, settings)
            except ConfigError as error:
                path = error.path if isinstance(error, SettingError) else ()
                raise BadInput(str(error), field=path[0] if path else None) from error
            if not 0 < len(key) <= _LONGEST_KEY:
                return config
            self._known[key] = config
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def differences(self, config: GenerationConfig) -> dict[str, Any]:
        """The settings that are not those of the model, as JSON values."""
        if config not in self._differences:
            if len(self._differences) >= _MOST_KNOWN:
                self._differences.clear()
            found = {name: value for name, value in plain(config).items() if value != self._usual[name]}
            self._differences[config] = found
        return self._differences[config]


def prepare(
    call: GenerateCall, config: GenerationConfig, *, search: SearchDefaults, info: ModelInfo
) -> list[SubmitInput]:
    """The message for each input of a call. BadInput for inputs of another kind than the model's."""
    check_inputs(call.inputs, info, "inputs")
    unknown = next((name for name in call.details if name not in get_args(Detail)), None)
    if unknown is not None:
        raise BadInput(f"`details` must be of {', '.join(get_args(Detail))}, but has {show(unknown)}.", field="details")
    common = search.differences(config)
    by_row = [name for name in (*TEXT_OF_ROWS, *_LISTS) if _is_by_row(name, getattr(config, name))]
    found: list[SubmitInput] = []
    for index, one in enumerate(call.inputs):
        settings = common
        if by_row:
            own = replace(config, **{name: getattr(config, name)[index] for name in by_row})
            settings = search.differences(own)
        found.append(
            SubmitInput(
                job=next_number(),
                input=one,
                row=call.first_row + index,
                settings=settings,
                stream=call.stream,
                details=tuple(call.details),
            )
        )
    return found


def length_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings of a score or of maps: of `settings` those that are given. BadInput for any other name."""
    given = {name: value for name, value in (settings or {}).items() if value is not None}
    other = next((name for name in given if name not in SOURCE_SETTINGS), None)
    if other is not None:
        known = ", ".join(SOURCE_SETTINGS)
        hint = nearest(other, SOURCE_SETTINGS) or "."
        raise BadInput(f"`{other}` is no setting of this call{hint} It has {known}.", field=other)
    return given


def check_inputs(inputs: Sequence[object], info: ModelInfo, field: str) -> None:
    """BadInput unless all inputs are texts, or the bytes of files for a model of speech or of images; a model of texts
    with images takes both.

    A text for one of these would be the name of a file, which no client may choose.
    """
    if info.input in _FILES:
        what = f"`{field}` must be the bytes of {_FILES[info.input]}, which the model reads"
        _check_types(inputs, bytes, what, field)
    elif info.images:
        check_texts([one for one in inputs if not isinstance(one, bytes)], field)
    else:
        check_texts(inputs, field)


def check_texts(texts: Sequence[object], field: str) -> None:
    """BadInput unless all are texts."""
    _check_types(texts, str, f"`{field}` must be texts", field)


def _check_types(values: Sequence[object], kind: type, what: str, field: str) -> None:
    for number, value in enumerate(values, 1):
        if not isinstance(value, kind):
            given = {str: "text", bytes: "file"}.get(type(value), type(value).__name__)
            raise BadInput(f"{what}, but number {number} is a {given}.", field=field)


def size_of(one: str | bytes) -> int:
    """The size of an input in characters; BYTES_OF_FILES bytes of an image or a recording count as one."""
    return len(one) if isinstance(one, str) else -(-len(one) // BYTES_OF_FILES)


def _is_by_row(name: str, value: Any) -> bool:
    """Whether the value of a setting is a list with an entry for each row."""
    if not isinstance(value, tuple):
        return False
    return name in TEXT_OF_ROWS or any(not isinstance(entry, str) for entry in value)
