"""The data sets of a recipe with all checks: what `antiphon inspect` finds before any tokenizer or network is built."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from antiphon.config import TrainConfig, source_list
from antiphon.data import Filters, Mixture, Pair, filters_of
from antiphon.data.checks.languages import Language, PairSample
from antiphon.data.checks.overlap import Overlap
from antiphon.data.epochs.collection import no_collection
from antiphon.data.filters import Ratio
from antiphon.data.sources import check_files
from antiphon.inspection.checks import Check, NumberCheck, copies, encodings, languages, overlaps, ratios
from antiphon.inspection.findings import USUAL, Finding, SplitReport, findings_of, split_report
from antiphon.inspection.scan import Scan, Scanner
from antiphon.text.kinds import is_media_name
from antiphon.text.task import CLASSIFICATION, Task

SUMMARIZATION = "summarization"
LEAST_RATIO, SPREADS = 3.0, 6.0  # the least bound for the ratio of lengths, and how many deviations it is
_MEDIA_CHECKED = 1000


@dataclass(frozen=True)
class Survey:
    """The data sets, the findings, and the pairs of the training data that were sampled.

    `media` says that the sources are names of sound or image files: only targets can be looked at.
    """

    splits: list[SplitReport]
    findings: list[Finding]
    samples: dict[int, PairSample]
    media: bool

    @property
    def pairs(self) -> list[Pair]:
        """The sampled pairs of all sources."""
        return [pair for sample in self.samples.values() for pair in sample.pairs]

    @property
    def kept(self) -> int:
        """The training pairs that the filters of the recipe keep."""
        return self.splits[0].kept


def survey(config: TrainConfig, task: Task) -> Survey:
    """Read the data sets of `config`. DataError for a fault of a whole file."""
    data = config.data
    for each in (data.train, data.valid, data.test):
        check_files(each)
    filters, held_out = filters_of(config), (data.valid, data.test)
    with warnings.catch_warnings(), no_collection():
        warnings.simplefilter("ignore")  # unreadable rows are a finding
        mixture = Mixture(data.train, task, Filters({}, held_out=held_out), bad_rows="skip")
        learned = _sampled(mixture.pairs_to_learn("train"))
        media = bool(learned) and all(is_media_name(pair.source) for pair in islice(learned, _MEDIA_CHECKED))
        language, overlap, ratio = Language(), Overlap(), _ratio(learned)
        language.learn(learned)
        overlap.learn(() if media else mixture.pairs_to_learn("held_out"))
        splits, findings, samples = [], [], {}
        for split in ("train", "valid", "test"):
            each = getattr(data, split)
            if each is None:
                continue
            numbers = NumberCheck()
            checks = _checks(task, numbers, media=media)
            alike = len(source_list(each)) == len(source_list(data.train)) or split == "train"
            if alike and task.name != CLASSIFICATION and not media:
                checks.append(languages(language))
            if split == "train":
                checks += [overlaps(overlap)] if overlap.texts else []
                checks += [ratios(ratio)] if ratio is not None and _translates(task) and not media else []
            titles = tuple(file for source in source_list(each) for file in source.files or [source.title])
            titles = titles or ("pairs from Python",)
            scanner = Scanner(task, checks, conflicts=task.name == CLASSIFICATION)
            scan = scanner.run(split, each, titles, filters if split == "train" else None)
            splits.append(split_report(scan))
            findings += _findings(scan, numbers, ratio)
            samples = samples or scan.samples
    return Survey(splits, findings, samples, media)


def _checks(task: Task, numbers: NumberCheck, *, media: bool) -> list[Check]:
    """The checks for a task: those of translations where a target says what its source says."""
    return [encodings, copies, numbers] if _translates(task) and not media else [encodings]


def _translates(task: Task) -> bool:
    return task.name not in (CLASSIFICATION, SUMMARIZATION)


def _sampled(pairs: Iterator[Pair]) -> list[Pair]:
    """Pairs of each source, spread evenly: those that the filter `language` keeps of them when it learns."""
    samples: dict[int, PairSample] = {}
    for pair in pairs:
        samples.setdefault(pair.row.cursor.source, PairSample()).add(pair)
    return [pair for sample in samples.values() for pair in sample.pairs]


def _ratio(pairs: list[Pair]) -> Ratio | None:
    """The filter for pairs of very unequal length: six deviations from the median of the ratio of lengths, in
    characters; None for too few pairs."""
    logs = [
        math.log(len(pair.target) / len(pair.source))
        for pair in pairs
        if not pair.row.plain and len(pair.source) >= 8 and pair.target
    ]
    if len(logs) < 100:
        return None
    middle = statistics.median(logs)
    spread = 1.4826 * statistics.median(abs(each - middle) for each in logs)
    most = max(LEAST_RATIO, math.exp(SPREADS * spread))
    return Ratio(most=math.ceil(2 * most) / 2, unit="characters", usual=float(f"{math.exp(middle):.2g}"))


def _findings(scan: Scan, numbers: NumberCheck, ratio: Ratio | None) -> list[Finding]:
    filters: dict[str, str | Mapping[str, Any]] = {}
    if ratio is not None:
        filters["ratio"] = {"ratio": {"most": ratio.most, "unit": ratio.unit, "usual": ratio.usual}}
    usual = {}
    differ = scan.found["numbers"].count
    # Among pairs with numbers, so that texts without any do not hide that the two sides never agree.
    usual["numbers"] = differ > USUAL * max(1, numbers.pairs) and differ > 0.1 * scan.checked
    return findings_of(scan, filters=filters, usual=usual)
