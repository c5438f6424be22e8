"""Attention maps: what they hold is the layer's own softmax(q·k), to look changes nothing, and alignments follow."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from search.toys import toy

from antiphon.batch import Example, collate
from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.errors import AttentionError, ConfigError, DataError, ModelError
from antiphon.generation.attention.maps import AttentionMaps, entropies, entropy_of, layer_weights, mixers_of
from antiphon.generation.load import load
from antiphon.generation.model import Model
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts, save_model_folder
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.attention import Attention
from antiphon.nn.mixers import Mixer
from antiphon.nn.rules import ScoreRule
from antiphon.text import train_tokenizer

KINDS = ["paper", "rotary", "alibi", "relative", "grouped", "window", "additive", "alternating"]
PAIRS = [Example([5, 6, 7, 2], [8, 9, 2], 0), Example([5, 2], [8, 9, 3, 4, 2], 1)]
WORDS = ["one two three four five six seven eight"] * 4


class Tent(ScoreRule):
    """Nearer is better, with a learned slope."""

    additive = True

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.slope = torch.nn.Parameter(torch.ones(num_heads))

    def score(self, score, batch, head, q_pos, k_pos):
        return score - self.slope[head] * (q_pos - k_pos).abs()


class Silent(Mixer):
    """Passes on what it reads: it has no weights."""

    def setup(self, **settings: object) -> None: ...

    def begin(self, rows, capacity, memory=None):
        from antiphon.nn.state import MemoryState, State

        return State() if memory is None else MemoryState(memory.tokens)

    def forward(self, x, tokens, state):
        return x, state


class Wrong(Silent):
    """Gives weights of a shape that nobody can read."""

    def forward(self, x, tokens, state):
        if (record := self.recorder(tokens, state)) is not None:
            record.append(x)
        return x, state


def model_of(attention: dict[str, object] | None = None, *, generation: dict[str, object] | None = None, **settings):
    """A model of random weights in words of `WORDS`."""
    config = ModelConfig(
        "tiny", **{"d_model": 16, "num_heads": 2, "ffn_dim": 24, "max_length": 40, "encoder_layers": 2, **settings}
    )
    tokenizer = train_tokenizer(WORDS, kind="bpe", vocab_size=300)
    chosen, size = AttentionConfig(**(attention or {})), tokenizer.vocab_size
    network = build_network(config, chosen, source_vocab=size, target_vocab=size, shared=True, seed=5).eval()
    search = GenerationConfig(**{"max_new_tokens": 7, **(generation or {})})
    return Model.from_parts(Parts(network, config, chosen, tokenizer, tokenizer, "translation", search))


def by_hand(network: EncoderDecoder, batch) -> dict[str, list[torch.Tensor]]:
    """The weights of plain dot-product layers from their projections, pair by pair, as the paper's equation 1 says."""
    seen: dict[str, list[tuple[Attention, torch.Tensor, torch.Tensor]]] = {}

    def watch(role: str) -> Callable:
        def hook(mixer, inputs, output):
            x = inputs[0]
            keys = memory[0] if role == "cross" else x
            seen.setdefault(role, []).append((mixer, x, keys))

        return hook

    memory: list[torch.Tensor] = []
    handles = [m.register_forward_hook(watch(role)) for role, found in mixers_of(network).items() for m in found]
    with torch.no_grad():
        memory.append((kept := network.encode(batch.source, batch.source_tokens)).hidden)
        network.decode(batch.target_ids, batch.target_tokens, kept, None)
    for handle in handles:
        handle.remove()
    made: dict[str, list[torch.Tensor]] = {}
    for role, calls in seen.items():
        q_pos = (batch.source_tokens if role == "encoder" else batch.target_tokens).pos
        k_pos = (batch.target_tokens if role == "decoder" else batch.source_tokens).pos
        for mixer, x, keys in calls:
            rows, heads, width = x.shape[0], mixer.num_heads, mixer.head_dim
            weights = torch.zeros(rows, heads, x.shape[1], keys.shape[1], dtype=torch.float64)
            with torch.no_grad():
                q, k = mixer.q(x), mixer.k(keys)
            for row in range(rows):
                for head in range(heads):
                    part = slice(head * width, (head + 1) * width)
                    for i in range(x.shape[1]):
                        there = [
                            j
                            for j in range(keys.shape[1])
                            if k_pos[row, j] >= 0 and (role != "decoder" or k_pos[row, j] <= q_pos[row, i])
                        ]
                        if not there:
                            continue
                        each = torch.stack([q[row, i, part] @ k[row, j, part] for j in there]) / width**0.5
                        weights[row, head, i, there] = each.softmax(0)
            made.setdefault(role, []).append(weights)
    return made


