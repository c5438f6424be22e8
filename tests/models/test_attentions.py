"""All that an attention may be given as, in whole networks: trained, searched, saved, loaded; and what a folder may
name."""

from __future__ import annotations

import copy
import json
import os  # noqa: F401  (a module that is imported, which no folder may use)
import random
import subprocess  # noqa: F401
import sys
import types
from pathlib import Path
from typing import Any

import own_attentions as own
import pytest
import torch
from search.toys import SPECIAL, VOCABULARY, assert_same, plain_search, source_of
from torch import nn

import antiphon
from antiphon.batch import Example, collate
from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.models.attentions import build_rule, find_imported, saved_spec
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts, load_parts, save_model_folder
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder, Encoder, Shape
from antiphon.nn import (
    Additive,
    Alibi,
    Attention,
    Full,
    FunctionAttention,
    ScorerAttention,
    Sinusoidal,
    TorchAttention,
    Window,
)
from antiphon.nn.embedding import Embedding
from antiphon.nn.loss import CrossEntropy
from antiphon.recipe import dump_yaml, from_mapping, read_yaml, to_mapping
from antiphon.registry import register, unregister
from antiphon.runtime.quantized import quantize_linears
from antiphon.search.engine import SourceInput, answer, forced_scores, stream
from antiphon.text import train_tokenizer

