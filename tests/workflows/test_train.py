"""From pairs to a run folder: what is written, what is refused, resumed = uninterrupted, the average."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon
from antiphon.config import TrainConfig
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.models.folders.checkpoint import load_weights
from antiphon.nn import Alibi, Full, Window
from antiphon.recipe import dump_yaml, from_mapping, read_yaml
from antiphon.registry import unregister
from antiphon.workflows import average_run, train

WORDS = ["one", "two", "three", "four", "five", "six"]
PAIRS = [(f"{a} {b}", f"{b} {a}") for a in WORDS for b in WORDS]


def recipe(output: Path, **sections: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "data": {"train": PAIRS, "valid": PAIRS[::5]},
        "tokenizer": {"kind": "bpe", "vocab_size": 300},
        "model": {
            "preset": "tiny",
            "d_model": 32,
            "ffn_dim": 48,
            "num_heads": 2,
            "encoder_layers": 1,
            "decoder_layers": 1,
        },
        "training": {
            "max_steps": 20,
            "batch_tokens": 200,
            "save_every_steps": 5,
            "log_every_steps": 5,
            "warmup_steps": 5,
        },
        "validation": {"every_steps": 10, "metrics": ["chrf"], "samples": 1},
        "output": str(output),
    }
    for name, section in sections.items():
        base[name] = {**base.get(name, {}), **section} if isinstance(section, dict) else section
    return base


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_run_folder_holds_what_is_promised(tmp_path: Path) -> None:
    run = train(recipe(tmp_path / "run"), quiet=True)
    assert run.folder == tmp_path / "run"
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "config.yaml", "metrics.jsonl", "model", "report.html", "run.json", "samples.jsonl", "snapshots", "tokenizers",
        "valid_answers.jsonl",
    ]  # fmt: skip
    assert sorted(path.name for path in (run.folder / "model").iterdir()) == [
        "README.md", "config.json", "generation.json", "model.safetensors", "task.json", "tokenizer.json",
    ]  # fmt: skip
    measured, validated = run.metrics[0], next(row for row in run.metrics if "valid_loss" in row)
    for key in [
        "step",
        "epoch",
        "time_seconds",
        "loss",
        "nll",
        "lr",
        "grad_norm",
        "tokens_per_second",
        "padding_waste",
        "peak_memory_bytes",
        "trainable_parameters",
    ]:
        assert key in measured
    assert validated["step"] == 10 and "chrf" in validated
    sample = json.loads((run.folder / "samples.jsonl").read_text().splitlines()[0])
    assert sorted(sample) == ["answer", "reference", "source", "step"]
    assert run.model.generate("one two")[0].text == antiphon.load(run.folder).generate("one two")[0].text


def test_resumed_is_uninterrupted(tmp_path: Path) -> None:
    train(recipe(tmp_path / "whole"), quiet=True)
    train(recipe(tmp_path / "parts", training={"max_steps": 10}), quiet=True)
    train(recipe(tmp_path / "parts"), resume=True, quiet=True)
    for file in (
        "model/model.safetensors",
        "snapshots/step-20/weights.safetensors",
        "snapshots/step-20/optimizer.safetensors",
    ):
        assert digest(tmp_path / "whole" / file) == digest(tmp_path / "parts" / file)
    for file in ("samples.jsonl", "valid_answers.jsonl"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()


def test_a_resume_may_change_when_it_logs_saves_and_validates(tmp_path: Path) -> None:
    first = recipe(tmp_path / "run", training={"max_steps": 10})
    train(first, quiet=True)
    more = recipe(tmp_path / "run", validation={"samples": 0})
    del more["training"]["log_every_steps"], more["training"]["save_every_steps"], more["validation"]["every_steps"]
    more["training"] |= {"log_every": "1 epoch", "save_every": "2 epochs"}
    more["validation"] |= {"every": "1 epoch"}
    run = train(more, resume=True, quiet=True)
    passes = {row["epoch"] for row in run.metrics if row["step"] > 10}
    assert {row["epoch"] for row in run.metrics if "chrf" in row and row["step"] > 10} == passes and len(passes) > 1
    with pytest.raises(ConfigError, match=r"`validation.metrics` was"):
        train({**more, "validation": {"every": "1 epoch", "metrics": ["bleu"]}}, resume=True, quiet=True)


def test_resume_starts_where_there_is_no_run_and_ends_at_once_where_it_is_done(tmp_path: Path) -> None:
    first = train(recipe(tmp_path / "run"), resume=True, quiet=True)
    log = (first.folder / "metrics.jsonl").read_bytes()
    again = train(recipe(tmp_path / "run"), resume=True, quiet=True)
    assert again.reason == first.reason and (first.folder / "metrics.jsonl").read_bytes() == log


def test_a_folder_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"must not exist yet, but does, and is no run.*another `output`"):
        train(recipe(tmp_path / "run"), quiet=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_run_that_another_process_trains_is_left_alone(tmp_path: Path) -> None:
    half = recipe(tmp_path / "run")
    half["training"]["max_steps"] = 10
    train(half, quiet=True)
    log = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    code = (
        f"import sys\nfrom pathlib import Path\nfrom antiphon.training.lock import exclusive_lock\n"
        f"with exclusive_lock(Path({str(tmp_path / 'run')!r})):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin is not None and other.stdout is not None
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match="must be free, but another process is training in it"):
            train(recipe(tmp_path / "run"), resume=True, quiet=True)
        assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == log
    finally:
        other.kill()
        other.wait()
    assert train(recipe(tmp_path / "run"), resume=True, quiet=True).reason == "20 steps are done"


def test_a_run_with_filters_and_every_kind_of_list_is_resumed(tmp_path: Path) -> None:
    data = {"filters": ["duplicates", {"length": {"max": 100}}, {"script": {"source": ["Latin", "Han"]}}]}
    more = {"data": data, "training": {"groups": [{"match": "encoder.*", "lr_scale": 0.5}]}}
    half = recipe(tmp_path / "parts", **more)
    half["training"]["max_steps"] = 10
    train(half, quiet=True)
    train(recipe(tmp_path / "parts", **more), resume=True, quiet=True)
    train(recipe(tmp_path / "whole", **more), quiet=True)
    one, other = (tmp_path / run / "model" / "model.safetensors" for run in ("parts", "whole"))
    assert one.read_bytes() == other.read_bytes()
    with pytest.raises(ConfigError, match=r"`data.filters` was .*100.* and is .*99"):
        data["filters"][1] = {"length": {"max": 99}}
        train(recipe(tmp_path / "parts", **more), resume=True, quiet=True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            {"filters": [{"length": {"min": 50}}]},
            r"36 pairs read, 0 kept, 36 dropped by length\. Loosen `data.filters`",
        ),
        ({"train": [("a", ""), ("", "b")]}, r"2 pairs read, 0 kept, 2 skipped with an empty side\. Give it pairs"),
        ({"max_length": 2, "overflow": "skip"}, r"0 kept, 36 skipped as too long\. Raise `data.max_length`"),
    ],
)
def test_where_nothing_is_left_to_learn_from_it_says_why(tmp_path: Path, data: dict[str, Any], words: str) -> None:
    for more in ({}, {"tokenizer": {"dropout": 0.1}}):
        with pytest.raises(DataError, match=f"the data must hold at least one pair to learn from, but .*{words}"):
            train(recipe(tmp_path / "run", data=data, **more), quiet=True)
        assert not (tmp_path / "run").exists()


def test_a_changed_recipe_is_refused_by_name(tmp_path: Path) -> None:
    train(recipe(tmp_path / "run"), quiet=True)
    with pytest.raises(ConfigError, match=r"`training.lr` was 0.001 and is 0.002"):
        train(recipe(tmp_path / "run", training={"lr": 2e-3}), resume=True, quiet=True)
    with pytest.raises(ConfigError, match=r"`data.train` was '<python: 36 pairs"):
        train(recipe(tmp_path / "run", data={"train": PAIRS[:-1]}), resume=True, quiet=True)
    train(recipe(tmp_path / "run", training={"max_steps": 22, "log_every_steps": 1}), resume=True, quiet=True)


@pytest.mark.parametrize(
    "data",
    [
        {"train": {"path": "a.tsv"}, "streaming": "always"},
        {"train": [{"path": "a.tsv"}, {"path": "b.tsv"}], "temperature": 3.0},
        {"train": [{"path": "a.tsv", "weight": 2}, {"path": "b.tsv", "weight": 1, "tag": "b"}]},
        {"train": {"path": "a.tsv"}, "valid": {"path": "b.tsv"}, "test": {"path": "b.tsv"}},
    ],
)
def test_a_run_on_files_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any]) -> None:
    monkeypatch.chdir(tmp_path)
    for name, pairs in (("a.tsv", PAIRS), ("b.tsv", PAIRS[::-3])):
        Path(name).write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    half = recipe(Path("parts"), data=data, training={"average_best": 2, "max_steps": 10})
    train(half, quiet=True)
    for output in ("parts", "whole"):
        made = recipe(Path(output), data=data, training={"average_best": 2})
        train(made, resume=output == "parts", quiet=True)
    one, other = (Path(run, "model", "model.safetensors") for run in ("parts", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_a_run_of_a_version_with_fewer_settings_is_resumed(tmp_path: Path) -> None:
    sides = {"source": {"kind": "characters"}, "target": {"kind": "bytes"}}
    train(recipe(tmp_path / "run", tokenizer=sides), quiet=True)
    file = tmp_path / "run" / "config.yaml"
    saved, _ = read_yaml(file.read_text(), str(file))
    for section, name in (("tokenizer", "lowercase"), ("training", "ema"), ("data", "streaming"), ("model", "bias")):
        del saved[section][name]
    del saved["tokenizer"]["source"]["lowercase"], saved["generation"], saved["attention"]
    file.write_text(dump_yaml(saved))
    more = {"max_steps": 22}
    assert len(train(recipe(tmp_path / "run", tokenizer=sides, training=more), resume=True, quiet=True).metrics)
    with pytest.raises(ConfigError, match=r"`tokenizer.source.lowercase` was False and is True"):
        changed = {"source": {"kind": "characters", "lowercase": True}, "target": {"kind": "bytes"}}
        train(recipe(tmp_path / "run", tokenizer=changed, training=more), resume=True, quiet=True)


@pytest.mark.parametrize(
    ("sections", "error"),
    [
        ({"data": {"train": []}}, DataError),
        ({"data": {"train": [("a" * 3000, "b")]}, "tokenizer": {"kind": "bytes"}}, DataError),
        ({"attention": {"encoder": "ful"}}, ConfigError),
        ({"validation": {"metrics": ["blue"]}}, ConfigError),
        ({"training": {"schedule": "cosine", "max_steps": None, "max_epochs": 1}}, ConfigError),
        ({"task": "nothing:Here"}, ConfigError),
        ({"generation": {"max_new_tokens": 5000}}, ConfigError),
        ({"training": {"optimizer": "os:getcwd"}}, ConfigError),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(tmp_path: Path, sections: dict[str, Any], error: type) -> None:
    made = recipe(tmp_path / "run")
    for name, section in sections.items():
        made[name] = {**made.get(name, {}), **section} if isinstance(section, dict) else section
    with pytest.raises(error) as caught:
        train(made, quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_average_is_the_mean_of_the_last_snapshots(tmp_path: Path) -> None:
    run = train(recipe(tmp_path / "run", training={"keep_last": 3}), quiet=True)
    average_run(run.folder, last=2, output=tmp_path / "mean")
    parts = [load_weights(run.folder / "snapshots" / f"step-{step}" / "weights.safetensors") for step in (15, 20)]
    for name, tensor in load_weights(tmp_path / "mean" / "model.safetensors").items():
        torch.testing.assert_close(tensor, (parts[0][name] + parts[1][name]) / 2, rtol=0, atol=1e-7)
    with pytest.raises(ConfigError, match="must not exist yet"):
        average_run(run.folder, last=2, output=tmp_path / "mean")
    with pytest.raises(ModelError, match="must have 9 whole snapshots, but has 3"):
        average_run(run.folder, last=9, output=tmp_path / "other")


def test_the_model_is_the_better_of_best_and_average(tmp_path: Path) -> None:
    run = train(recipe(tmp_path / "run", training={"average_last": 3, "keep_last": 3}), quiet=True)
    averaged = run.metrics[-1]
    assert averaged["averaged"] == 3
    best = max(row["chrf"] for row in run.metrics if "chrf" in row)
    report = antiphon.evaluate(run.model, PAIRS[::5], metrics=["chrf"], beam_size=1)
    assert report["chrf"].score == pytest.approx(best)


def test_without_validation_pairs_the_last_weights_are_the_model(tmp_path: Path) -> None:
    made = recipe(tmp_path / "run")
    made["data"] = {"train": PAIRS}
    made["validation"] = {}
    run = train(made, quiet=True)
    last = load_weights(run.folder / "snapshots" / "step-20" / "weights.safetensors")
    assert all(
        torch.equal(tensor, last[name])
        for name, tensor in load_weights(run.folder / "model" / "model.safetensors").items()
    )


def test_attention_given_as_objects(tmp_path: Path) -> None:
    """What has a name is saved with it; what has none is refused before the first step."""
    run = train(
        recipe(tmp_path / "run", attention={"encoder": Alibi() & Window(8), "decoder": [Window(4), Full()]}), quiet=True
    )
    assert antiphon.load(run.folder).generate("one two")[0].text == run.model.generate("one two")[0].text

    class Local(Full):
        """Nobody can import it."""

    with pytest.raises(ModelError, match="Local has none that another process could import"):
        train(recipe(tmp_path / "other", attention={"encoder": Local()}), quiet=True)
    assert not (tmp_path / "other").exists()


def test_a_foreign_folder_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other things"):
        train(recipe(tmp_path / "run"), resume=True, quiet=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_reporter_is_given_each_row(tmp_path: Path) -> None:
    seen: list[Any] = []
    antiphon.register("reporter", "test-list")(lambda folder: seen.append)
    try:
        run = train(recipe(tmp_path / "run"), quiet=True)
    finally:
        unregister("reporter", "test-list")
    assert seen == run.metrics


@pytest.mark.timeout(900)  # tracing takes minutes on a machine with much other work
def test_a_compiled_network_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`training.compile`, with PyTorch's tracing alone: its code generator needs minutes and a C++ compiler."""
    graphs: list[torch.fx.GraphModule] = []
    compiled = torch.compile

    def traced(network: torch.nn.Module, **settings: Any) -> Any:
        assert settings == {"dynamic": True}

        def run(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
            graphs.append(graph)
            return graph.forward

        return compiled(network, backend=run, **settings)

    monkeypatch.setattr(torch, "compile", traced)
    # pytest would keep each of the thousands of records, with a stack, that PyTorch makes for its own analysis.
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)

    def losses(name: str, **training: Any) -> list[Any]:
        once = {"max_steps": 2, "log_every_steps": 1, "batch_tokens": 60, **training}
        one = {"dropout": 0.1}
        data = {"train": [("one two", "two one")] * 30, "valid": [("one two", "two one")]}
        run = train(
            recipe(tmp_path / name, data=data, model=one, training=once, validation={"metrics": []}), quiet=True
        )
        return [row[key] for row in run.metrics for key in ("loss", "grad_norm", "valid_loss") if key in row]

    assert losses("compiled", compile=True) == pytest.approx(losses("plain"), rel=1e-5)
    assert len(graphs) > 1


