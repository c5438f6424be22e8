"""Export to CTranslate2 (Klein et al. 2020, OpenNMT's inference engine), checked against the model itself.

    report = export_ctranslate2(load("runs/multi30k"), "out", kind="int8")
    report.difference        # between the two, in nats a token

The folder holds `model.bin`, the vocabularies, our tokenizers, `ids.json` (special tokens) and a README with code that
uses it. CTranslate2 supports plain dot-product attention, sinusoidal, learned and rotary positions, and the relative
biases of T5; anything else is an error that names it.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from antiphon.config import GenerationConfig
from antiphon.errors import ModelError, WorkError, argument
from antiphon.export.layers import fill_decoder, fill_encoder, specification
from antiphon.export.page import page
from antiphon.generation.ensemble import Ensemble
from antiphon.generation.model import Model
from antiphon.generation.quantize import check_whole
from antiphon.generation.translator import Translator
from antiphon.models.folders.checkpoint import check_describable
from antiphon.models.folders.files import write_json
from antiphon.search.engine import answer, forced_scores
from antiphon.text import Tokenizer

KINDS = ("float32", "float16", "bfloat16", "int8")
# Nats a token. In float32 two engines differ only in the last digits; a wrong weight or a missing term is far above.
MAX_DIFFERENCE = 2e-3
TRIAL_SOURCES, MAX_TRIAL_TOKENS = 8, 12  # random sources of the check, and their tokens

Vocabularies = tuple[list[str], list[str]]  # a name for each id, for source and target


@dataclass(frozen=True, slots=True)
class ExportTrial:
    """Sources, the model's answers to them, and the scores of these, without the first `forced` ids."""

    rows: list[list[int]]
    answers: list[list[int]]
    scores: list[float]
    forced: int


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The result of the check on `answers` answers with `tokens` tokens in all.

    `difference`: the largest difference of an answer's score between engine and model, in nats a token.
    """

    difference: float
    tokens: int
    answers: int


def export_ctranslate2(model: Translator, folder: str | Path, *, kind: str = "float32") -> ExportReport:
    """Write `model` to `folder`, which must not exist. `kind` is one of `KINDS`.

    ModelError for what CTranslate2 does not support, or if the library is not installed. WorkError if the exported
    model does not compute the same as the model; the folder is then removed.
    """
    folder = Path(folder)
    if kind not in KINDS:
        raise ModelError(f"the type of an exported model must be one of {', '.join(KINDS)}, but is {kind!r}.")
    if folder.exists():
        raise ModelError(f"`{folder}` must not be there yet. Choose another {argument('folder', flag='--output')}.")
    if not isinstance(model, Model):
        raise ModelError("a model that transformers computes cannot be written for CTranslate2. Use its own converter.")
    check_whole(model.network, "an export")
    check_describable(model.parts)
    if isinstance(model.network, Ensemble):
        raise ModelError("one model is exported at a time, but this is an ensemble. Export its members.")
    try:
        import ctranslate2  # noqa: F401
    except ImportError as error:
        what = argument("export_ctranslate2", flag="`--to ctranslate2`")
        raise ModelError(
            f"{what} needs the library ctranslate2, which is not installed. "
            "Install it: pip install 'antiphon[ctranslate2]'."
        ) from error
    vocabularies, trial = _vocabularies(model), _try(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as made:
        place = Path(made) / "model"
        _write(model, place, vocabularies, kind="float32")
        report = _compare(place, vocabularies, trial)
        if not report.difference <= MAX_DIFFERENCE:
            raise WorkError(
                f"the exported model must give each token the model's log-probability to {MAX_DIFFERENCE} nats, "
                f"but one differs by {report.difference:.3g}. Nothing was written: please report it with the model's "
                "config.json."
            )
        if kind != "float32":
            # The weights are right. The remaining difference is rounding, which is only reported.
            shutil.rmtree(place)
            _write(model, place, vocabularies, kind=kind)
            report = _compare(place, vocabularies, trial)
        _accompany(model, place, vocabularies, kind=kind, report=report, name=folder.name)
        place.rename(folder)
    return report


def _write(model: Model, place: Path, vocabularies: Vocabularies, *, kind: str) -> None:
    """Write weights and vocabularies in the format of the library."""
    spec = specification(model.network, model.parts)
    with torch.no_grad():
        fill_encoder(spec.encoder, model.network)
        fill_decoder(spec.decoder, model.network)
    source, target = vocabularies
    spec.register_source_vocabulary(source)
    spec.register_target_vocabulary(target)
    special_tokens, unk = model.special_tokens, model.target_tokenizer.unk_id
    spec.config.bos_token = spec.config.decoder_start_token = target[special_tokens.start]
    spec.config.eos_token = target[special_tokens.end]
    spec.config.unk_token = target[special_tokens.pad if unk is None else unk]
    spec.config.layer_norm_epsilon = float(_epsilon(model.network))
    spec.validate()
    spec.optimize(quantization=kind)
    place.mkdir(parents=True)
    spec.save(str(place))


def _vocabularies(model: Model) -> Vocabularies:
    sizes = model.network.table_sizes
    return words(model.source_tokenizer, sizes[0]), words(model.target_tokenizer, sizes[1])


def words(tokenizer: Tokenizer, size: int) -> list[str]:
    """Unique names for `size` ids; a token whose text occurs twice has its id appended."""
    names: list[str] = []
    taken: set[str] = set()
    for id in range(size):
        name = tokenizer.pieces([id], specials=True)[0] if id < tokenizer.vocab_size else "<spare>"
        name = f"{name}#{id}" if name in taken or not name else name
        taken.add(name)
        names.append(name)
    return names


def _epsilon(network: nn.Module) -> float:
    """The epsilon of the norms: the library has one value for all of them."""
    norms = [part for part in network.modules() if isinstance(part, nn.LayerNorm | nn.RMSNorm)]
    found = {norm.eps for norm in norms if norm.eps is not None}
    if len(found) != 1:
        raise ModelError(f"CTranslate2 has one `eps` for all norms, but the model has {sorted(map(str, found))}.")
    return found.pop()


def _try(model: Model) -> ExportTrial:
    """The model's greedy answers, with end, to random sources from a fixed seed, and their scores."""
    rows, end = _sources(model), model.special_tokens.end
    config = GenerationConfig(beam_size=1, max_new_tokens=max(1, min(MAX_TRIAL_TOKENS, model.network.max_length - 2)))
    answers = [found[0].ids for found in answer(model.network, rows, config, model.special_tokens)]
    ended = [[*(id for id in ids if id != end), end] for ids in answers]
    scores = forced_scores(model.network, list(zip(rows, ended, strict=True)), model.special_tokens)
    return ExportTrial(
        rows, [model.special_tokens.with_first(ids) for ids in ended], scores, len(model.special_tokens.first)
    )