D_MODEL, HEADS = 16, 4
EXAMPLES = [Example([5, 6, 7, 2], [8, 9, 2], 0), Example([5, 2], [8, 9, 3, 4, 5, 2], 1), Example([9, 4, 9, 2], [2], 2)]
KINDS: dict[str, Any] = {
    "function": own.softmax,
    "scorer class": own.CustomAttention,
    "scorer": own.CustomAttention(D_MODEL),
    "scorer of a pair": own.Pair,
    "multihead": nn.MultiheadAttention(D_MODEL, HEADS, dropout=0.2, add_bias_kv=True),
    "multihead by name": {"torch_multihead": {"add_zero_attn": True}},
    "function by name": "own_attentions:softmax",
    "scorer by name": {"own_attentions:CustomAttention": {"hidden": 2 * D_MODEL}},
}
every = pytest.mark.parametrize("name", KINDS)
pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.MultiheadAttention` has no cache")


def model(**settings: Any) -> ModelConfig:
    base: dict[str, Any] = {
        "preset": "tiny", "d_model": D_MODEL, "ffn_dim": 24, "num_heads": HEADS, "encoder_layers": 1,
        "decoder_layers": 2, "positions": "sinusoidal", "bias": True, "dropout": 0.0, "tie_embeddings": False,
        "max_length": 40,
    }  # fmt: skip
    return ModelConfig(**{**base, **settings})


def network(kind: Any, **settings: Any) -> EncoderDecoder:
    attention = AttentionConfig(encoder=kind, decoder=kind, cross=kind)
    made = build_network(
        model(**settings), attention, source_vocab=VOCABULARY, target_vocab=VOCABULARY, shared=False, warn=False
    ).double()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.7)
        made.output.weight[SPECIAL.end] *= 1.8
    return made


@every
def test_it_trains_and_layers_computed_again_have_the_same_gradients(name: str) -> None:
    made, batch, found = network(KINDS[name], dropout=0.2).train(), collate(EXAMPLES, pad_id=0, start_id=1), []
    for twice in (False, True):
        made.checkpoint_activations(twice)
        made.noise.set(seed=1, step=2, micro_batch=0)
        loss = made(batch, CrossEntropy()).objective
        found.append([loss, *torch.autograd.grad(loss, list(made.parameters()))])
    for one, other in zip(*found, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("beam_size", [1, 3])
@every
def test_cached_search_is_search_from_whole_rows(name: str, beam_size: int) -> None:
    made, dice = network(KINDS[name]).eval(), random.Random(name)
    config = GenerationConfig(beam_size=beam_size, n_best=beam_size, max_new_tokens=6)
    sources = [SourceInput(source_of(dice), row) for row in range(3)]
    answers = answer(made, sources, config, SPECIAL)
    for source, found in zip(sources, answers, strict=True):
        assert_same(found, plain_search(made, source.ids, config))
        assert_same(answer(made, [source], config, SPECIAL)[0], found)  # alone as in a batch
        parts = [part for piece in stream(made, source, config, SPECIAL) for part in piece]
        assert parts == list(found[0].ids)
    first = answers[0][0]
    assert forced_scores(made, [(sources[0].ids, first.ids)], SPECIAL)[0] == pytest.approx(first.score, abs=1e-10)


@every
def test_int8_answers(name: str) -> None:
    made = network(KINDS[name]).float().eval()
    assert quantize_linears(made) > 0
    config = GenerationConfig(beam_size=2, max_new_tokens=4)
    assert answer(made, [SourceInput([5, 6, 2], 0)], config, SPECIAL)[0][0].ids


@every
def test_saved_and_loaded_it_computes_the_same(name: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a"], kind="bytes", vocab_size=260)
    attention = AttentionConfig(encoder=KINDS[name], decoder=[KINDS[name], "full"], cross=KINDS[name])
    made = build_network(model(), attention, source_vocab=260, target_vocab=260, shared=True, seed=3, warn=False)
    parts = Parts(made.eval(), model(), attention, tokenizer, tokenizer, "text", GenerationConfig())
    save_model_folder(tmp_path / "model", parts)
    loaded = antiphon.load(tmp_path / "model")  # own_attentions is imported: nothing is asked of the caller
    kept = made.state_dict()
    assert {key: value.shape for key, value in loaded.network.state_dict().items()} == {
        key: value.shape for key, value in kept.items()
    }
    assert all(torch.equal(value, kept[key]) for key, value in loaded.network.state_dict().items())
    config = GenerationConfig(beam_size=2, max_new_tokens=4)
    sources = [[70, 71, 2], [80, 2]]
    found, wanted = (answer(each, sources, config, SPECIAL) for each in (loaded.network, made))
    assert [[each.ids for each in row] for row in found] == [[each.ids for each in row] for row in wanted]
    short = antiphon.load(tmp_path / "model", quantize="int8")
    assert len(short.generate(["ab", "a"], max_new_tokens=4)) == 2


@every
def test_a_network_made_by_hand_is_described_and_saved(name: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a"], kind="bytes", vocab_size=260)
    shape = Shape(D_MODEL, HEADS)
    kind = KINDS[name]
    encoder = Encoder([kind, kind], shape=shape)
    decoder = Decoder([kind], [kind], shape=shape)
    front = InputEmbedding(Embedding(260, D_MODEL), Sinusoidal(D_MODEL))
    network = EncoderDecoder(front, encoder, front, decoder).eval()
    made = antiphon.Model(network, tokenizer)
    made.save(tmp_path / "model")
    loaded = antiphon.load(tmp_path / "model").network
    batch = collate(EXAMPLES, pad_id=0, start_id=1)
    with torch.no_grad():
        assert torch.equal(loaded.logits(batch), network.logits(batch))


def written(kind: Any) -> Any:
    """What a run's config.yaml says of the encoder's attention."""
    config = from_mapping(
        {
            "data": {"train": [("a", "b")]},
            "training": {"max_steps": 1},
            "output": "runs/x",
            "attention": {"encoder": kind},
        }
    )
    mapping = to_mapping(config)
    assert read_yaml(dump_yaml(mapping), "")[0]["attention"] == mapping["attention"]
    return mapping["attention"]["encoder"]


def test_a_recipe_writes_down_what_is_given_as_an_object() -> None:
    class Local(Alibi):
        """Nobody can import it."""

    assert written(Alibi) == "alibi" and written(own.CustomAttention) == "own_attentions:CustomAttention"
    assert written(own.softmax) == "own_attentions:softmax"
    assert written([Alibi, own.softmax]) == ["alibi", "own_attentions:softmax"]
    assert written({"all": [Alibi, {"window": 3}]}) == {"all": ["alibi", {"window": 3}]}
    assert written(Local) == "<python: Local>" and written(own.CustomAttention(3)) == "<python: CustomAttention>"
    assert written(nn.MultiheadAttention(8, 2)) == "<python: MultiheadAttention>"


@pytest.mark.parametrize(
    ("given", "kind", "spec"),
    [
        (Alibi, Alibi, "alibi"),
        (Window(3), Window, {"window": 3}),
        (Additive, Additive, "additive"),
        (own.softmax, FunctionAttention, "own_attentions:softmax"),
        ("own_attentions:softmax", FunctionAttention, "own_attentions:softmax"),
        ("own_attentions:FUNCTION", FunctionAttention, "own_attentions:FUNCTION"),
        (own.CustomAttention, ScorerAttention, "own_attentions:CustomAttention"),
        (own.CustomAttention(8), ScorerAttention, {"own_attentions:CustomAttention": {"hidden": 8}}),
        (nn.MultiheadAttention, TorchAttention, "torch_multihead"),
        (nn.MultiheadAttention(8, 2, bias=False), TorchAttention, {"torch_multihead": {"bias": False}}),
        (own.makes_a_rule, Window, {"window": 3}),
        ({"own_attentions:makes_a_rule": {"window": 5}}, Window, {"own_attentions:makes_a_rule": {"window": 5}}),
        (lambda rate=3: Window(rate), Window, {"window": 3}),
        (lambda q, k, v, mask: q, FunctionAttention, None),
        (Attention(Full()), Attention, None),
    ],
)
def test_what_an_attention_may_be(given: Any, kind: type, spec: object) -> None:
    part = build_rule(given)
    assert type(part) is kind and part is not given and part.spec == spec
    if spec is None:
        with pytest.raises(ModelError, match=r"needs a name for its attention, .*register\(\"attention\", \"name\"\)"):
            saved_spec(given)
    else:
        assert saved_spec(given) == spec
        assert type(build_rule(json.loads(json.dumps(spec)))) is kind


def test_a_registered_function_or_scorer_is_known_by_its_name() -> None:
    def mine(q: Any, k: Any, v: Any, mask: Any) -> Any:
        return own.softmax(q, k, v, mask)

    class Scorer(own.CustomAttention):
        """A notebook's."""

    register("attention", "mine")(mine)
    register("attention", "scored")(Scorer)
    try:
        assert saved_spec([mine, Scorer, Scorer(8)]) == ["mine", "scored", {"scored": {"hidden": 8}}]
        assert isinstance(build_rule("mine", allow_import=False), FunctionAttention)
        assert isinstance(build_rule({"scored": {"hidden": 8}}, allow_import=False), ScorerAttention)
    finally:
        unregister("attention", "mine")
        unregister("attention", "scored")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda q, k, v: q, "cannot be made from None: .*missing"),
        (dict, "but it makes a dict"),
        (3.5, "must be a ScoreRule, a Mixer, a function"),
        ("own_attentions:Wide", "needs a, b, c"),
        ({"own_attentions:softmax": {"scale": 2}}, "scale"),
        ({"own_attentions:FUNCTION": 2}, "cannot be made from 2"),
        (nn.Transformer(8, 2, 1, 1, 8), "but is a whole Transformer. Read its layers with antiphon.from_torch"),
        (nn.TransformerEncoderLayer, "antiphon.from_torch"),
        ({"all": [own.softmax, "alibi"]}, "must hold score rules"),
    ],
)
def test_what_is_no_attention_is_one_line(wrong: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        build_rule(wrong)
    assert "\n" not in str(caught.value)


def test_the_kit_takes_them_all() -> None:
    table = antiphon.check_attention(own.softmax, role="decoder")
    verdicts = {row.law: row.verdict for row in table.rows}
    assert verdicts["causality"] == verdicts["search"] == verdicts["saving"] == verdicts["reorder"] == "pass"
    with pytest.raises(antiphon.AttentionError, match="causality"):
        antiphon.check_attention(own.ahead, role="decoder")
    # An instance of any size: one of its class at the kit's own.
    for given in (own.CustomAttention(512), nn.MultiheadAttention(512, 8)):
        assert {row.law: row.verdict for row in antiphon.check_attention(given, role="cross").rows}["beams"] == "pass"


# What a model folder may name.


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """A module of the user's own, imported, with parts of other modules in it."""
    (tmp_path / "users_own.py").write_text(
        "from os import system\nfrom subprocess import Popen, call\nfrom own_attentions import *\n"
        "import os\nfrom antiphon.nn import ScoreRule\n"
        "class Fade(ScoreRule):\n    additive = True\n"
        "    def __init__(self, *, rate=0.1):\n        super().__init__()\n        self.rate = rate\n"
        "    def score(self, score, batch, head, q_pos, k_pos):\n"
        "        return score - self.rate * (q_pos - k_pos).abs()\n"
        "def mine(q, k, v, mask):\n    return softmax(q, k, v, mask)\n"
        "def remove(path='ran'):\n    open(path, 'w').close()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    import users_own  # pyright: ignore[reportMissingImports]

    yield users_own  # pyright: ignore[reportReturnType]
    del sys.modules["users_own"]


def test_what_is_imported_already_is_used(users: types.ModuleType) -> None:
    assert find_imported("users_own:Fade") is users.Fade
    assert build_rule({"users_own:Fade": {"rate": 0.3}}, allow_import=False).rate == 0.3  # type: ignore[union-attr]
    assert find_imported("users_own:mine") is users.mine
    assert find_imported("own_attentions:CustomAttention", {"hidden": 8}) is own.CustomAttention


@pytest.mark.parametrize(
    "spec",
    [
        "os:system", "os:popen", "os:remove", "os:path.join", "posix:system", "subprocess:Popen", "subprocess:call",
        {"subprocess:Popen": "touch ran"}, {"subprocess:Popen": {"args": ["touch", "ran"]}},
        {"os:system": "touch ran"}, "builtins:exec", {"builtins:open": {"file": "ran", "mode": "w"}},
        "users_own:system", "users_own:Popen", "users_own:call", {"users_own:call": {"args": ["touch", "ran"]}},
        "users_own:os.system", {"users_own:os.system": "touch ran"},
        "users_own:remove", {"users_own:remove": {"path": "ran"}}, {"users_own:remove": "ran"},
        "users_own:CustomAttention", "users_own:softmax",  # defined elsewhere
        {"own_attentions:Saver": {"path": "ran"}}, {"own_attentions:Saver": "ran"},
        {"own_attentions:CustomAttention": {"hidden": 10**12}},
        {"own_attentions:softmax": {"scale": 1}}, "own_attentions:makes_a_rule",
        "torch:load", "torch.nn:Linear", {"torch.hub:load": {"repo_or_dir": "x/y", "model": "z"}},
        "torch.nn:Transformer", "antiphon.models.folders.hub:fetch", "antiphon.nn:Attention",
        {"antiphon.nn:FunctionAttention": {"function": "os:system"}},
        "__main__:anything", "users_own:__builtins__.exec", "users_own:__loader__.exec_module", "users_own:",
        "users_own:nothing",
    ],
    ids=str,
)  # fmt: skip
def test_a_folder_calls_nothing_but_attentions(spec: Any, users: types.ModuleType, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    for entry in (spec, [spec, "full"], {"all": [spec]}):
        config = AttentionConfig(encoder=entry)
        with pytest.raises(ConfigError) as caught:
            build_network(model(), config, source_vocab=9, target_vocab=9, shared=True, allow_import=False)
        assert "\n" not in str(caught.value)
    assert set(tmp_path.rglob("*")) == before


def folder_with(entry: object, place: Path) -> Path:
    """A folder whose encoder's attention is `entry`, which it was not trained with."""
    tokenizer = train_tokenizer(["a"], kind="bytes", vocab_size=260)
    made = build_network(model(), AttentionConfig(), source_vocab=260, target_vocab=260, shared=True)
    parts = Parts(made, model(), AttentionConfig(), tokenizer, tokenizer, "text", GenerationConfig())
    folder = save_model_folder(place, parts)
    config = json.loads((folder / "config.json").read_text())
    config["attention"]["encoder"] = entry
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_folder_is_loaded_after_the_import_and_not_before(users: types.ModuleType, tmp_path: Path) -> None:
    folder = folder_with({"users_own:Fade": {"rate": 0.2}}, tmp_path / "model")
    assert antiphon.load(folder).network.encoder.layers[0].mixer.rule.rate == 0.2
    # Another role's attention may be replaced: this one is still the folder's.
    with pytest.warns(UserWarning):
        replaced = antiphon.load(folder, attention={"cross": "additive"})
    assert replaced.network.encoder.layers[0].mixer.rule.rate == 0.2
    kept = sys.modules.pop("users_own")
    try:
        for load in (load_parts, antiphon.load):
            with pytest.raises(ConfigError, match=r"not imported unasked. Give `import users_own` first"):
                load(folder)
        with pytest.raises(ModelError, match="encoder attention `users_own:Fade` is not imported unasked"):
            antiphon.load(folder, attention={"cross": "additive"})
        assert "users_own" not in sys.modules
    finally:
        sys.modules["users_own"] = kept


def test_an_object_may_take_the_place_of_a_folders_attention(tmp_path: Path) -> None:
    folder = folder_with("full", tmp_path / "model")
    plain = antiphon.load(folder).network
    batch = collate(EXAMPLES, pad_id=0, start_id=1)
    replaced = antiphon.load(folder, attention=dict.fromkeys(("encoder", "decoder", "cross"), own.softmax))
    with torch.no_grad():  # the same equation with the same weights
        torch.testing.assert_close(replaced.network.logits(batch), plain.logits(batch), rtol=1e-4, atol=1e-4)
    with pytest.warns(UserWarning, match="scorer"):
        scored = antiphon.load(folder, attention={"cross": own.CustomAttention})
    assert scored.generate("ab", max_new_tokens=3)


def test_a_hostile_folder_is_refused_also_where_another_role_is_replaced(
    users: types.ModuleType, tmp_path: Path
) -> None:
    folder = folder_with({"users_own:remove": {"path": "ran"}}, tmp_path / "model")
    for settings in ({}, {"attention": {"cross": "additive"}}):
        with pytest.raises(antiphon.UsageError, match="must be a ScoreRule, a Mixer, or a function"):
            antiphon.load(folder, **settings)
    assert not (tmp_path / "ran").exists()


def test_each_layer_has_a_scorer_of_its_own() -> None:
    given = own.CustomAttention(D_MODEL)
    before = copy.deepcopy(given.state_dict())
    made = build_network(
        model(encoder_layers=2), AttentionConfig(encoder=given), source_vocab=9, target_vocab=9, shared=True
    )
    scorers = [layer.mixer.scorer for layer in made.encoder.layers]
    assert scorers[0] is not scorers[1] and given not in scorers
    for scorer in scorers:
        assert all(torch.equal(value, before[name]) for name, value in scorer.state_dict().items())
