"""What an encoder needs for a long row is known before it is asked for, and long sources take little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from models.test_hub import BART, T5
from torch import Tensor
from workflows.test_fine_tuning import published

import antiphon
from antiphon.batch import Tokens
from antiphon.errors import ConfigError, DataError
from antiphon.inputs.long_texts import split
from antiphon.models import footprint
from antiphon.models.folders.lengths import usual_length
from antiphon.models.footprint import available_bytes, needed_bytes
from antiphon.nn.mixers import Memory
from antiphon.nn.rules.biases import Relative
from antiphon.runtime.stepper import DecodeStepper

SMALL = {**T5, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_decoder_layers": 2, "num_heads": 4}
# VmHWM is of this program alone: `ru_maxrss` of a child begins at what its parent held.
HIGH_WATER = """
def peak(name="VmHWM"):
    return int(open("/proc/self/status").read().split(name + ":")[1].split()[0])
"""
PEAK = """
import sys
import torch
import antiphon
from antiphon.batch import Tokens
from antiphon.models.footprint import needed_bytes
torch.set_num_threads(1)
network = antiphon.load(sys.argv[1]).network
def row(length):
    return torch.ones(1, length, dtype=torch.long), Tokens(torch.arange(length)[None])
with torch.inference_mode():
    network.encode(*row(64))
    before = peak("VmRSS")  # without what only loading took
    network.encode(*row(3000))
    after = peak()
    print((after - before) * 1024, needed_bytes(network.encoder, length=3000))
"""
LONG_TEXTS = """
import sys, time
import torch
import antiphon
from antiphon.errors import DataError
torch.set_num_threads(1)
model = antiphon.load(sys.argv[1])
text = " ".join(f"word{n % 97}." for n in range(7500))
model.generate("a word", max_new_tokens=2)
before = peak()
for overflow in ("error", "truncate", "window", "split"):
    began = time.process_time()
    try:
        model.generate(text, overflow=overflow, max_new_tokens=2)
        said = "answer"
    except DataError as error:
        said = "refused" if "\\n" not in str(error) else "lines"
    after = peak()
    print(overflow, said, time.process_time() - began, (after - before) * 1024)
