"""Looking inside: the weights of every layer and head for one pair, whatever back end computes the answers.

    maps = attention_maps(model, "in 3 hours", "in 3 Stunden")      # what `model.attention` calls
    maps.cross.shape                            # (layers, heads, target positions, source positions)
    maps.pharaoh()                              # '0-0 1-1 2-2'

A query of the target is labelled by the token that is predicted there, so that row t of `cross` is what the model read
when it chose `target_tokens[t]`. Shapes: L layers, H heads, Q queries, K keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from antiphon.batch import Batch, Example, Tokens, collate
from antiphon.config import ROLES
from antiphon.display import Markup, beneath_picture, heat_map, joined, map_title, note, on_picture, panel, png
from antiphon.errors import AttentionError, ConfigError
from antiphon.inputs.pictures import SourcePicture
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import DecoderLayer, EncoderLayer
from antiphon.nn.mixers import Mixer
from antiphon.runtime.inference import evaluating
from antiphon.search.special_tokens import SpecialTokens
from antiphon.text import Tokenizer

MAPS = ("cross", "encoder", "decoder")  # the ROLES, in the order in which maps are shown


class MappedModel(Protocol):
    """The attributes of a model that are needed here; the module of `Model` imports this one."""

    network: EncoderDecoder
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    special_tokens: SpecialTokens


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The attention weights of one pair: `cross`, `encoder` and `decoder` are (L,H,Q,K), float32, on the processor.

    A role is None if no layer's mixer has weights; a layer without weights (or a head that only other layers have) is
    NaN. There is one token per position, including special tokens, which `source_special` and `target_special` mark.
    `start` is the decoder's first input token. `picture` is what a source of images or sound looks like; its tokens
    are then the places of patches (row,column), of columns of pixels, or of moments; of a text with images also the
    tokens of the text.
    """

    cross: Tensor | None
    encoder: Tensor | None
    decoder: Tensor | None
    source_tokens: list[str]
    target_tokens: list[str]
    source_special: list[bool]
    target_special: list[bool]
    start: str
    picture: SourcePicture | None = None

    def weights(self, role: str = "cross") -> Tensor:
        """The maps of `role`, (L,H,Q,K); ConfigError for an unknown role, or if no layer of it has weights."""
        if role not in MAPS:
            raise ConfigError(f"the role of a map must be one of {', '.join(MAPS)}, but is `{role}`.")
        found = {"cross": self.cross, "encoder": self.encoder, "decoder": self.decoder}[role]
        if found is None:
            raise ConfigError(
                f"the model's {role} attention has no weights to look at: its mixers have none in any layer. "
                "Choose another role."
            )
        return found

    def map(self, role: str = "cross", *, layer: int | None = None, head: int | None = None) -> Tensor:
        """One map (Q,K), of a layer and a head, counted from 0 as in the tensors; None: the mean of all that have
        weights. ConfigError if the layer or head does not exist or has no weights."""
        found = self.weights(role)
        for axis, (name, place) in enumerate((("layer", layer), ("head", head))):
            count = found.shape[axis]
            if place is None:
                found = found.nanmean(axis, keepdim=True)
            elif not 0 <= place < count:
                raise ConfigError(f"the {name} must be from 0 to {count - 1}, but is {place}.")
            else:
                found = found.narrow(axis, place, 1)
        if found.isnan().all():
            what = f"layer {layer + 1}" if head is None and layer is not None else f"head {(head or 0) + 1}"
            raise ConfigError(f"{what} of the {role} attention has no weights to look at. Choose another.")
        return found[0, 0]

    def labels(self, role: str = "cross") -> tuple[list[str], list[str]]:
        """The tokens of the queries (Q) and of the keys (K) of `role`; the decoder's keys are its input tokens."""
        if role == "encoder":
            return self.source_tokens, self.source_tokens
        read = [self.start, *self.target_tokens[:-1]]
        return self.target_tokens, read if role == "decoder" else self.source_tokens

    def alignment(
        self, *, layer: int | None = None, head: int | None = None, words: bool = False
    ) -> list[tuple[int, int]]:
        """For each target token the source token with the largest cross-attention weight, as (source, target) indices.

        Special tokens are excluded on both sides; indices count from 0 over the other tokens. With `words` the indices
        are those of words: a token that begins with "▁", or the first one, begins a word; the weights to the tokens of
        a source word are summed, those from the tokens of a target word averaged (Clark et al. 2019, section 4.1).
        """
        weights = self.map("cross", layer=layer, head=head)
        source = _groups(self.source_tokens, self.source_special, words=words and self.picture is None)
        target = _groups(self.target_tokens, self.target_special, words=words)
        if not source or not target:
            return []
        columns = torch.stack([weights[:, places].sum(1) for places in source], 1)
        rows = torch.stack([columns[places].mean(0) for places in target])
        # A query without visible keys has no alignment.
        return [(int(row.argmax()), place) for place, row in enumerate(rows) if bool(row.any())]

    def pharaoh(self, *, layer: int | None = None, head: int | None = None, words: bool = False) -> str:
        """The alignment as `0-0 1-2`, source index before target index, in the order of the target."""
        return " ".join(f"{i}-{j}" for i, j in self.alignment(layer=layer, head=head, words=words))

    def entropy(self, role: str = "cross") -> Tensor:
        """The entropy of each query's weights (L,H,Q), as `entropy_of`."""
        return entropy_of(self.weights(role))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{role} {'×'.join(map(str, found.shape))}" for role, found in self._there())
        return f"AttentionMaps({sizes or 'no weights'}; layers × heads × queries × keys)"

    def _repr_html_(self) -> str:
        """The mean map over layers and heads, of cross-attention if it has weights, as HTML for notebooks."""
        role, found = next(iter(self._there()), (None, None))
        if role is None or found is None:
            return panel("attention", note("no layer has weights to look at"))
        rows, columns = self.labels(role)
        title = map_title(role, None, None, *found.shape[:2])
        if role == "cross" and self.picture is not None:
            return panel(title, drawn_on(self.picture, self.map(role), rows))
        others = " and ".join(f"maps.{other}" for other, _ in self._there() if other != role)
        hint = "Rows are queries, columns keys; the numbers are percent. Each head: maps.map(layer=0, head=0)."
        drawn = heat_map(self.map(role).tolist(), rows=rows, columns=columns)
        return panel(title, drawn, note(hint + (f" There are {others} too." if others else "")))

    def _there(self) -> list[tuple[str, Tensor]]:
        """The roles that have weights, with them."""
        sides = {"cross": self.cross, "encoder": self.encoder, "decoder": self.decoder}
        return [(role, found) for role, found in sides.items() if found is not None]