def test_the_weights_are_those_of_the_equation() -> None:
    network, batch = toy("paper"), collate(PAIRS, pad_id=0, start_id=1)
    found, expected = layer_weights(network, batch), by_hand(network, batch)
    for role in ("encoder", "decoder", "cross"):
        assert len(found[role]) == len(expected[role]) == len(mixers_of(network)[role])
        for mine, theirs in zip(found[role], expected[role], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_rows_sum_to_one_over_what_is_visible(name: str) -> None:
    batch = collate(PAIRS, pad_id=0, start_id=1)
    for role, layers in layer_weights(toy(name), batch).items():
        k_pos = (batch.target_tokens if role == "decoder" else batch.source_tokens).pos[:, None, None]
        q_pos = (batch.source_tokens if role == "encoder" else batch.target_tokens).pos[:, None, :, None]
        hidden = (k_pos < 0) | ((k_pos > q_pos) if role == "decoder" else torch.tensor(False))
        if name == "window" and role != "cross":
            hidden = hidden | ((q_pos - k_pos).abs() >= 3)
        for weights in layers:
            assert weights is not None and weights.min() >= 0
            assert not weights.masked_select(hidden.expand_as(weights)).any()
            sums = weights.sum(-1).masked_select((q_pos[..., 0] >= 0).expand(weights.shape[:3]))
            torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["auto", "eager", "sdpa"])
@pytest.mark.parametrize("name", KINDS)
def test_to_look_changes_no_bit(name: str, backend: str) -> None:
    network, batch = toy(name), collate(PAIRS, pad_id=0, start_id=1)
    mixers = [mixer for found in mixers_of(network).values() for mixer in found if isinstance(mixer, Attention)]
    maps: dict[object, list[torch.Tensor]] = {}
    looks, before = [None, maps, None], [mixer.backend for mixer in mixers]
    try:
        for mixer in mixers:
            mixer.backend = backend
        found = []
        for look in looks:
            with torch.no_grad():
                memory = network.encode(batch.source, replace(batch.source_tokens, maps=look))
                hidden, _ = network.decode(batch.target_ids, replace(batch.target_tokens, maps=look), memory, None)
            found.append(hidden)
        assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
        assert all(len(each) == 1 for each in maps.values())
    finally:
        for mixer, was in zip(mixers, before, strict=True):
            mixer.backend = was


def test_the_maps_of_a_fast_back_end_are_those_of_the_definition() -> None:
    made = model_of()
    plain = made.attention("one two", "three four")
    for found in mixers_of(made.network).values():
        for mixer in found:
            mixer.backend = "sdpa"
    fast = made.attention("one two", "three four")
    for role in ("encoder", "decoder", "cross"):
        torch.testing.assert_close(fast.weights(role), plain.weights(role), rtol=0, atol=1e-6)


def test_tokens_shapes_and_labels() -> None:
    made = model_of()
    maps = made.attention("one two", "three")
    assert maps.source_tokens == [*made.tokenizer.tokens("one two"), "</s>"]
    assert maps.target_tokens == [*made.tokenizer.tokens("three"), "</s>"]
    assert maps.source_special == [False] * (len(maps.source_tokens) - 1) + [True]
    sources, targets = len(maps.source_tokens), len(maps.target_tokens)
    assert maps.weights("encoder").shape == (2, 2, sources, sources)
    assert maps.weights("decoder").shape == (2, 2, targets, targets)
    assert maps.weights("cross").shape == (2, 2, targets, sources)
    assert maps.labels("decoder") == (maps.target_tokens, ["<s>", *maps.target_tokens[:-1]])
    assert maps.weights("decoder")[..., 0, 0].eq(1).all()  # the first query sees the start alone


