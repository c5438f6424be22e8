"""Fine-tuning of Whisper: its loss is transformers', and a run on .wav files learns, with all weights and with LoRA."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from generation.test_timed import TIMED, timed_model
from inputs.test_sound import write_wav
from parity import whisper

import antiphon
from antiphon.errors import ConfigError, DataError
from antiphon.recipe import from_mapping
from antiphon.workflows import train
from antiphon.workflows.base import InitialModel, find_base
from antiphon.workflows.job import TrainingJob

WORDS = ("in", "hours")


def clips(folder: Path, *, rate: int, seconds: float, count: int = 12) -> list[tuple[str, str]]:
    """Clips with tones, a high one for each of the second word; their names and words."""
    dice, rows = random.Random(0), []
    for number in range(count):
        tone = torch.arange(int(rate * seconds * dice.uniform(0.5, 1))) * (0.1, 0.9)[number % 2]
        noise = torch.randn(len(tone), generator=torch.Generator().manual_seed(number))
        samples = ((tone.sin() + 0.1 * noise) * 8000).int().tolist()
        write_wav(folder / f"{number}.wav", samples, rate=rate)
        rows.append((str(folder / f"{number}.wav"), WORDS[number % 2]))
    return rows


def recipe(base: Path, output: Path, pairs: Any, **sections: Any) -> dict[str, Any]:
    training = {"max_steps": 40, "batch_tokens": 64, "lr": 1e-2, "warmup_steps": 2, "label_smoothing": 0}
    return {
        "task": "transcription",
        "data": {"train": pairs, "valid": pairs},
        "model": {"base": str(base)},
        "training": training,
        "generation": {"beam_size": 1, "source_language": "de", "max_new_tokens": 8},
        "output": str(output),
        **sections,
    }


def test_the_loss_and_its_gradients_are_those_of_transformers(tmp_path: Path) -> None:
    theirs = whisper.make_timed(2, tmp_path / "theirs").double()
    assert theirs.generation_config.lang_to_id
    rows = clips(tmp_path, rate=16000, seconds=1, count=4)
    config = from_mapping(
        recipe(
            tmp_path / "theirs",
            tmp_path / "run",
            rows,
            training={"batch_tokens": 400, "max_steps": 1, "label_smoothing": 0},
        )
    )
    begin = find_base(config, tmp_path / "run").parts
    begin = replace(begin, network=antiphon.load(tmp_path / "theirs", dtype="float64").network)
    job = TrainingJob(config, tmp_path / "run", torch.device("cpu"), base=InitialModel(begin), quiet=True)
    examples = next(job.loop.parts.batches)
    found = job.network(job.loop.collate(examples), job.loop.objective.criterion)
    (found.objective / found.labels).backward()

    prompt, tokenizer = [whisper.GERMAN, whisper.TRANSCRIBE, whisper.UNTIMED], job.data.tokenizers[1]
    wanted = [[*prompt, *tokenizer.alone(rows[one.index][1]), whisper.END] for one in examples]
    assert [one.target for one in examples] == wanted
    width = max(map(len, wanted))
    filled = torch.tensor([[*ids, *[-100] * (width - len(ids))] for ids in wanted])
    features = torch.stack([one.source.load().T for one in examples]).double()
    theirs.train()
    loss = theirs(input_features=features, labels=filled).loss
    loss.backward()
    assert found.objective.item() / float(found.labels) == pytest.approx(loss.item(), abs=1e-8)
    ours = dict(job.network.named_parameters())["encoder.layers.0.mixer.q.weight"].grad
    assert torch.allclose(ours, theirs.model.encoder.layers[0].self_attn.q_proj.weight.grad, atol=1e-8)


@pytest.mark.parametrize("lora", [False, True])
def test_a_run_learns_from_files(lora: bool, tmp_path: Path) -> None:
    base = timed_model(tasks=(("transcribe", 268),))
    base.network.float()
    folder = base.save(tmp_path / "base")
    rows = clips(tmp_path, rate=1000, seconds=1)
    sections = recipe(folder, tmp_path / "run", rows, validation={"every_steps": 10})
    sections["training"] |= {"max_steps": 20, "adapter": {"kind": "lora", "rank": 4}} if lora else {"max_steps": 60}
    if lora:
        pytest.importorskip("peft")
    run = train(sections, quiet=True)
    losses = [row["valid_loss"] for row in run.metrics if "valid_loss" in row]
    assert losses[-1] < 0.9 * losses[0]
    names = [name for name, _ in rows]
    answers = run.model.generate(names)
    if not lora:
        assert [answer.text for answer in answers] == [text for _, text in rows]
    again = antiphon.load(tmp_path / "run")
    assert again.generation.source_language == "de"
    assert [answer.text for answer in again.generate(names)] == [answer.text for answer in answers]
    assert again.generate(names[0], timestamps="segments")[0].segments is not None


def test_what_cannot_be_trained_is_named(tmp_path: Path) -> None:
    base = timed_model(tasks=TIMED.tasks)
    base.network.float()
    folder, rows = base.save(tmp_path / "base"), clips(tmp_path, rate=1000, seconds=1, count=2)
    with pytest.raises(ConfigError, match=r"`model\.base`.*needs the language of its data.*`generation"):
        train(recipe(folder, tmp_path / "a", rows, generation={}), quiet=True)
    write_wav(tmp_path / "long.wav", [0, 9] * 600, rate=1000)
    for name, line in (("long.wav", r"must have at most 1 seconds.*1\.2"), ("gone.wav", "gone.wav")):
        with pytest.raises(DataError, match=line):
            train(recipe(folder, tmp_path / "b", [*rows, (str(tmp_path / name), "in")]), quiet=True)