def entropy_of(weights: Tensor) -> Tensor:
    """-Σ p ln p over the keys, in nats: weights (…,K) -> (…).

    p are the absolute weights, scaled to a sum of 1: with sinks they sum to less, and some mixers have negative
    weights. NaN if a query has no visible key.
    """
    p = weights.abs() / weights.abs().sum(-1, keepdim=True)
    return torch.special.entr(p).sum(-1)


def drawn_on(picture: SourcePicture, values: Tensor, tokens: Sequence[str]) -> Markup:
    """A map (Q,K) on the picture of the source, or below it, as HTML; below it also that of the text beside it."""
    channels, height, width = picture.pixels.shape
    content = picture.pixels.permute(1, 2, 0).contiguous().numpy().tobytes()
    stored = png(content, width=width, height=height, channels=channels)
    draw = beneath_picture if picture.beneath else on_picture
    rows = list(zip(tokens, values.nan_to_num().tolist(), strict=True))
    shown = draw(stored, (width, height), picture.boxes, rows)
    if not picture.tokens:
        return shown
    places = list(picture.tokens)
    beside = heat_map(values[:, places].tolist(), rows=tokens, columns=[picture.labels[place] for place in places])
    return joined(shown, beside)


def maps_of_features(
    model: MappedModel,
    features: Tensor,
    target: list[int],
    *,
    special_tokens: SpecialTokens,
    picture: Callable[[int], SourcePicture | None],
) -> AttentionMaps:
    """The maps of a source of features (F, M), and of the ids of a target with its end token. `special_tokens` are
    those of this source. `picture` returns what it looks like, for a number of positions of the encoder."""
    network = model.network
    target = special_tokens.with_first(target)
    batch = collate([Example(features, target, 0)], pad_id=special_tokens.pad, start_id=special_tokens.start)
    found, tokens = _recorded(network, batch.to(network.device), None)
    positions = tokens.pos.shape[1]
    seen = picture(positions)
    target_tokens, target_special = _pieces(model.target_tokenizer, target)
    return AttentionMaps(
        cross=_stacked(found["cross"]),
        encoder=_stacked(found["encoder"]),
        decoder=_stacked(found["decoder"]),
        source_tokens=list(seen.labels) if seen else [str(place + 1) for place in range(positions)],
        target_tokens=target_tokens,
        source_special=_without_place(seen) if seen else [False] * positions,
        target_special=target_special,
        start=model.target_tokenizer.pieces([special_tokens.start], specials=True)[0],
        picture=seen,
    )