def test_without_a_target_it_is_the_models_own_answer() -> None:
    made = model_of()
    before = made.generate("one two three")[0]
    own = made.attention("one two three")
    marked = zip(own.target_tokens, own.target_special, strict=True)
    assert [token for token, special in marked if not special] == before.tokens
    assert made.generate("one two three")[0] == before
    assert made.attention("one two three", before.text).target_tokens[-1] == "</s>"


def test_training_mode_is_put_back_and_has_no_dropout() -> None:
    made = model_of(dropout=0.4, attention_dropout=0.4)
    expected = made.attention("one two", "three").weights()
    made.network.train()
    assert torch.equal(made.attention("one two", "three").weights(), expected)
    assert made.network.training


def copying(source: list[str], target: list[str], weights: torch.Tensor, special: int = 1) -> AttentionMaps:
    """Maps whose cross attention is given, (Q,K)."""
    marks = [[place >= len(side) - special for place in range(len(side))] for side in (source, target)]
    return AttentionMaps(weights[None, None].float(), None, None, source, target, marks[0], marks[1], "<s>")


def test_the_alignment_of_a_copy_is_diagonal() -> None:
    tokens = ["▁one", "▁two", "▁three", "</s>"]
    maps = copying(tokens, tokens, 0.4 * torch.eye(4) + 0.15)
    assert maps.alignment() == [(0, 0), (1, 1), (2, 2)]
    assert maps.pharaoh() == maps.pharaoh(layer=0, head=0) == maps.pharaoh(words=True) == "0-0 1-1 2-2"


def test_a_model_that_copies_aligns_to_what_it_copies() -> None:
    """Cross attention by positions alone: the query at t looks at source token t, whatever the weights are."""

    class Same(ScoreRule):
        def score(self, score, batch, head, q_pos, k_pos):
            return score - 1000.0 * (q_pos - k_pos).abs()

    made = model_of({"cross": Same()})
    maps = made.attention("one two three four", "one two three four")
    assert maps.pharaoh() == " ".join(f"{i}-{i}" for i in range(len(maps.source_tokens) - 1))
    assert maps.pharaoh(words=True) == "0-0 1-1 2-2 3-3"


def test_specials_are_left_out_wherever_they_stand() -> None:
    weights = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.1, 0.4], [0.3, 0.4, 0.3]])
    maps = AttentionMaps(
        weights[None, None], None, None, ["<de>", "a", "b"], ["a", "<x>", "b"],
        [True, False, False], [False, True, False], "<s>",
    )  # fmt: skip
    assert maps.alignment() == [(1, 0), (0, 1)]


