"""Sweep files: what is read, and what is wrong with them, in one line each, before the first run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import antiphon
from antiphon.errors import AntiphonError, ConfigError
from antiphon.sweeps.definition import read_definition
from antiphon.sweeps.runs import check_runs, run_config

SPACE = "space: {training.lr: [1e-3, 3e-3]}\n"


def test_a_sweep_is_read(write_sweep: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_definition(write_sweep(SPACE + "seeds: [3, 5]\nstorage: journal:j.log\nset: {model.dropout: 0.3}\n"))
    assert (read.name, read.folder, read.storage) == ("s", Path("runs/sweeps/s"), "journal:j.log")
    assert read.config.seed_list == [3, 5] and read.config.pruner == ("none", {}) and read.most_trials == 2
    config = run_config(read, {"training.lr": "0.003"}, seed=5, output="here")
    assert (config.training.lr, config.training.seed, config.model.dropout, config.output) == (0.003, 5, 0.3, "here")
    other = read_definition(write_sweep("search: tpe\ntrials: 9\n" + SPACE), storage="sqlite:///x.db", output="o")
    assert other.config.pruner == ("median", {"startup_trials": 5, "warmup_steps": 0}) and other.most_trials == 2
    assert (other.storage, other.folder) == ("sqlite:///x.db", Path("o"))


def test_machines_with_their_data_in_different_places_have_the_same_sweep(
    write_sweep: Callable[..., Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_sweep(SPACE + 'set: {data.valid: {path: "${HERE}/p.tsv"}}\n')
    found = []
    for place in ("/a", "/b"):
        monkeypatch.setenv("HERE", place)
        definition = read_definition(file)
        assert run_config(definition, {}).data.valid.path == f"{place}/p.tsv"
        found.append(definition.identity)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: {training.lrr: [1]}\n", r"`training.lrr` is not a known setting \(.*s.yaml:2\), did you mean `lr`"),
        ("space: {trainig.lr: [1]}\n", r"`trainig` is not a known setting \(.*s.yaml:2\), did you mean `training`"),
        (
            "space:\n  training.lr: [1e-3]\n  model.dropout: [0.1, 1.5]\n",
            r"`model.dropout` must be .* is 1.5 .*s.yaml:4",
        ),
        (
            "space: {training.optimizer: [adamw, muno]}\n",
            r"`muno` is not a known optimizer, did you mean `muon`.*s.yaml:2",
        ),
        ("space: {training.optimizer: [{muon: {nesterof: 1}}]}\n", r"nesterof.*s.yaml:2"),
        (
            "space: {training.schedule: [cosnie]}\n",
            r"`cosnie` is not a known schedule, did you mean `cosine`.*s.yaml:2",
        ),
        (
            "space: {attention.encoder: [full, {windo: 8}]}\n",
            r"`windo` is not a known attention, did you mean `window`",
        ),
        ("space: {attention.encoder: [{window: -3}]}\n", r"attention.encoder.*s.yaml:2"),
        ("space: {tokenizer.kind: [bpee]}\n", r"tokenizer.kind.*bpee.*did you mean `bpe`"),
        (
            "space: {data.train: [{path: q.tsv}]}\n",
            r"`data.train.path` must be a file, but there is no `.*q.tsv` .*s.yaml:2",
        ),
        ("space: {}\n", r"`space` must have at least one setting, but is empty .*s.yaml:2"),
        (
            "space: {training.lr: []}\n",
            r"`space.training.lr` must have at least one value, but is an empty list .*s.yaml:2",
        ),
        ("seeds: 2\n", r"`space` must be given, but is not there"),
        (SPACE + "serach: grid\n", r"`serach` is not a known setting .*s.yaml:3.*did you mean `search`"),
        (SPACE + "search: tpe\n", r"`trials` must be given for `search: tpe`"),
        (SPACE + "seeds: 0\n", r"`seeds` must be a number of runs or a list of seeds, but is 0 .*s.yaml:3"),
        (SPACE + "seeds: [1, 1]\n", r"`seeds` must hold each seed once"),
        (SPACE + "prune: medain\n", r"`prune` must be one of none, median, halving.*did you mean `median`"),
        (
            SPACE + "prune: {median: {startup: 3}}\n",
            r"`prune.median.startup` is not known.*did you mean `startup_trials`",
        ),
        (SPACE + "set: {training.sed: 3}\n", r"`training.sed` is not a known setting \(.*s.yaml:3\)"),
        (SPACE + "set: {training.seed: 3}\n", r"`set.training.seed` must be left out: `seeds` sets it .*s.yaml:3"),
        ("space: {output: [a, b]}\n", r"`space.output` must be left out: `output` of the sweep sets it"),
        ("space: {variant: all}\n", r"`space.variant` needs variants, but `r.yaml` has none"),
        (SPACE + "metric: blue\n", r"`validation.keep_best` must be one of chrf, valid_loss"),
        (SPACE + "set: {data.valid: null, validation.metrics: []}\n", r"`data.valid` must be given in a sweep"),
        (SPACE + "alpha: 2\n", r"`alpha` must be above 0 and at most 0.5, but is 2.0 .*s.yaml:3"),
        (SPACE + "storage: study.db\n", r"storage.* must be sqlite:///FILE, journal:FILE or a URL .*but is `study.db`"),
    ],
)
def test_a_wrong_sweep_is_one_line_before_the_first_run(
    text: str, message: str, write_sweep: Callable[..., Path], made_runs, folder: Path
) -> None:
    with pytest.raises(AntiphonError, match=message) as caught:
        antiphon.sweep(write_sweep(text))
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert made_runs.started == [] and not list(folder.glob("runs/**/trial-*"))


def test_files_that_are_no_sweeps(folder: Path) -> None:
    for name, message in (
        ("none.yaml", "the sweep `none.yaml` cannot be read"),
        (
            "r.yaml",
            "must have `recipe` and `space`, but `r.yaml` is a recipe. Write a sweep that names it: recipe: r.yaml",
        ),
        (".", "a sweep must be a YAML file, but `.` is a folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            antiphon.sweep(name)
    (folder / "s.yaml").write_text("recipe: nowhere.yaml\n" + SPACE)
    with pytest.raises(ConfigError, match=r"the recipe `nowhere.yaml` cannot be read"):
        antiphon.sweep("s.yaml")


def test_a_recipe_with_variants_needs_them_in_the_space(write_sweep: Callable[..., Path], folder: Path) -> None:
    recipe = folder / "r.yaml"
    recipe.write_text(recipe.read_text() + "variants: {wide: {model: {d_model: 64}}, plain: {}}\n")
    with pytest.raises(ConfigError, match=r"r.yaml` has 2 variants: the space must have `variant`, a list of some of"):
        read_definition(write_sweep(SPACE))
    with pytest.raises(ConfigError, match="has no variant `wied`, did you mean `wide`"):
        read_definition(write_sweep("space: {variant: [wied]}\n"))
    assert set(read_definition(write_sweep("space: {variant: [wide]}\n")).recipes) == {"wide"}


def test_a_large_space_is_checked_value_by_value(write_sweep: Callable[..., Path], folder: Path) -> None:
    keys = ("model.dropout", "model.attention_dropout", "model.layer_drop", "training.label_smoothing", "training.ema")
    values = "[0, 0.1, 0.2, 0.3, 0.4]"
    text = "search: random\ntrials: 3\nspace: {" + ", ".join(f"{key}: {values}" for key in keys)
    check_runs(read_definition(write_sweep(text + "}\n")))
    with pytest.raises(ConfigError, match=r"`training.clip_norm` must be at least 0, but is -1"):
        check_runs(read_definition(write_sweep(text + ", training.clip_norm: [1, -1]}\n")))