def _without_place(seen: SourcePicture) -> list[bool]:
    """Which positions are neither a place of the picture nor a token of the text beside it."""
    tokens = set(seen.tokens)
    return [box is None and place not in tokens for place, box in enumerate(seen.boxes)]


def _pieces(tokenizer: Tokenizer, ids: list[int]) -> tuple[list[str], list[bool]]:
    """The tokens of `ids`, and which of them are special."""
    left_out = tokenizer.vocabulary.specials.control - {tokenizer.unk_id}
    return tokenizer.pieces(ids, specials=True), [id in left_out for id in ids]


def attention_maps(
    model: MappedModel, source: list[int], target: list[int], *, window: int | None = None
) -> AttentionMaps:
    """The maps of one pair of ids, each with its end token. A source of more than `window` tokens (None: the network's
    `max_length`) is encoded in windows. `model.attention` does the same for texts."""
    network, special_tokens = model.network, model.special_tokens
    target = special_tokens.with_first(target)
    batch = collate([Example(source, target, 0)], pad_id=special_tokens.pad, start_id=special_tokens.start)
    found = layer_weights(network, batch.to(network.device), window=window)
    source_tokens, source_special = _pieces(model.source_tokenizer, source)
    target_tokens, target_special = _pieces(model.target_tokenizer, target)
    return AttentionMaps(
        cross=_stacked(found["cross"]),
        encoder=_stacked(found["encoder"]),
        decoder=_stacked(found["decoder"]),
        source_tokens=source_tokens,
        target_tokens=target_tokens,
        source_special=source_special,
        target_special=target_special,
        start=model.target_tokenizer.pieces([special_tokens.start], specials=True)[0],
    )


def layer_weights(
    network: EncoderDecoder, batch: Batch, *, window: int | None = None
) -> dict[str, list[Tensor | None]]:
    """For each role the weights (B,H,Q,K) of each layer, from one forward pass without dropout; None for a layer whose
    mixer has none. The back ends are those of any forward pass: recording weights does not change the results."""
    return _recorded(network, batch, window)[0]


