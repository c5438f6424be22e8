"""The languages of the served models, the choice of a model by language pair, and the detection of a language.

A model's languages are those that its folder names (a multilingual one), or the pairs of `--languages`. A model without
either takes any code and ignores it, since it has one direction only.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.language_codes import short_code
from antiphon.serving.http.errors import ApiError, invalid
from antiphon.serving.http.language_names import name_of
from antiphon.serving.service import ModelStatus
from antiphon.serving.settings import Pair

AUTO = "auto"
_OTHER_TASKS = ("classification", "summarization")
_MOST_DETECTED = 2000  # characters that a language is detected by


@dataclass(frozen=True)
class Direction:
    """A model and the languages of a request; `settings` are those of its search. `source` None: not known."""

    model: str
    source: str | None
    target: str | None
    settings: Mapping[str, Any]
    detected: tuple[str, float] | None = None  # the code, and the confidence between 0 and 1


@dataclass(frozen=True)
class ModelLanguages:
    """The languages of one model by the codes that clients use. `pairs` None: each source with each target.

    `own_codes`: the codes that the model's search settings take; empty where it takes none.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    pairs: tuple[Pair, ...] | None
    own_codes: Mapping[str, str]

    @property
    def known(self) -> bool:
        """Whether the model names languages."""
        return bool(self.sources or self.targets)

    def targets_of(self, source: str) -> tuple[str, ...]:
        """The languages that `source` is translated to."""
        if self.pairs is None:
            return tuple(target for target in self.targets if target != source)
        return tuple(target for first, target in self.pairs if first == source)

    def find(self, code: str, among: Sequence[str]) -> str | None:
        """The language of `among` that a client means: `EN-US` is `en` where there is no `en-us`."""
        by_code = {each.lower().replace("_", "-"): each for each in among}
        by_code |= {own.lower().replace("_", "-"): public for public, own in self.own_codes.items() if public in among}
        wanted = code.lower().replace("_", "-")
        return by_code.get(wanted) or by_code.get(short_code(code)) or by_code.get(wanted.partition("-")[0])


class Languages:
    """The languages of all models; `pairs` are those of `--languages`, by model (None: the first one)."""

    def __init__(self, pairs: Mapping[str | None, tuple[Pair, ...]]) -> None:
        self._pairs = pairs

    def of(self, status: ModelStatus, *, is_default: bool) -> ModelLanguages:
        """The languages of a model."""
        pairs = self._pairs.get(status.name) or (self._pairs.get(None) if is_default else None)
        info = status.info
        own = _public(() if info is None else (*info.source_languages, *info.target_languages))
        if pairs:
            sources = tuple(dict.fromkeys(source for source, _ in pairs))
            targets = tuple(dict.fromkeys(target for _, target in pairs))
            return ModelLanguages(sources, targets, tuple(pairs), {c: own[c] for c in own if c in sources + targets})
        if info is None:
            return ModelLanguages((), (), None, {})
        back = {code: public for public, code in own.items()}
        sources = tuple(dict.fromkeys(back[code] for code in info.source_languages))
        targets = tuple(dict.fromkeys(back[code] for code in info.target_languages))
        return ModelLanguages(sources, targets, None, own)

    def all(self, statuses: Sequence[ModelStatus]) -> list[tuple[str, ModelLanguages]]:
        """The languages of each model that translates texts, by its name.

        Where one names its languages, those that do not are left out: nobody knows what they would do with a pair.
        """
        found = [
            (status.name, self.of(status, is_default=number == 0))
            for number, status in enumerate(statuses)
            if _translates(status)
        ]
        return [entry for entry in found if entry[1].known] or found[:1]

    def _one(self, statuses: Sequence[ModelStatus], model: str) -> list[tuple[str, ModelLanguages]]:
        """The languages of the model of that name, in a list; empty for one that does not translate texts."""
        return [
            (status.name, self.of(status, is_default=number == 0))
            for number, status in enumerate(statuses)
            if status.name == model and _translates(status)
        ]

    def listed(self, statuses: Sequence[ModelStatus]) -> dict[str, list[str]]:
        """The targets of each source language; `auto` stands for the one direction of models that name none."""
        found: dict[str, list[str]] = {}
        for _, languages in self.all(statuses):
            for source in languages.sources if languages.known else (AUTO,):
                targets = languages.targets_of(source) if languages.known else (AUTO,)
                found[source] = list(dict.fromkeys([*found.get(source, []), *targets]))
        return found

    def choose(
        self,
        statuses: Sequence[ModelStatus],
        source: str | None,
        target: str | None,
        *,
        text: str,
        model: str | None = None,
        fields: tuple[str, str] = ("source", "target"),
    ) -> Direction:
        """The model and the direction of a request: the first model with the pair, or `model`.

        A `source` of None or `auto` is detected from `text`, where a model has several. ApiError 422 for a pair that no
        model has, naming `fields`.
        """
        found = self.all(statuses) if model is None else self._one(statuses, model)
        if not found:
            what = "none is served" if model is None else f"`{model[:100]}` does not"
            raise invalid("model", f"must be one that translates texts, but {what}.")
        wanted = None if source is None or source.lower() == AUTO else source
        aim = None if target is None or target.lower() == AUTO else target
        for name, own in found:
            if (direction := _fits(name, own, wanted, aim, text, fields[0])) is not None:
                return direction
        raise _no_pair([own for _, own in found], wanted, aim, fields)


