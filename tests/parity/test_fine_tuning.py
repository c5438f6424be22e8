"""Training that begins as a published checkpoint, against transformers: the loss of a batch and its gradients, and the
way back after some steps.

The reference's tables leave the padding's vector out of their gradient (`padding_idx`), though Marian and Pegasus begin
their answers with it; here that is put right.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from counts import count
from parity import reference
from parity.test_families import difference, our_logits, their_logits, unnarrowed, wide_reference, widen
from text import hub
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedModel

import antiphon
from antiphon.errors import ConfigError
from antiphon.models.folders.checkpoint import load_weights
from antiphon.models.folders.hub import express
from antiphon.recipe import from_mapping
from antiphon.workflows.base import InitialModel, find_base
from antiphon.workflows.job import TrainingJob
from antiphon.workflows.train import train

__all__ = ["wide_reference"]  # a fixture that every test here uses
PAIRS = [(f"w{i} w{i + 1} w9 w{i}", f"w{i + 2} w{9 + i % 5} w{i}" if i % 3 else f"w{i}") for i in range(8, 36)]
FIRST = 7  # the language of mBART and M2M-100


def checkpoint(name: str, folder: Path, *, seed: int = 1) -> PreTrainedModel:
    """A random checkpoint with a tokenizer of words; the languages of those that have them are forced."""
    theirs = reference.make(reference.FAMILIES[name], seed, folder)
    config = theirs.config
    specials = {config.pad_token_id: "<pad>", config.eos_token_id: "</s>", 3: "<unk>"}
    specials.setdefault(getattr(config, "bos_token_id", None) or 0, "<s>")
    rust = RustTokenizer(WordLevel({specials.get(id, f"w{id}"): id for id in range(40)}, unk_token="<unk>"))
    rust.pre_tokenizer = Whitespace()
    rust.add_special_tokens(list(specials.values()))
    end = [("</s>", config.eos_token_id)]
    rust.post_processor = TemplateProcessing(single="$A </s>", special_tokens=end)
    rust.save(str(folder / "tokenizer.json"))
    if name in ("mbart", "m2m_100"):
        theirs.generation_config.forced_bos_token_id = FIRST
        theirs.generation_config.save_pretrained(folder)
    return theirs


def recipe(base: Path, output: Path, **sections: Any) -> dict[str, Any]:
    training = {
        "max_steps": 4,
        "batch_tokens": 200,
        "warmup_steps": 1,
        "lr": 3e-3,
        "label_smoothing": 0,
        **sections.pop("training", {}),
    }
    made = {"data": {"train": PAIRS}, "model": {"base": str(base)}, "training": training, "output": str(output)}
    return {**made, **sections}


def their_ids(text: str, *before: int, end: int) -> list[int]:
    return [*before, *(int(word[1:]) for word in text.split(" ")), end]


def padded(rows: list[list[int]], filler: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])


@pytest.mark.parametrize("name", reference.FAMILIES)
def test_loss_and_gradients_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    theirs = widen(checkpoint(name, tmp_path / "theirs"))
    config = from_mapping(recipe(tmp_path / "theirs", tmp_path / "run", data={"train": PAIRS, "valid": PAIRS}))
    begin = find_base(config, tmp_path / "run").parts
    begin = replace(begin, network=antiphon.load(tmp_path / "theirs", dtype="float64").network)
    job = TrainingJob(config, tmp_path / "run", torch.device("cpu"), base=InitialModel(begin), quiet=True)
    examples = next(job.loop.parts.batches)
    found = job.network(job.loop.collate(examples), job.loop.objective.criterion)
    loss = found.objective / found.labels
    loss.backward()

    ids = theirs.config
    forced = theirs.generation_config.forced_bos_token_id
    end, first = ids.eos_token_id, [] if forced is None else [forced]
    assert first == [FIRST] or name not in ("mbart", "m2m_100")
    texts = [PAIRS[example.index] for example in examples]
    source = padded([their_ids(text, end=end) for text, _ in texts], ids.pad_token_id)
    labels = padded([their_ids(text, *first, end=end) for _, text in texts], -100)
    for where, module in theirs.named_modules():
        if isinstance(module, torch.nn.Embedding) and where.endswith(("shared", "embed_tokens")):
            module.padding_idx = None
    mask = torch.zeros_like(source)
    for row, (text, _) in enumerate(texts):
        mask[row, : len(text.split(" ")) + 1] = 1
    wanted: Tensor = unnarrowed(theirs.requires_grad_(True))(input_ids=source, attention_mask=mask, labels=labels).loss
    wanted.backward()
    assert abs(float(loss.detach() - wanted.detach())) < 1e-9
    family, ours, _ = express(replace(begin, network=job.network))
    # Texts alone train no vision encoder.
    own = {key: weight for key, weight in job.network.named_parameters() if ".vision." not in key}
    compared = 0
    for row in family.rows(ours):
        if row.ours == "output_bias" or ".vision." in row.ours:  # a buffer on both sides
            continue
        gradient, expected = own[row.ours].grad, theirs.get_parameter(family.in_modules(row.theirs)).grad
        assert gradient is not None and expected is not None, row.ours
        expected = row.op.ours(expected) - row.op.ours(torch.zeros_like(expected))  # what it adds has no gradient
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)
        compared += 1
    assert compared == len(own)

    assert job.validate is not None
    everything = padded([their_ids(text, *first, end=end) for _, text in PAIRS], -100)
    read = padded([their_ids(text, end=end) for text, _ in PAIRS], ids.pad_token_id)
    with torch.no_grad():
        alone = unnarrowed(theirs)(input_ids=read, labels=everything).loss  # sources of one length
        measured = job.validate.loss(job.network.eval(), lambda: False)
        assert measured is not None and abs(measured - float(alone)) < 1e-9


@pytest.mark.parametrize("name", ["t5", "bart", "marian", "mbart"])
def test_after_some_steps_transformers_reads_it_back(name: str, tmp_path: Path) -> None:
    before = checkpoint(name, tmp_path / "theirs")
    data = {"train": PAIRS, "valid": PAIRS[:4]}
    made = recipe(tmp_path / "theirs", tmp_path / "run", data=data, validation={"every_steps": 2, "metrics": ["chrf"]})
    run = train(made, quiet=True)
    assert run.model.parts.model.family is not None
    tuned = antiphon.load(run.folder, dtype="float64")
    tuned.save(tmp_path / "back", format="huggingface")
    theirs = widen(type(before).from_pretrained(tmp_path / "back", dtype=torch.float64).eval())
    sources, targets = [[8, 9, 12, before.config.eos_token_id], [30, 2]], [[9, 8], [20, 21, 22]]
    wanted = their_logits(theirs, sources, targets)
    assert difference(our_logits(tuned, sources, targets), wanted) < 1e-10
    assert difference(their_logits(widen(before), sources, targets), wanted) > 1e-4  # it has learned
    again = antiphon.load(tmp_path / "back")
    assert again.special_tokens == tuned.special_tokens == run.model.special_tokens
    # The folder has a limit where ours has none (F8), which matters to an answer that never ends.
    answers = [model.generate("w8 w9", max_new_tokens=9) for model in (again, antiphon.load(run.folder))]
    assert answers[0][0].tokens == answers[1][0].tokens


RESUMED = [  # all of the families, and each with the next ways in turn
    (name, [None, "lora", "dora"][(number + i) % 3])
    for number, name in enumerate(["t5", "marian", "mbart"])
    for i in range(count("resumed_adapters"))
]


@pytest.mark.parametrize(("name", "adapter"), RESUMED)
def test_resumed_is_uninterrupted_and_merged_is_unmerged(name: str, adapter: str | None, tmp_path: Path) -> None:
    if adapter:
        pytest.importorskip("peft")
    base = tmp_path / "theirs"
    checkpoint(name, base)
    training: dict[str, Any] = {"max_steps": 6, "save_every_steps": 3, "lr": 1e-2}
    training |= {"adapter": {"kind": adapter, "rank": 2}} if adapter else {}
    whole = train(recipe(base, tmp_path / "whole", training=training), quiet=True)
    train(recipe(base, tmp_path / "parts", training={**training, "max_steps": 3}), quiet=True)
    parts = train(recipe(base, tmp_path / "parts", training=training), resume=True, quiet=True)
    mine, other = (load_weights(run.folder / "model" / "model.safetensors") for run in (whole, parts))
    assert mine.keys() == other.keys() and all(torch.equal(mine[key], other[key]) for key in mine)
    if adapter:
        apart, sources, targets = antiphon.load(base, adapter=whole.folder / "adapter"), [[8, 9, 12]], [[9, 8, 10]]
        plain = our_logits(antiphon.load(base), sources, targets)
        merged = our_logits(antiphon.load(whole.folder), sources, targets)
        assert difference(our_logits(apart, sources, targets), merged) < 1e-4
        assert difference(plain, merged) > 1e-3


def test_tasks_by_prefix_and_sentiment_by_restricted_labels(tmp_path: Path) -> None:
    base = tmp_path / "theirs"
    theirs = checkpoint("t5", base)
    for parameter in theirs.parameters():  # a size at which it learns fast
        parameter.data.mul_(0.3 if parameter.dim() > 1 else 1.0)
    theirs.save_pretrained(base)
    rows = [("w8 w9", "w20"), ("w10 w11", "w21"), ("w8 w12", "w20"), ("w10 w13", "w21")] * 3
    file = tmp_path / "rows.tsv"
    file.write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    data = {"train": {"path": str(file), "source_field": "w30 w31 {sentence}", "target_field": "label"}}
    training = {"max_steps": 60, "lr": 1e-2, "batch_tokens": 400}
    run = train(recipe(base, tmp_path / "run", data=data, task="classification", training=training), quiet=True)
    model = antiphon.load(run.folder)
    assert model.labels == ["w20", "w21"]
    answers = model.generate([f"w30 w31 {text}" for text, _ in rows])
    assert [answer.text for answer in answers] == [label for _, label in rows]
    scores = model.score([f"w30 w31 {rows[0][0]}"], ["w20"])
    assert answers[0].score == pytest.approx(scores[0], abs=1e-5)


def test_a_teacher_must_begin_answers_as_the_student(tmp_path: Path) -> None:
    base = tmp_path / "theirs"
    theirs = checkpoint("mbart", base)
    training = {"max_steps": 2, "distillation": {"teacher": str(base)}}
    train(recipe(base, tmp_path / "run", training=training), quiet=True)
    other = tmp_path / "unforced"
    shutil.copytree(base, other)
    theirs.generation_config.forced_bos_token_id = None
    theirs.generation_config.save_pretrained(other)
    with pytest.raises(
        ConfigError, match=r"teacher` must begin and end answers as the student does, but `first` is 7 "
    ):
        train(recipe(other, tmp_path / "other", training=training), quiet=True)


def test_frozen_parts_and_rates_by_layer(tmp_path: Path) -> None:
    base = tmp_path / "theirs"
    checkpoint("t5", base)
    groups = [{"match": "source.*", "freeze": True}, {"match": "encoder.layers.0.*", "freeze": True}]
    training = {"groups": groups, "layer_decay": 0.5, "weight_decay": 0.0}
    run = train(recipe(base, tmp_path / "run", training=training), quiet=True)
    before = dict(antiphon.load(base).network.named_parameters())
    still = {name for name, tensor in run.model.network.named_parameters() if torch.equal(tensor, before[name])}
    assert still == {name for name in before if name.startswith(("source.", "encoder.layers.0."))}


def test_answers_are_enclosed_as_the_model_does(tmp_path: Path) -> None:
    base = tmp_path / "theirs"
    checkpoint("mbart", base)
    rust = RustTokenizer.from_file(str(base / "tokenizer.json"))
    rust.post_processor = TemplateProcessing(single="w8 $A </s>", special_tokens=[("w8", 8), ("</s>", 2)])
    rust.save(str(base / "tokenizer.json"))
    config = from_mapping(recipe(base, tmp_path / "run"))
    job = TrainingJob(
        config, tmp_path / "run", torch.device("cpu"), base=find_base(config, tmp_path / "run"), quiet=True
    )
    example = next(job.loop.parts.batches)[0]  # what encloses a source stands around no answer
    source, target = PAIRS[example.index]
    assert (example.source, example.target) == (their_ids(source, 8, end=2), their_ids(target, FIRST, end=2))


def with_text(name: str, folder: Path) -> tuple[PreTrainedModel, hub.HubFolder]:
    """A random model around a folder's real tokenizer."""
    made = hub.make(name, folder, hub.sentences())
    dice, size = random.Random(0), len(made.reference)
    if name == "t5":
        theirs = reference.t5(dice, vocab_size=size + 28, d_model=16)  # spare rows, as those of t5-small
    else:
        keys: dict[str, Any] = reference.fairseq_settings(dice)
        keys |= {"vocab_size": size, "decoder_start_token_id": 2}
        theirs = transformers.MBartForConditionalGeneration(transformers.MBartConfig(**keys))
    reference.randomize(theirs, 0)
    theirs.save_pretrained(folder)
    return theirs, made