def _recorded(
    network: EncoderDecoder, batch: Batch, window: int | None
) -> tuple[dict[str, list[Tensor | None]], Tokens]:
    """The weights of `layer_weights`, and the tokens of the encoder's positions."""
    maps: dict[object, list[Tensor]] = {}
    with evaluating(network):
        memory = network.encode(batch.source, replace(batch.source_tokens, maps=maps), window=window)
        network.decode(batch.target_ids, replace(batch.target_tokens, maps=maps), memory, None)
    rows, sources, targets = batch.source.shape[0], memory.hidden.shape[1], batch.target_ids.shape[1]
    sides = {"cross": (targets, sources), "encoder": (sources, sources), "decoder": (targets, targets)}
    found = {
        role: [_given(mixer, maps.get(mixer, []), role, (rows, *sides[role])) for mixer in mixers]
        for role, mixers in mixers_of(network).items()
    }
    return found, memory.tokens


def mixers_of(network: EncoderDecoder) -> dict[str, list[Mixer]]:
    """The mixers of each role, one per layer."""
    found: dict[str, list[Mixer]] = {role: [] for role in MAPS}
    for layer in [*network.encoder.layers, *network.decoder.layers]:
        assert isinstance(layer, EncoderLayer | DecoderLayer)
        found["encoder" if isinstance(layer, EncoderLayer) else "decoder"].append(layer.mixer)
        if isinstance(layer, DecoderLayer):
            found["cross"].append(layer.cross)
    return found


def entropies(network: EncoderDecoder, batches: Iterable[Batch]) -> dict[str, float]:
    """`entropy_encoder`, `entropy_decoder` and `entropy_cross`, in nats: the mean over layers, heads and real queries.

    A role without weights has no figure.
    """
    sums: dict[str, float] = dict.fromkeys(MAPS, 0.0)
    counts: dict[str, int] = dict.fromkeys(MAPS, 0)
    for batch in batches:
        found, read = _recorded(network, batch, None)
        for role, layers in found.items():
            tokens = read if role == "encoder" else batch.target_tokens
            for weights in layers:
                if weights is None:
                    continue
                each = entropy_of(weights.float())  # (B, H, Q)
                counted = tokens.valid[:, None] & ~each.isnan()
                sums[role] += float(each.masked_fill(~counted, 0).sum())
                counts[role] += int(counted.sum())
    return {f"entropy_{role}": sums[role] / counts[role] for role in ROLES if counts[role]}


def _given(mixer: Mixer, found: Sequence[Tensor], role: str, shape: tuple[int, int, int]) -> Tensor | None:
    """The weights that a mixer recorded, if any; AttentionError for another shape than (B,H,Q,K)."""
    if not found:
        return None
    rows, queries, keys = shape
    weights = found[-1]
    if weights.dim() != 4 or (weights.shape[0], *weights.shape[2:]) != shape:
        raise AttentionError(
            f"the weights that `{type(mixer).__name__}` of the {role} attention records must be (rows, heads, queries, "
            f"keys), ({rows}, heads, {queries}, {keys}) here, but are {tuple(weights.shape)}."
        )
    return weights


def _stacked(layers: Sequence[Tensor | None]) -> Tensor | None:
    """The layers of one pair, (1,H,Q,K) each, as (L,H,Q,K); NaN for a layer, or a head of it, without weights."""
    there = [weights[0].float().cpu() for weights in layers if weights is not None]
    if not there:
        return None
    heads = max(weights.shape[0] for weights in there)
    whole = torch.full((len(layers), heads, *there[0].shape[1:]), torch.nan)
    for layer, weights in enumerate(layers):
        if weights is not None:
            whole[layer, : weights.shape[1]] = weights[0].float().cpu()
    return whole


def _groups(tokens: Sequence[str], special: Sequence[bool], *, words: bool) -> list[list[int]]:
    """The positions of each token, or of each word, without special tokens; spaces alone are no word."""
    places = [place for place, left_out in enumerate(special) if not left_out]
    if not words:
        return [[place] for place in places]
    found: list[list[int]] = []
    for place in places:
        if not found or tokens[place].startswith("▁"):
            found.append([])
        found[-1].append(place)
    return [group for group in found if any(tokens[place].strip("▁") for place in group)]
