"""Settings: types, ranges, presets, what does not go together, and that each field is documented."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import pytest

from antiphon import config as module
from antiphon.config import (
    PRESETS,
    AttentionConfig,
    DataConfig,
    GenerationConfig,
    ModelConfig,
    SourceConfig,
    TokenizerConfig,
    TrainConfig,
    TrainingConfig,
    ValidationConfig,
    field_docs,
    from_json_mapping,
    is_files,
    override,
    precision_name,
)
from antiphon.errors import ConfigError
from antiphon.recipe import from_mapping
from antiphon.settings import FlagText, Settings, convert, plain

PAIRS = [("a", "A")]
CLASSES = [
    value
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Settings) and value is not Settings
]


def problem(make, *arguments: object) -> str:
    with pytest.raises(ConfigError) as caught:
        make(*arguments)
    text = str(caught.value)
    assert "\n" not in text and text.count("  ") == 0
    return text


def test_importing_it_needs_the_standard_library_only() -> None:
    code = (
        "import sys, antiphon.config, antiphon.recipe;"
        "print([name for name in ('torch', 'pydantic', 'yaml', 'tyro', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_has_a_text_that_becomes_its_help(cls: type[Settings]) -> None:
    docs = field_docs(cls)
    assert list(docs) == [field.name for field in dataclasses.fields(cls)]
    assert all(text.endswith(".") and len(text) > 10 for text in docs.values())


def test_all_settings_of_the_interface_are_there() -> None:
    model = """d_model encoder_layers decoder_layers num_heads num_kv_heads head_dim ffn_dim activation norm positions
        norm_placement bias tie_embeddings dropout attention_dropout activation_dropout layer_drop max_length
        attention_scale"""
    training = """optimizer lr betas weight_decay schedule warmup_steps max_steps max_epochs max_minutes batch_tokens
        accumulate clip_norm label_smoothing average_last precision compile save_every_steps keep_last patience seed
        log_every_steps"""
    search = """beam_size n_best min_new_tokens max_new_tokens length_penalty length_penalty_kind no_repeat_ngram
        repetition_penalty temperature top_k top_p min_p seed prefix overflow batch_size"""
    for cls, names in ((ModelConfig, model), (TrainingConfig, training), (GenerationConfig, search)):
        assert set(names.split()) <= set(field_docs(cls))


# presets


def test_the_papers_models() -> None:
    """Vaswani et al. 2017, table 3."""
    base, big = ModelConfig(preset="base"), ModelConfig(preset="big")
    rows = [
        (model.encoder_layers, model.decoder_layers, model.d_model, model.ffn_dim, model.num_heads, model.dropout)
        for model in (base, big)
    ]
    assert rows == [(6, 6, 512, 2048, 8, 0.1), (6, 6, 1024, 4096, 16, 0.3)]
    for model in (base, big):
        assert (model.activation, model.norm, model.norm_placement) == ("relu", "layer", "post")
        assert (model.positions, model.bias, model.tie_embeddings) == ("sinusoidal", True, True)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gives_what_is_not_set(name: str) -> None:
    model = ModelConfig(preset=name, dropout=0.25, d_model=64, num_heads=2)
    assert (model.dropout, model.d_model, model.num_heads) == (0.25, 64, 2)
    assert {key: getattr(model, key) for key in PRESETS[name] if key not in ("dropout", "d_model", "num_heads")} == {
        key: value for key, value in PRESETS[name].items() if key not in ("dropout", "d_model", "num_heads")
    }
    assert all(value is not None for key, value in plain(model).items() if key in PRESETS[name])
    assert from_json_mapping(ModelConfig, json.loads(json.dumps(plain(model))), "config.json") == model


def test_zero_and_false_are_set_values() -> None:
    model = ModelConfig(preset="base", dropout=0.0, bias=False)
    assert model.dropout == 0.0 and model.bias is False


def test_an_unknown_preset() -> None:
    assert "`preset` must be one of base, big, small, student, tiny" in problem(lambda: ModelConfig(preset="bigg"))
    assert "did you mean `big`?" in problem(lambda: ModelConfig(preset="bigg"))


# values


@pytest.mark.parametrize(
    ("cls", "name", "value", "wanted"),
    [
        (TrainingConfig, "max_steps", 8e3, 8000),
        (TrainingConfig, "lr", 1, 1.0),
        (TrainingConfig, "betas", [0.9, 0.95], (0.9, 0.95)),
        (TrainingConfig, "precision", "bf16", "bfloat16"),
        (TrainingConfig, "precision", "fp16", "float16"),
        (TrainingConfig, "precision", "float32", "float32"),
        (TrainingConfig, "max_minutes", 1, 1.0),
        (ModelConfig, "num_kv_heads", None, None),
        (GenerationConfig, "prefix", ["a", None], ("a", None)),
        (GenerationConfig, "max_new_tokens", 5, 5),
        (
            ValidationConfig,
            "metrics",
            ["chrf", {"bleu": {"tokenize": "none"}}],
            ("chrf", {"bleu": {"tokenize": "none"}}),
        ),
        (ValidationConfig, "metrics", FlagText("bleu,chrf", "bleu,chrf"), ("bleu", "chrf")),
        (AttentionConfig, "decoder", FlagText("{window: 8}", {"window": 8}), {"window": 8}),
        (TokenizerConfig, "kind", FlagText("5", 5), "5"),
        (GenerationConfig, "prefix", FlagText("null", None), "null"),
        (GenerationConfig, "prefix", FlagText("", None), None),
        (GenerationConfig, "forbidden", FlagText("none", "none"), ("none",)),
        (GenerationConfig, "required", FlagText("~", None), ("~",)),
        (GenerationConfig, "allowed", FlagText("2026, null", "2026, null"), ("2026", "null")),
        (GenerationConfig, "allowed", FlagText("true", True), ("true",)),
        (GenerationConfig, "forbidden", FlagText("[a, b]", ["a", "b"]), ("a", "b")),
        (GenerationConfig, "forbidden", FlagText("", None), None),
        (GenerationConfig, "top_k", FlagText("null", None), None),
    ],
)
def test_values_are_brought_to_their_type(cls: type[Settings], name: str, value: object, wanted: object) -> None:
    found = getattr(override(cls(), {name: value}), name)
    assert found == wanted and type(found) is type(wanted)
    assert getattr(cls(**{name: value}), name) == wanted


@pytest.mark.parametrize(
    ("cls", "name", "value", "words"),
    [
        (TrainingConfig, "lr", "3e-4", "must be a number, but is the text `3e-4`."),
        (TrainingConfig, "lr", 0, "must be above 0, but is 0.0."),
        (TrainingConfig, "lr", math.nan, "must be a finite number, but is nan."),
        (TrainingConfig, "lr", 10**400, "must be a finite number, but is a number beyond 1e18."),
        (TrainingConfig, "lr", True, "must be a number, but is true."),
        (TrainingConfig, "max_steps", 0, "must be at least 1, but is 0."),
        (TrainingConfig, "max_steps", 2.5, "must be a whole number, but is 2.5."),
        (TrainingConfig, "max_steps", math.inf, "must be a whole number"),
        (TrainingConfig, "max_steps", False, "must be a whole number, but is false."),
        (TrainingConfig, "warmup_steps", None, "must be a whole number, but is empty."),
        (TrainingConfig, "betas", [0.9], "must be a list of 2 values, but has 1."),
        (TrainingConfig, "betas", 0.9, "must be a list of 2 values, but is 0.9."),
        (TrainingConfig, "betas", [0.9, 1], "must be at least 0 and below 1, but is 1.0."),
        (TrainingConfig, "compile", "yes", "must be true or false, but is the text `yes`."),
        (TrainingConfig, "compile", 1, "must be true or false, but is 1."),
        (TrainingConfig, "precision", "bfloat", "but is the text `bfloat`, did you mean `bfloat16`?"),
        (TrainingConfig, "optimizer", 5, "must be a name or {name: settings}, but is 5."),
        (
            ModelConfig,
            "activation",
            "rel",
            "must be one of relu, gelu, silu, geglu, swiglu, but is the text `rel`, did",
        ),
        (ModelConfig, "dropout", 1.0, "must be at least 0 and below 1, but is 1.0."),
        (ModelConfig, "attention_scale", 0.0, "must be above 0, but is 0.0."),
        (GenerationConfig, "top_p", 0, "must be above 0 and at most 1, but is 0.0."),
        (GenerationConfig, "seed", [1], "must be a whole number, but is a list."),
        (GenerationConfig, "beam_size", {"a": 1}, "must be a whole number, but is a mapping."),
        (TokenizerConfig, "kind", "x" * 200, "x...`"),
    ],
)
def test_a_wrong_value_says_what_must_be_and_what_is(cls: type[Settings], name: str, value: object, words: str) -> None:
    if name == "kind":  # any text may be a path here; what is shown of a long one
        assert words in problem(lambda: override(TrainingConfig(), {"lr": value}))
        return
    text = problem(lambda: override(cls(), {name: value}))
    assert text.startswith(f"`{name}") and words in text


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ModelConfig(num_heads=4, num_kv_heads=3), "`num_kv_heads` must divide `num_heads` (4), but is 3."),
        (
            lambda: ModelConfig(num_heads=3),
            "`d_model` must be a multiple of `num_heads` (3), but is 256. Change it, or set `h",
        ),
        (
            lambda: ModelConfig(head_dim=7, positions="rotary"),
            "`head_dim` must be even for rotary positions, but is 7.",
        ),
        (lambda: TrainingConfig(average_last=9), "`keep_last` must be at least `average_last` (9), but is 5."),
        (
            lambda: ValidationConfig(metrics=("chrf",), keep_best="bleu"),
            "`keep_best` must be one of chrf, valid_loss, as",
        ),
        (lambda: ValidationConfig(metrics=({"a": {}, "b": {}},)), "`metrics.0` must be a name or {name: settings}"),
        (lambda: GenerationConfig(n_best=5), "`n_best` must be at most `beam_size` (4), but is 5."),
        (
            lambda: GenerationConfig(min_new_tokens=9, max_new_tokens=8),
            "must be at most `max_new_tokens` (8), but is 9.",
        ),
        (lambda: GenerationConfig(top_k=3), "`top_k` needs `temperature`, which is not set."),
        (lambda: SourceConfig(path="x", source="y"), "must have `path` or `source` and `target`, but has both."),
        (lambda: SourceConfig(source="y"), "must have `path`, or both `source` and `target`."),
        (lambda: SourceConfig(source="x", target="y", source_field=0), "only with `path`."),
        (
            lambda: DataConfig(train=PAIRS, streaming="always"),
            "`streaming` must be auto or never for pairs from Python",
        ),
        (lambda: DataConfig(train=None), "`train` must be given, but is empty."),
        (
            lambda: DataConfig(train="train.en"),
            "`train` must be files or pairs, but is the text `train.en`. For example {",
        ),
        (
            lambda: DataConfig(train=[{"path": "x"}, {"pth": "y"}]),
            "`train.1.pth` is not a known setting, did you mean `path`?",
        ),
    ],
)
def test_settings_that_do_not_go_together(make, words: str) -> None:
    assert words in problem(make)


def test_what_does_go_together() -> None:
    assert ModelConfig(num_heads=3, head_dim=64).head_dim == 64
    assert GenerationConfig(temperature=0.7, top_k=5, n_best=8).n_best == 8
    assert ValidationConfig(metrics=({"bleu": {}}, "chrf"), keep_best="bleu").metric_names == ["bleu", "chrf"]


def whole(**changes: object) -> TrainConfig:
    parts: dict[str, object] = {"data": DataConfig(train=PAIRS), "training": TrainingConfig(max_steps=1)}
    return TrainConfig(**{**parts, **changes})  # pyright: ignore[reportArgumentType]


def test_sections_that_do_not_go_together() -> None:
    assert "`training` must say when to end: max_steps, max_epochs, max_minutes, patience." in problem(
        lambda: whole(training=TrainingConfig())
    )
    longer = DataConfig(train=PAIRS, max_length=2000)
    assert "`data.max_length` must be at most `model.max_length` (1024), but is 2000." in problem(
        lambda: whole(data=longer)
    )
    waiting = TrainingConfig(patience=3)
    assert "`training.patience` needs validation pairs" in problem(lambda: whole(training=waiting))
    measured = ValidationConfig(metrics=("chrf",))
    assert "`validation.metrics` needs validation pairs" in problem(lambda: whole(validation=measured))
    twice = {"model": ModelConfig(positions="alibi"), "attention": AttentionConfig(decoder={"all": ["alibi", "full"]})}
    assert "`attention.decoder` names `alibi`, as does `model.positions`. Drop one" in problem(lambda: whole(**twice))
    whole(model=ModelConfig(positions="alibi"), attention=AttentionConfig(cross="alibi"))  # that one it does not add


def test_unknown_names_have_the_nearest_one() -> None:
    text = problem(override, GenerationConfig(), {"beam_sizes": 3})
    assert text == "`beam_sizes` is not a known setting, did you mean `beam_size`?"
    text = problem(override, GenerationConfig(), {"zzz": 3})
    assert text.startswith("`zzz` is not a known setting. Known: beam_size, n_best, ")
    text = problem(from_json_mapping, TrainConfig, {"lr": 1}, "x.json")
    assert text.endswith("`lr` is not a known setting (x.json), did you mean `training.lr`?")
    assert "(config.json)" in problem(from_json_mapping, ModelConfig, {"d_model": -1}, "config.json")
    assert "must be a mapping of settings, but is a list" in problem(from_json_mapping, ModelConfig, [1], "config.json")
    assert "`data` must be given" in problem(from_json_mapping, TrainConfig, {}, "x")
    assert "`data.train` must be given" in problem(from_json_mapping, TrainConfig, {"data": {}}, "x")


def test_override_leaves_the_original() -> None:
    before = GenerationConfig()
    after = override(before, {"beam_size": 2, "prefix": None})
    assert (before.beam_size, after.beam_size, after.prefix) == (4, 2, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        after.beam_size = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_what_data_may_be() -> None:
    source = SourceConfig(path="x.tsv")
    assert DataConfig(train={"path": "x.tsv"}).train == source
    assert DataConfig(train=[{"path": "x.tsv"}, source]).train == (source, source)
    assert DataConfig(train=FlagText("{path: x.tsv}", {"path": "x.tsv"})).train == source
    assert DataConfig(train=PAIRS).train is PAIRS
    assert DataConfig(train=iter(PAIRS)).train == tuple(PAIRS)  # it is read more than once
    assert is_files(source) and is_files((source, source))
    assert not is_files(PAIRS) and not is_files(()) and not is_files(None)
    assert source.files == ["x.tsv"] and SourceConfig(source="a", target="b").files == ["a", "b"]


def test_precision_has_one_spelling() -> None:
    assert [precision_name(name) for name in ("fp32", "bf16", "fp16")] == ["float32", "bfloat16", "float16"]
    assert all(precision_name(precision_name(name)) == precision_name(name) for name in ("fp32", "bf16", "fp16"))


def test_convert_reads_a_union_in_order() -> None:
    assert convert(FlagText("0", 0), int | str) == 0
    assert convert(FlagText("en", "en"), int | str) == "en"
    assert convert("0", int | str) == "0"


@pytest.mark.parametrize(
    ("name", "value"), [("prefix", ["a", None]), ("required", [["a"], ["b"]]), ("allowed", [["a"]])]
)
def test_a_recipe_has_no_settings_of_single_rows(name, value):
    with pytest.raises(ConfigError, match=f"`generation.{name}` must be one for all rows in a recipe"):
        from_mapping({"data": {"train": [("a", "b")]}, "training": {"max_steps": 1}, "generation": {name: value}})


def test_a_recipe_may_restrict_all_rows():
    generation = {"required": ["a"], "forbidden": ["b", "c d"], "allowed": ["a c"], "prefix": "a"}
    made = from_mapping({"data": {"train": [("a", "b")]}, "training": {"max_steps": 1}, "generation": generation})
    assert made.generation.forbidden == ("b", "c d")