def _compare(place: Path, vocabularies: Vocabularies, trial: ExportTrial) -> ExportReport:
    """Compare the library's scores of the trial's answers with the model's."""
    import ctranslate2

    translator = ctranslate2.Translator(str(place), device="cpu", compute_type="default", inter_threads=1)
    source, target = vocabularies
    theirs = translator.score_batch(
        [[source[id] for id in row] for row in trial.rows],
        [[target[id] for id in ids[:-1]] for ids in trial.answers],
    )
    counts = [len(ids) - trial.forced for ids in trial.answers]
    difference = max(
        abs(own - sum(other.log_probs[trial.forced :])) / count
        for own, other, count in zip(trial.scores, theirs, counts, strict=True)
    )
    return ExportReport(float(difference), sum(counts), len(counts))


def _sources(model: Model) -> list[list[int]]:
    """Random rows of ids of several lengths, with the tokenizer's special tokens around them."""
    tokenizer = model.source_tokenizer
    usual = tokenizer.visible(range(tokenizer.vocab_size))
    chosen = torch.Generator().manual_seed(0)
    most = max(1, min(MAX_TRIAL_TOKENS, model.network.max_length - 4))
    return [
        tokenizer.enclose([usual[int(torch.randint(len(usual), (), generator=chosen))] for _ in range(length)])
        for length in (1 + (most - 1) * i // (TRIAL_SOURCES - 1) for i in range(TRIAL_SOURCES))
    ]


def _accompany(
    model: Model, place: Path, vocabularies: Vocabularies, *, kind: str, report: ExportReport, name: str
) -> None:
    """Write the other files that a program needs: tokenizers, ids.json, README."""
    for side, tokenizer in (("source", model.source_tokenizer), ("target", model.target_tokenizer)):
        tokenizer.save(place / f"{side}_tokenizer")
    shared = (place / "shared_vocabulary.json").exists()
    files = {side: "shared_vocabulary.json" if shared else f"{side}_vocabulary.json" for side in ("source", "target")}
    target = vocabularies[1]
    ids: dict[str, Any] = {
        "vocabularies": files,
        "first": [target[id] for id in model.special_tokens.first],
        "never": [target[id] for id in model.special_tokens.suppressed if id < len(target)],
    }
    write_json(place / "ids.json", ids)
    text = page(
        model,
        target,
        name=name,
        kind=kind,
        difference=report.difference,
        answers=report.answers,
        example="in 3 hours",
    )
    (place / "README.md").write_text(text, encoding="utf-8")