def test_two_tokenizers(tmp_path: Path) -> None:
    run = train(recipe(tmp_path / "run", tokenizer={"kind": "characters", "shared": False}), quiet=True)
    assert {"source.json", "target.json"} <= {path.name for path in (run.folder / "model").iterdir()}
    again = antiphon.load(run.folder)
    assert again.source_tokenizer is not again.target_tokenizer
    assert again.generate("one two")[0].text == run.model.generate("one two")[0].text


def test_files_task_and_attention_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe in a folder with a module beside it: `module:Name` is found there, files are relative to it."""
    (tmp_path / "mine_for_test.py").write_text(
        "from antiphon.nn import ScoreRule\n"
        "class Near(ScoreRule):\n"
        "    additive = True\n"
        "    def score(self, score, batch, head, q_pos, k_pos):\n"
        "        return score - 0.3 * (q_pos - k_pos).abs()\n"
        "def swap(record):\n"
        "    return record['b'], record.get('a')\n"
    )
    (tmp_path / "data.csv").write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in PAIRS))
    made = recipe(tmp_path / "run", data={"train": {"path": "data.csv"}, "valid": {"path": "data.csv"}})
    made |= {
        "task": "mine_for_test:swap",
        "attention": {"encoder": "mine_for_test:Near", "decoder": ["full", {"window": 4}]},
    }
    config: TrainConfig = from_mapping(made, folder=tmp_path)
    run = train(config, quiet=True)
    assert "Near" in {type(part).__name__ for part in run.model.network.encoder.modules()}
    answer = run.model.generate("one two")[0]
    imported = sys.modules.pop("mine_for_test")  # as in another process
    with pytest.raises(ConfigError, match=r"not imported unasked. Give `import mine_for_test` first"):
        antiphon.load(run.folder)
    monkeypatch.setitem(sys.modules, "mine_for_test", imported)  # as behind `import mine_for_test`
    assert antiphon.load(run.folder).generate("one two")[0].score == answer.score