def test_words_sum_over_keys_and_average_over_queries() -> None:
    source, target = ["so", "me", "▁wo", "rd", "▁", "</s>"], ["▁ei", "n", "▁▁", "▁wort", "</s>"]
    weights = torch.tensor(
        [
            [0.3, 0.1, 0.35, 0.0, 0.25, 0.0],
            [0.1, 0.1, 0.5, 0.2, 0.1, 0.0],
            [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
            [0.3, 0.3, 0.35, 0.0, 0.0, 0.05],
            [0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        ]
    )
    maps = copying(source, target, weights)
    # ein: some 0.2 + 0.1, word 0.425 + 0.1; wort: some 0.6, word 0.35. Spaces alone are no word.
    assert maps.pharaoh(words=True) == "1-0 0-1"
    assert maps.pharaoh() == "2-0 2-1 2-2 2-3"


def test_a_query_that_sees_nothing_has_no_link() -> None:
    maps = copying(["a", "</s>"], ["b", "c", "</s>"], torch.tensor([[0.0, 0.0], [0.9, 0.1], [0.5, 0.5]]))
    assert maps.alignment() == [(0, 1)]


def test_layers_without_weights_are_nan_and_a_role_without_any_is_none() -> None:
    maps = model_of({"decoder": ["full", Silent()], "encoder": Silent()}, decoder_layers=3).attention("one", "two")
    assert maps.encoder is None and maps.decoder is not None and maps.cross is not None
    assert [bool(layer.isnan().all()) for layer in maps.decoder] == [False, True, False]
    mean = maps.map("decoder")
    torch.testing.assert_close(mean, (maps.decoder[0] + maps.decoder[2]).mean(0) / 2)
    assert maps.map("decoder", layer=2, head=1).equal(maps.decoder[2, 1])
    with pytest.raises(ConfigError, match="encoder attention has no weights to look at"):
        maps.weights("encoder")
    with pytest.raises(ConfigError, match="layer 2 of the decoder attention has no weights"):
        maps.map("decoder", layer=1)
    with pytest.raises(ConfigError, match="the layer must be from 0 to 2, but is 3"):
        maps.map("decoder", layer=3)
    with pytest.raises(ConfigError, match="the head must be from 0 to 1, but is -1"):
        maps.map("decoder", head=-1)
    with pytest.raises(ConfigError, match="must be one of cross, encoder, decoder, but is `corss`"):
        maps.map("corss")


def test_weights_of_a_wrong_shape_are_told() -> None:
    with pytest.raises(AttentionError, match=r"`Wrong` of the encoder attention records must be .* \(1, heads, 4, 4\)"):
        model_of({"encoder": Wrong()}).attention("one two three")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("",), DataError, "`source` must have at least one token"),
        (([],), DataError, "`source` must be one text"),
        (("one", 3), DataError, "`target` must be one text, but is 3"),
        (("one " * 60,), DataError, "the source must have at most 40 tokens"),
        (("one", "two " * 60), DataError, "the target must have at most 40 tokens"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        model_of(generation={"overflow": "split"}).attention(*arguments)
    assert "\n" not in str(raised.value)


def test_a_long_source_is_cut_where_the_model_truncates() -> None:
    maps = model_of(generation={"overflow": "truncate"}).attention("one " * 60, "two")
    assert len(maps.source_tokens) == 40 and maps.source_tokens[-1] == "</s>"


def test_a_long_source_is_looked_at_whole_where_it_is_read_in_windows() -> None:
    text = "one " * 60
    made = model_of(generation={"overflow": "window"})
    maps = made.attention(text, "two")
    length = len(maps.source_tokens)
    assert length > 60 and maps.source_tokens[:-1] == made.tokenizer.tokens(text)
    assert maps.weights("cross").shape[2:] == (len(maps.target_tokens), length)
    for role in ("cross", "encoder"):
        sums = maps.weights(role).sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))
    assert maps.weights("encoder").shape[2:] == (length, length)
    assert not maps.weights("encoder")[:, :, 0, 40:].any()
    asked = model_of(generation={"overflow": "split"}).attention(text, "two", overflow="window")
    assert torch.equal(asked.weights(), maps.weights())
    with pytest.raises(DataError, match=r"the source must have at most 40 .* or ask for `overflow` truncate or"):
        model_of(generation={"overflow": "split"}).attention(text, "two")


def test_an_ensemble_is_refused(tmp_path: Path) -> None:
    folder = model_of().save(tmp_path / "model")
    with pytest.raises(ModelError, match="this is an ensemble"):
        load([folder, folder], device="cpu").attention("one")


def test_entropy_is_that_of_the_definition() -> None:
    weights = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.1, 0.1, 0.2], [0.0, 0.0, 0.0], [-0.2, 0.2, 0.0]])
    found = entropy_of(weights.double()).tolist()
    expected = [0.6931471805599453, 0.0, 1.0397207708399179]  # ln 2, 0, 1/4, 1/4 and 1/2
    assert found[:3] == pytest.approx(expected) and found[4] == pytest.approx(expected[0])
    assert found[3] != found[3]


def test_entropies_are_means_over_layers_heads_and_real_queries() -> None:
    network, batch = toy("alternating"), collate(PAIRS, pad_id=0, start_id=1)
    found = entropies(network, [batch])
    for role, layers in layer_weights(network, batch).items():
        tokens = batch.source_tokens if role == "encoder" else batch.target_tokens
        each = [
            -sum(p * float(torch.log(torch.tensor(p, dtype=torch.float64))) for p in row.tolist() if p > 0)
            for weights in layers
            for number in range(2)
            for head in range(2)
            for row in weights[number, head, tokens.valid[number]]
        ]
        assert found[f"entropy_{role}"] == pytest.approx(sum(each) / len(each), abs=1e-5)
    apart = [collate([pair], pad_id=0, start_id=1) for pair in PAIRS]
    assert entropies(network, apart) == pytest.approx(found, abs=1e-5)