def _translates(status: ModelStatus) -> bool:
    """Whether a model takes texts and answers with texts; one that was never loaded may."""
    return status.info is None or (status.info.input == "text" and status.info.task not in _OTHER_TASKS)


def _no_pair(
    found: Sequence[ModelLanguages], source: str | None, target: str | None, fields: tuple[str, str]
) -> ApiError:
    """The error for a pair that no model has; it names the codes that there are."""
    if source is not None and not any(own.find(source, own.sources) for own in found):
        codes = sorted({code for own in found for code in own.sources})
        return invalid(fields[0], f"must be one of {', '.join(codes)}, but is `{source[:40]}`.")
    codes = {
        each for own in found for code in own.sources for each in own.targets_of(code) if _means(own, source, code)
    }
    is_what = "is not given" if target is None else f"is `{target[:40]}`"
    return invalid(fields[1], f"must be one of {', '.join(sorted(codes))} for this source, but {is_what}.")


def _means(own: ModelLanguages, source: str | None, code: str) -> bool:
    return source is None or own.find(source, own.sources) == code


def _fits(
    name: str, own: ModelLanguages, source: str | None, target: str | None, text: str, field: str
) -> Direction | None:
    """The direction of a model for a pair; None if it does not have it."""
    if not own.known:
        return Direction(name, source, target, {})
    detected = None
    if source is not None:
        code = own.find(source, own.sources)
    else:
        # Only what has the target: a text is not translated into its own language.
        able = [each for each in own.sources if target is None or own.find(target, own.targets_of(each)) is not None]
        if not able:
            return None
        detected = (able[0], 1.0) if len(able) == 1 else detect(text, able, field)[0]
        code = detected[0]
    if code is None:
        return None
    targets = own.targets_of(code)
    aim = own.find(target, targets) if target is not None else targets[0] if len(targets) == 1 else None
    if aim is None:
        return None
    settings = {}
    if own.own_codes:
        settings = {"source_language": own.own_codes[code], "target_language": own.own_codes[aim]}
    return Direction(name, code, aim, settings, detected)


def _public(codes: Iterable[str]) -> dict[str, str]:
    """The code that clients use for each of a model's codes: `de` for de_DE and deu_Latn, if no other one is `de`."""
    found: dict[str, str] = {}
    for code in codes:
        if code not in found.values():
            found[code if short_code(code) in found else short_code(code)] = code
    return found


class _Detector:
    """py3langid's identifier, loaded once, and a copy of it for each set of languages."""

    lock = threading.Lock()
    whole: Any = None
    restricted: dict[tuple[str, ...], Any] = {}  # noqa: RUF012  (of the class: one table for the process)

    @classmethod
    def for_languages(cls, codes: tuple[str, ...]) -> Any:
        """An identifier that knows `codes` alone."""
        with cls.lock:
            if cls.whole is None:
                from py3langid.langid import MODEL_FILE, LanguageIdentifier

                cls.whole = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
            if codes not in cls.restricted:
                made = copy.copy(cls.whole)
                made.set_languages(codes)
                cls.restricted[codes] = made
            return cls.restricted[codes]

    @classmethod
    def labels(cls) -> frozenset[str]:
        """All languages that can be detected."""
        cls.for_languages(("en",))
        return frozenset(cls.whole.labels)


def detect(text: str, languages: Sequence[str], field: str) -> list[tuple[str, float]]:
    """The languages of `languages` that `text` may be in, most probable first, with probabilities that add up to 1.

    ApiError 422 about `field` if none of them can be detected.
    """
    by_label: dict[str, str] = {}
    for code in languages:
        by_label.setdefault(short_code(code), code)
    known = {short_code(label): label for label in _Detector.labels()}
    own = {known[code]: by_label[code] for code in by_label if code in known}
    labels = tuple(sorted(own))
    if not labels:
        raise ApiError(
            422,
            "invalid",
            "the language cannot be detected, since the model names no language that is known to the detection. Give "
            "`source`, or start the server with --languages.",
            field=field,
        )
    return [(own[label], share) for label, share in _Detector.for_languages(labels).rank(text[:_MOST_DETECTED])]


def language_entry(code: str, targets: Sequence[str]) -> dict[str, Any]:
    """A language as LibreTranslate lists it."""
    name = "Language of the model" if code == AUTO else name_of(code)
    return {"code": code, "name": name, "targets": list(targets)}