"""


def run(code: str, folder: Path) -> list[list[str]]:
    command = [sys.executable, "-c", HIGH_WATER + code, str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [line.split() for line in made.stdout.splitlines()]


def test_sixty_thousand_tokens_take_less_than_a_gigabyte(tmp_path: Path) -> None:
    # S1: 11.9 GB under `window`, and no end under `truncate` and `split`. The answers are two tokens long, since
    # random weights end none.
    folder = published(tmp_path / "t5", "t5", SMALL)
    assert len(antiphon.load(folder).tokenizer.encode(" ".join(f"word{n % 97}." for n in range(7500)))) > 58_000
    for overflow, said, seconds, memory in run(LONG_TEXTS, folder):
        assert said == ("refused" if overflow == "error" else "answer")
        assert float(seconds) < 10, overflow
        assert float(memory) < 1e9, overflow


def test_the_bias_of_distances_is_computed_once_for_each_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It was computed for each pair of tokens of each window, which took a third of the time of 60,000 tokens.
    model, sizes, rows = antiphon.load(published(tmp_path / "t5", "t5", T5)), [], []
    text, limit = "word " * 2000, 64
    whole = model.score([text], ["b"], overflow="window", max_source_tokens=limit)[0]
    bucket, encode = Relative.bucket, model.network._encode

    def looked_up(rule: Relative, offset: Tensor) -> Tensor:
        sizes.append(offset.numel())
        return bucket(rule, offset)

    def encoded(ids: Tensor, tokens: Tokens) -> Memory:
        rows.append((ids.shape[0], tokens.pos.shape[0]))
        return encode(ids, tokens)

    monkeypatch.setattr(Relative, "bucket", looked_up)
    monkeypatch.setattr(model.network, "_encode", encoded)
    assert model.score([text], ["b"], overflow="window", max_source_tokens=limit)[0] == whole
    rules = [rule for rule in model.network.modules() if isinstance(rule, Relative)]
    assert sizes and max(sizes) <= max(2 * rule.max_distance + 1 for rule in rules)
    assert len(rows) > 4 and all(positions == 1 for _, positions in rows[:-1])  # the last window is shorter
    monkeypatch.setattr(Relative, "_buckets", bucket)
    assert model.score([text], ["b"], overflow="window", max_source_tokens=limit)[0] == whole


@pytest.mark.parametrize(("overflow", "limit"), [("truncate", 2 * 60 + 32), ("window", 512), ("split", 2 * 60 + 32)])
def test_the_steps_of_a_long_source_are_bounded(
    overflow: str, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Steps are counted, since seconds depend on the load of the machine. Random weights end few answers, so that each
    # may run to its limit: 2 x source + 32 of a source or a part, 512 of a source in windows. 256 parts run together.
    model, rows = antiphon.load(published(tmp_path / "t5", "t5", T5)), []
    step = DecodeStepper.step

    def counted(stepper: DecodeStepper, *given: Any, **settings: Any) -> None:
        rows.append(stepper.sources)
        step(stepper, *given, **settings)

    settings = {"overflow": overflow, "max_source_tokens": 60, "max_new_tokens": None, "beam_size": 1}
    model.generate("a", **settings)  # whether steps can be recorded is found out here
    monkeypatch.setattr(DecodeStepper, "step", counted)
    text = "word " * 2400
    [answer] = model.generate(text, **settings)
    parts = len(split(text, tokenizer=model.tokenizer, limit=60)) if overflow == "split" else 1
    assert rows[0] == parts < 256
    assert limit / 2 < len(rows) <= limit
    assert len(answer.tokens) <= parts * limit


def test_what_is_counted_is_most_of_the_peak(tmp_path: Path) -> None:
    [[peak, counted]] = run(PEAK, published(tmp_path / "t5", "t5", SMALL))
    assert 0.5 * float(peak) < float(counted) <= float(peak)


def test_what_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = antiphon.load(published(tmp_path / "t5", "t5", SMALL))
    needed = needed_bytes(model.network.encoder, length=2500)
    ids, text = model.tokenizer.encode("a" * 2499), "a" * 2499
    assert len(ids) == 2500
    how = {"max_source_tokens": 2500, "max_new_tokens": 1}
    monkeypatch.setattr(footprint, "available_bytes", lambda device: needed - 1)
    monkeypatch.setattr(type(model.network.encoder), "forward", lambda *_: pytest.fail("memory was asked for"))
    for call in (
        lambda: model.generate(text, **how),
        lambda: model.score([text], ["b"], max_source_tokens=2500),
        lambda: list(model.stream(text, **how)),
    ):
        with pytest.raises(DataError, match=r"2,500 tokens must fit memory, but .* GB at least, and .* `overflow` to"):
            call()
    monkeypatch.undo()
    monkeypatch.setattr(footprint, "available_bytes", lambda device: needed)
    assert model.generate(text, **how)
    monkeypatch.setattr(footprint, "available_bytes", lambda device: 0)
    assert model.generate(text, overflow="window", max_new_tokens=1)  # which asks for rows of 512


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    assert footprint._of_group(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    assert footprint._of_group(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 100000\n")
    assert footprint._of_group(tmp_path) == 400_000
    (tmp_path / "memory.current").write_text("2000000\n")
    assert footprint._of_group(tmp_path) == 0
    assert available_bytes(torch.device("meta")) is None
    found = available_bytes(torch.device("cpu"))
    assert found is not None and found > 0


@pytest.mark.parametrize(
    ("family", "tokenizer_config", "config", "limit"),
    [
        ("t5", '{"model_max_length": 100}', {}, 100),
        ("t5", '{"model_max_length": 1000000000000000019884624838656}', {}, 512),
        ("t5", '{"model_max_length": 1000000000000000019884624838656}', {"n_positions": 300}, 300),
        ("t5", '{"model_max_length": 100.0}', {"n_positions": 300}, 100),
        ("t5", '{"model_max_length": "long"}', {"n_positions": True}, 512),
        ("t5", '{"model_max_length": 100000}', {}, None),
        ("t5", None, {}, 512),
        ("mt5", None, {}, 1024),
        ("bart", None, {}, None),
        ("bart", '{"model_max_length": 30}', {}, 30),
    ],
)
def test_a_published_folder_has_its_own_limit(
    family: str, tokenizer_config: str | None, config: dict[str, object], limit: int | None, tmp_path: Path
) -> None:
    folder = published(tmp_path / "folder", family, BART if family == "bart" else T5)
    tokenizer = antiphon.load(folder).tokenizer
    (folder / "tokenizer_config.json").unlink()
    if tokenizer_config is not None:
        (folder / "tokenizer_config.json").write_text(tokenizer_config)
    most = 40 if family == "bart" else 16384
    assert usual_length(folder, {"model_type": family, **config}, tokenizer, most=most) == limit


def test_a_limit_holds_for_every_overflow(tmp_path: Path) -> None:
    model = antiphon.load(published(tmp_path / "t5", "t5", T5))
    assert model.generation.max_source_tokens == 512
    text = "ab " * 30
    with pytest.raises(DataError, match=r"at most 20 tokens \(`max_source_tokens`.*has 91.*up to .* \(16384\)"):
        model.generate(text, max_source_tokens=20)
    with pytest.raises(DataError, match="input 1 must have at most 512 tokens"):
        model.generate("a" * 600)
    assert model.generate("a" * 600, max_source_tokens=700, max_new_tokens=2)
    with pytest.raises(ConfigError, match=r"`max_source_tokens` must be at most the model's max_length \(16384\)"):
        model.generate(text, max_source_tokens=20000)
    first = model.tokenizer.decode(model.tokenizer.encode(text)[:19])
    [cut], [alone] = model.generate(text, overflow="truncate", max_source_tokens=20), model.generate(first)
    assert cut.text == alone.text
    scores = {
        how: model.score([text], ["b"], overflow=how, max_source_tokens=limit)[0]
        for how, limit in (("truncate", 20), ("window", 20), ("error", None))
    }
    assert scores["truncate"] == pytest.approx(model.score([first], ["b"])[0])
    assert len({round(score, 6) for score in scores.values()}) == 3
    maps = model.attention(text, "b", overflow="window", max_source_tokens=20)
    assert maps.encoder is not None
    assert float(maps.encoder[0, 0, 0, 20:].abs().max()) == 0


def test_windows_are_encoded_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = antiphon.load(published(tmp_path / "t5", "t5", T5)), []
    whole = model.score(["word " * 2000], ["b"], overflow="window")[0]
    encode = model.network._encode
    monkeypatch.setattr(model.network, "_encode", lambda ids, tokens: sizes.append(ids.numel()) or encode(ids, tokens))
    assert model.score(["word " * 2000], ["b"], overflow="window")[0] == whole
    assert len(sizes) > 4 and max(sizes) <= 2048
    monkeypatch.setattr("antiphon.models.seq2seq.AT_ONCE", 10**9)
    assert model.score(["word " * 2000], ["b"], overflow="window")[0] == pytest.approx(whole, abs=1e-5)


def test_a_folder_that_is_written_keeps_the_limit(tmp_path: Path) -> None:
    folder = published(tmp_path / "t5", "t5", T5)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 77}')
    model = antiphon.load(folder)
    for form in ("huggingface", "antiphon"):
        model.save(tmp_path / form, format=form)
        assert antiphon.load(tmp_path / form).generation.max_source_tokens == 77