def test_the_languages_of_a_recipe_are_those_of_its_targets(tmp_path: Path) -> None:
    base = tmp_path / "theirs"
    _, made = with_text("mbart50", base)
    spoken = made.reference.__class__.from_pretrained(base, src_lang="en_XX", tgt_lang="de_DE")
    pairs = [("the hot word", "das Haus"), ("how did they see", "der Hund läuft schnell")] * 4
    languages = {"source_language": "en_XX", "target_language": "de_DE"}
    config = from_mapping(recipe(base, tmp_path / "run", data={"train": pairs}, generation=languages))
    job = TrainingJob(
        config, tmp_path / "run", torch.device("cpu"), base=find_base(config, tmp_path / "run"), quiet=True
    )
    for example in next(job.loop.parts.batches):
        source, target = pairs[example.index]
        wanted = spoken(source, text_target=target)
        assert (example.source, example.target) == (wanted["input_ids"], wanted["labels"])
    run = train(config, quiet=True)
    assert antiphon.load(run.folder).special_tokens.first == (spoken.convert_tokens_to_ids("de_DE"),)


def test_transformers_reads_a_changed_vocabulary(tmp_path: Path) -> None:
    base = tmp_path / "theirs"
    theirs, made = with_text("t5", base)
    pairs = [("<ago> the hot word", "das Haus"), ("how did they see", "der Hund läuft schnell")] * 4
    changed = {"trim": True, "add": ["<ago>"]}
    run = train(recipe(base, tmp_path / "run", data={"train": pairs}, tokenizer=changed), quiet=True)
    tuned = antiphon.load(run.folder, dtype="float64")
    tuned.save(tmp_path / "back", format="huggingface")
    reader = made.reference.__class__.from_pretrained(tmp_path / "back")
    for source, target in pairs:
        for text in (source, target):
            assert reader(text)["input_ids"] == tuned.tokenizer.encode(text)
    model = widen(type(theirs).from_pretrained(tmp_path / "back", dtype=torch.float64).eval())
    ids = [tuned.tokenizer.encode(text) for pair in pairs[:2] for text in pair]
    assert difference(our_logits(tuned, ids[::2], ids[1::2]), their_logits(model, ids[::2], ids[1::2])) < 1e-10