def test_a_role_without_weights_has_no_entropy() -> None:
    made = model_of({"encoder": Silent()})
    batch = collate([Example([5, 2], [6, 2], 0)], pad_id=0, start_id=1)
    assert set(entropies(made.network, [batch])) == {"entropy_decoder", "entropy_cross"}


# Loading with another attention: what is kept, new and dropped.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_of().save(tmp_path_factory.mktemp("maps") / "model")


def names_of(model: Model, part: str) -> set[str]:
    return {name for name, _ in model.network.named_parameters() if part in name}


def swapped(folder: Path, attention: dict[str, object], **settings) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(folder, device="cpu", attention=attention, **settings)


def test_without_new_parameters_all_weights_are_kept_in_silence(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made, plain = load(folder, device="cpu", attention={"encoder": "alibi"}), load(folder, device="cpu")
    assert made.account is not None and not made.account.new and not made.account.dropped
    assert set(made.account.kept) == {name for name, _ in made.network.named_parameters()}
    for (_, mine), (_, theirs) in zip(made.network.named_parameters(), plain.network.named_parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert plain.account == made.account


def test_a_learned_rule_adds_its_table_and_says_so(folder: Path) -> None:
    with pytest.warns(UserWarning, match=r"was replaced \(decoder\): \d+ weights are kept, 1 is new and untrained \("):
        made = load(folder, device="cpu", attention={"decoder": "relative"})
    assert made.account is not None and len(made.account.new) == 1 and not made.account.dropped
    assert made.account.new[0].startswith("decoder.rules.0.")
    before, table = made.score("one two", "two one")[0], made.network.decoder.rules[0].table
    with torch.no_grad():
        table.add_(torch.linspace(-3, 3, table.numel()).view_as(table))
    assert made.score("one two", "two one")[0] != pytest.approx(before, abs=1e-4), "the new table must be asked"
    assert made.generate("one two")[0].score < 0


def test_a_mixer_keeps_the_projections_and_adds_its_own(folder: Path) -> None:
    made, plain = swapped(folder, {"cross": "additive"}), load(folder, device="cpu")
    assert made.account is not None
    assert {name.split(".")[-1] for name in made.account.new} == {"scorer"}
    assert all(name.startswith("decoder.layers.") and ".cross." in name for name in made.account.new)
    kept = [name for name in made.account.kept if ".cross." in name]
    assert {name.split(".")[4] for name in kept} == {"q", "k", "v", "o"}
    mine, theirs = dict(made.network.named_parameters()), dict(plain.network.named_parameters())
    assert all(torch.equal(mine[name], theirs[name]) for name in made.account.kept)


def test_what_is_not_needed_is_dropped_and_the_other_way_round(tmp_path: Path) -> None:
    folder = model_of({"encoder": "additive", "decoder": "relative"}).save(tmp_path / "model")
    made = swapped(folder, {"encoder": "full", "decoder": "full"})
    assert made.account is not None and not made.account.new
    assert {name.split(".")[-1] for name in made.account.dropped} >= {"scorer"}
    assert any(name.startswith("decoder.rules.0.") for name in made.account.dropped)


def test_another_shape_is_new(tmp_path: Path) -> None:
    folder = model_of({"encoder": {"relative": {"buckets": 8}}}).save(tmp_path / "model")
    made = swapped(folder, {"encoder": {"relative": {"buckets": 16}}})
    assert made.account is not None and made.account.new == made.account.dropped != ()


def test_new_weights_are_a_function_of_the_seed(folder: Path) -> None:
    one, same, other = (swapped(folder, {"encoder": "additive"}, seed=seed) for seed in (1, 1, 2))
    assert one.account is not None
    (name, *_) = one.account.new
    weights = [dict(each.network.named_parameters())[name] for each in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    tables = [each.network.output.weight for each in (one, other)]
    assert torch.equal(*tables)


@pytest.mark.parametrize("entry", [Tent(), Tent, f"{__name__}:Tent", ["full", Tent], ["full", {"window": 3}, Tent()]])
@pytest.mark.parametrize("role", ["encoder", "decoder", "cross"])
def test_by_instance_class_name_and_list(folder: Path, role: str, entry: object) -> None:
    made = swapped(folder, {role: entry})
    assert made.account is not None
    listed = entry if isinstance(entry, list) else [entry]
    used = listed[: made.parts.model.encoder_layers if role == "encoder" else made.parts.model.decoder_layers]
    learned = sum(each is Tent or isinstance(each, Tent) or (isinstance(each, str) and ":" in each) for each in used)
    assert len(made.account.new) == learned
    assert made.attention("one", "two").weights(role).isfinite().all()


def test_a_class_is_saved_by_its_name(folder: Path, tmp_path: Path) -> None:
    from antiphon.nn.rules import Alibi

    swapped(folder, {"encoder": Alibi}).save(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["attention"]["encoder"] == "alibi"
    again, held = load(tmp_path / "model", device="cpu"), swapped(folder, {"encoder": Alibi})
    assert again.score("one two", "two one") == held.score("one two", "two one")
    assert again.score("one two", "two one") != load(folder, device="cpu").score("one two", "two one")


def test_only_the_roles_that_change_may_lack_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = model_of().save(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    for name in ("decoder.layers.0.mixer.q.weight", "encoder.layers.0.mixer.q.weight", "encoder.final.weight"):
        save_file({key: value for key, value in weights.items() if key != name}, folder / "model.safetensors")
        with pytest.raises(ModelError, match=f"lacks `{name}`"):
            load(folder, device="cpu")
        if name.startswith("encoder.layers"):
            made = swapped(folder, {"encoder": "alibi"})
            assert made.account is not None and made.account.new == (name,)
        else:
            with pytest.raises(ModelError, match=f"lacks `{name}`"):
                swapped(folder, {"encoder": "alibi"})


def test_an_unknown_role_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="encoder"):
        swapped(folder, {"encodr": "full"})


def test_saved_by_the_folder_function_is_the_same(tmp_path: Path) -> None:
    made = model_of()
    save_model_folder(tmp_path / "model", made.parts)
    assert made.account is None
    found = load(tmp_path / "model", device="cpu").attention("one two", "three")
    assert torch.equal(found.weights(), made.attention("one two", "three").weights())


def test_the_back_end_is_saved_and_kept(tmp_path: Path) -> None:
    folder = model_of({"encoder": {"window": 3}, "backend": "sdpa"}).save(tmp_path / "model")
    assert json.loads((folder / "config.json").read_text())["attention"]["backend"] == "sdpa"
    for attention, expected in ((None, "sdpa"), ({"decoder": "alibi"}, "sdpa"), ({"backend": "eager"}, "eager")):
        made = load(folder, device="cpu", attention=attention)
        used = {mixer.backend for found in mixers_of(made.network).values() for mixer in found}
        assert used == {expected} and made.parts.attention.backend == expected
    again = load(made.save(tmp_path / "again"), device="cpu")
    assert again.parts.attention.backend == "eager"
    config = json.loads((folder / "config.json").read_text())
    del config["attention"]["backend"]  # as folders of before
    (folder / "config.json").write_text(json.dumps(config))
    assert load(folder, device="cpu").parts.attention.backend == "auto"


def test_a_folder_with_tables_that_are_shared_now_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """Before, `relative & qk_norm` had a table a layer; the weights of such a folder have the names of `per_layer`."""
    own = {"all": [{"relative": {"per_layer": True}}, "qk_norm"]}
    folder = model_of({"encoder": own}).save(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["attention"]["encoder"] = {"all": ["relative", "qk_norm"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"lacks `encoder.rules.0.table`.* give the rule `per_layer: true`") as raised:
        load(folder, device="cpu")
    assert "\n" not in str(raised.value)
    assert load(folder, device="cpu", attention={"encoder": own}).account.new == ()


def test_a_composition_with_a_shared_part_is_loaded_as_saved(tmp_path: Path) -> None:
    made = model_of({"encoder": {"all": ["relative", "qk_norm"]}, "cross": ["full", {"all": ["relative", "sinks"]}]})
    again = load(made.save(tmp_path / "model"), device="cpu")
    for role in ("encoder", "cross"):
        assert torch.equal(again.attention("one", "two").weights(role), made.attention("one", "two").weights(role))
