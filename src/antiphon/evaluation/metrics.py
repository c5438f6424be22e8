"""Metrics by name: parsing, checking and calling. All built-in metrics are on a scale of 0 to 100.

A metric is a function of answers and, for each, a list of references (and of the sources, if it has a parameter
`sources`). It returns a number or a `MetricResult`. Example:

>>> bleu, = parse_metrics([{"bleu": {"tokenize": "none"}}])
>>> round(bleu(["a b c d"], [["a b c d", "d c b a"]]).score, 2)
100.0

A custom metric is such a function, registered with `@antiphon.register("metric", "name")`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.evaluation import classification, comet, edits, rouge, translation  # noqa: F401 (they register)
from antiphon.evaluation.result import MetricResult, References
from antiphon.registry import lookup


@dataclass(frozen=True)
class Metric:
    """A metric with its settings. `name` is its key in reports and in `metrics.jsonl`."""

    name: str
    function: Callable[..., MetricResult | float]
    settings: Mapping[str, Any]

    def __call__(
        self, hypotheses: Sequence[str], references: References, sources: Sequence[str] | None = None
    ) -> MetricResult:
        """The score of `hypotheses`, each against all of its `references`.

        Raises DataError if their numbers differ, or if the metric needs `sources` and they are not given.
        """
        _check(hypotheses, references)
        given: dict[str, Any] = dict(self.settings)
        if _takes(self.function, "sources"):
            if sources is None or len(sources) != len(hypotheses):
                raise DataError(
                    f"the metric `{self.name}` needs the source of each answer, but there are {len(hypotheses)} "
                    f"answers and {len(sources or ())} sources."
                )
            given["sources"] = list(sources)
        result = self.function(list(hypotheses), [list(row) for row in references], **given)
        return result if isinstance(result, MetricResult) else MetricResult(float(result))


def know_labels(metrics: Sequence[Metric], labels: Sequence[str]) -> list[Metric]:
    """The metrics, with `labels` of a classification set for those that take labels and have none."""
    return [
        replace(metric, settings={**metric.settings, "labels": list(labels)})
        if labels and "labels" not in metric.settings and _takes(metric.function, "labels")
        else metric
        for metric in metrics
    ]


def parse_metrics(items: Sequence[object]) -> list[Metric]:
    """Parse metrics: a name, a mapping {name: settings}, or `name:setting=value:…` as on the command line.

    Parsed metrics are returned unchanged. The others are called on one pair, so that a wrong setting is an error now,
    not after hours of training. Raises ConfigError.
    """
    names = [item.name if isinstance(item, Metric) else _describe(item)[0] for item in items]
    metrics = [item if isinstance(item, Metric) else _parse(*_describe(item), names) for item in items]
    labels = [metric.name for metric in metrics]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"the metric `{label}` is asked for twice with equal settings. Remove one.")
    return metrics


def _parse(name: str, settings: dict[str, Any], names: Sequence[str]) -> Metric:
    """The metric, after a test call. Its name includes its settings if `names` contains it more than once."""
    listed = {key: "+".join(map(str, value)) if isinstance(value, list) else value for key, value in settings.items()}
    shown = "".join(f":{key}={value}" for key, value in listed.items()) if names.count(name) > 1 else ""
    metric = Metric(name + shown, lookup("metric", name), settings)
    try:
        if metric.function is comet.comet:
            comet.check(**settings)  # a test call would load gigabytes
        else:
            metric(["a"], [["a"]], ["a"])
    except DataError:
        pass  # the test pair may be invalid, for example not one of the `labels`
    except AntiphonError:
        raise
    except TypeError as error:
        raise ConfigError(f"the metric `{name}` does not take these settings ({error}).") from error
    except Exception as error:  # a metric of a user's own may raise anything
        reason = " ".join(str(error).split())  # messages of sacreBLEU are paragraphs
        raise ConfigError(f"the metric `{name}` cannot be computed ({type(error).__name__}: {reason}).") from error
    return metric


def measure(
    hypotheses: Sequence[str],
    references: References,
    metrics: Sequence[object],
    sources: Sequence[str] | None = None,
) -> dict[str, MetricResult]:
    """Each metric of `metrics` (as in `parse_metrics`, or already parsed), by name."""
    return {metric.name: metric(hypotheses, references, sources) for metric in parse_metrics(metrics)}


def _takes(function: Callable[..., object], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except ValueError:  # some functions that are not written in Python have no signature
        return False


def _describe(item: object) -> tuple[str, dict[str, Any]]:
    if isinstance(item, str):
        name, *rest = item.split(":")
        while rest and "=" not in rest[0]:  # the name is `module:Name`
            name = f"{name}:{rest.pop(0)}"
        pairs = [part.partition("=") for part in rest]
        return name, {key: _value(text) for key, _, text in pairs}
    if isinstance(item, Mapping) and len(item) == 1:
        [(name, settings)] = item.items()
        if isinstance(settings, Mapping) or settings is None:
            return str(name), {str(key): value for key, value in (settings or {}).items()}
    raise ConfigError(f"a metric must be a name or a mapping {{name: settings}}, but is {item!r}.")


def _value(text: str) -> bool | int | float | str:
    """Parse the value of a setting from the command line."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _check(hypotheses: Sequence[str], references: References) -> None:
    if len(hypotheses) != len(references):
        raise DataError(
            f"each answer needs its references, but there are {len(hypotheses)} answers and "
            f"{len(references)} references."
        )
    if not hypotheses:
        raise DataError("a metric needs at least one answer, but there is none.")
    for number, row in enumerate(references, 1):
        if isinstance(row, str) or not row:
            raise DataError(
                f"the references of an answer must be a list of one or more texts, but those of answer {number} "
                f"are {row!r:.100}."
            )
