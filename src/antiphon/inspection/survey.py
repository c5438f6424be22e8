"""The data sets of a recipe with all checks: what `antiphon inspect` finds before any tokenizer or network is built."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from antiphon.config import TrainConfig, source_list
from antiphon.data import Filters, Mixture, Pair, filters_of
from antiphon.data.checks.languages import Language, PairSample
from antiphon.data.checks.overlap import Overlap
from antiphon.data.epochs.collection import no_collection
from antiphon.data.filters import Ratio
from antiphon.data.media.references import Reference
from antiphon.data.media.rows import MediaSources
from antiphon.data.sources import check_files
from antiphon.inspection.checks import Check, NumberCheck, copies, encodings, languages, overlaps, ratios
from antiphon.inspection.findings import USUAL, Finding, SplitReport, findings_of, split_report
from antiphon.inspection.scan import Scan, Scanner
from antiphon.inspection.source_files import SourceFiles
from antiphon.text.kinds import is_media_name
from antiphon.text.task import CLASSIFICATION, Task

SUMMARIZATION = "summarization"
LEAST_RATIO, SPREADS = 3.0, 6.0  # the least bound for the ratio of lengths, and how many deviations it is
_CHECKED = 1000  # sources that are all names of files where a model would learn from their letters


@dataclass(frozen=True)
class Survey:
    """The data sets, the findings, and the pairs of the training data that were sampled.

    `files`: sources are images or sound. `named`: they are names of such files, but the model reads texts.
    """

    splits: list[SplitReport]
    findings: list[Finding]
    samples: dict[int, PairSample]
    files: bool
    named: bool

    @property
    def pairs(self) -> list[Pair]:
        """The sampled pairs of all sources."""
        return [pair for sample in self.samples.values() for pair in sample.pairs]

    @property
    def kept(self) -> int:
        """The training pairs that the filters of the recipe keep."""
        return self.splits[0].kept


def survey(config: TrainConfig, task: Task, media: MediaSources | None = None) -> Survey:
    """Read the data sets of `config`. `media`: sources are images or sound, or texts with images. DataError for a fault
    of a whole file."""
    data = config.data
    for each in (data.train, data.valid, data.test):
        check_files(each)
    with warnings.catch_warnings(), no_collection():
        warnings.simplefilter("ignore")  # unreadable rows are a finding
        held_out = Filters({}, held_out=(data.valid, data.test))
        mixture = Mixture(data.train, task, held_out, bad_rows="skip")
        learned = _sampled(mixture.pairs_to_learn("train")) if media is None or media.kind.joins_text else []
        if not task.media and not any(isinstance(one.source, Reference) for one in learned):
            media = None  # texts alone, for a model that could read images too
        looking = _Looking(config, task, media, learned)
        if not looking.named:
            looking.overlap.learn(mixture.pairs_to_learn("held_out"))
        splits, findings, samples = [], [], {}
        for split in ("train", "valid", "test"):
            if getattr(data, split) is None:
                continue
            numbers = NumberCheck()
            scan = looking.scan(split, numbers)
            splits.append(split_report(scan))
            findings += _findings(scan, numbers, looking.ratio)
            samples = samples or scan.samples
    return Survey(splits, findings, samples, media is not None, looking.named)


class _Looking:
    """The checks for the data sets of a recipe, with what they learned from `learned`, a sample of the training pairs.

    `named`: the model reads texts, but they are names of files of images or sound.
    """

    def __init__(self, config: TrainConfig, task: Task, media: MediaSources | None, learned: list[Pair]) -> None:
        self.config, self.task, self.media, self.filters = config, task, media, filters_of(config)
        self.named = media is None and bool(learned) and all(is_media_name(one.source) for one in learned[:_CHECKED])
        self.texts = media is None and not self.named  # whether both sides are texts that can be compared
        self.language, self.overlap = Language(), Overlap()
        self.ratio = _ratio(learned) if self.texts else None
        if self.texts:
            self.language.learn(learned)

    def scan(self, split: str, numbers: NumberCheck) -> Scan:
        """Read a data set with its checks, and with the filters of the recipe if it is the training data."""
        data, training = self.config.data, split == "train"
        each = getattr(data, split)
        sources = source_list(each)
        titles = tuple(file for source in sources for file in source.files or [source.title]) or ("pairs from Python",)
        files = None if self.media is None else SourceFiles(self.media)
        checks = self._checks(numbers, training=training, alike=len(sources) == len(source_list(data.train)))
        scanner = Scanner(self.task, checks, conflicts=self.task.name == CLASSIFICATION, files=files)
        return scanner.run(split, each, titles, self.filters if training else None)

    def _checks(self, numbers: NumberCheck, *, training: bool, alike: bool) -> list[Check]:
        """The checks of a data set. `alike`: it has as many sources as the training data, which languages need."""
        translates = self.texts and _translates(self.task)
        checks: list[Check] = [encodings, copies, numbers] if translates else [encodings]
        if alike and self.task.name != CLASSIFICATION and self.texts:
            checks.append(languages(self.language))
        if training:
            checks += [overlaps(self.overlap)] if self.overlap.sources else []
            checks += [ratios(self.ratio)] if self.ratio is not None and translates else []
        return checks


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
