"""The floating-point operations of a micro-batch in training, by kind of layer.

    counted = count_flops(shape, BatchShape(rows=64, source=48, target=52, labels=3100))
    counted.training, counted.parts["feed-forward"], counted.model

A product of (a, b) and (b, c) has 2·a·b·c operations. The gradient takes twice those of the forward pass: one product
for the input, one for the weight, which frozen weights do without. Only products are counted, as in Kaplan et al. 2020
(Scaling Laws for Neural Language Models, section 2.1) and by `torch.utils.flop_counter`; norms, softmax and dropout are
bound by memory and counted as bytes (activations.py). All positions of a batch are computed, padding included, but the
output table is multiplied with positions that have a label.
"""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.inspection.scaling.shape import LayerShape, MixerShape, NetworkShape, RecurrenceShape
from antiphon.nn.backends.choice import BLOCKS_FROM_LENGTH, MIN_BLOCKS_RATIO


@dataclass(frozen=True)
class BatchShape:
    """A micro-batch: rows, positions of the longest source and target, and positions with a label."""

    rows: float
    source: float
    target: float
    labels: float

    @property
    def positions(self) -> float:
        """The positions of both sides, padding included."""
        return self.rows * (self.source + self.target)


@dataclass(frozen=True)
class Flops:
    """Operations of one micro-batch. `parts` are those of the forward pass by kind of layer. `training` is what is
    computed: `model` (forward and gradient), and what checkpointing computes again."""

    parts: dict[str, float]
    forward: float
    model: float
    training: float


def count_flops(
    shape: NetworkShape, batch: BatchShape, *, checkpoint: bool = False, passes: int = 1, teacher: float = 0.0
) -> Flops:
    """The operations of `batch`. `checkpoint`: activations are computed twice. `passes`: 2 for R-Drop. `teacher`: the
    forward operations of a teacher."""
    parts: dict[str, float] = dict.fromkeys(
        ("self-attention", "attention pairs", "cross-attention", "feed-forward", "vocabulary"), 0.0
    )
    sides = ((shape.encoder, batch.source), (shape.decoder, batch.target))
    for layers, length in sides:
        for layer in layers:
            for name, amount in _layer(layer, batch, length).items():
                parts[name] += amount * passes
    parts["vocabulary"] = 2 * batch.labels * shape.width * shape.table * passes
    forward = sum(parts.values())
    # The gradient by the inputs is needed by every layer below which something learns; that by the weights only where
    # the weights learn themselves.
    learns = shape.trainable / max(1, shape.parameters)
    pairs = parts["attention pairs"]
    model = 2 * forward + (forward - pairs) * learns + pairs
    again = forward - parts["vocabulary"] if checkpoint else 0.0
    return Flops(parts, forward, model, model + again + teacher)


def _layer(layer: LayerShape, batch: BatchShape, length: float) -> dict[str, float]:
    positions = batch.rows * length
    found = {
        "self-attention": 2 * layer.mixer.query_weights * positions,
        "attention pairs": pair_flops(layer.mixer, batch.rows, length, length),
        "feed-forward": 2 * layer.ffn_weights * positions,
    }
    if layer.cross is not None:
        keys = 2 * layer.cross.key_weights * batch.rows * batch.source
        found["cross-attention"] = 2 * layer.cross.query_weights * positions + keys
        found["attention pairs"] += pair_flops(layer.cross, batch.rows, length, batch.source)
    return found


def pair_flops(mixer: MixerShape, rows: float, queries: float, keys: float) -> float:
    """The operations of a forward pass that depend on queries and keys together, without the projections."""
    heads, dim = mixer.num_heads, mixer.head_dim
    if mixer.recurrence is not None:
        return _recurrent(mixer, mixer.recurrence, rows, queries, keys)
    if uses_blocks(mixer, keys):
        count = -(-queries // mixer.block)
        rows, queries, keys = rows * count, mixer.block, mixer.block_keys
    products = 4 * rows * heads * queries * keys * dim  # q·k, and the weights times v
    return products + 2 * rows * heads * queries * mixer.relative_keys * dim


def uses_blocks(mixer: MixerShape, keys: float) -> bool:
    """Whether attention over rows of `keys` keys is computed in blocks."""
    long = keys >= BLOCKS_FROM_LENGTH and keys >= MIN_BLOCKS_RATIO * mixer.block_keys
    return mixer.block > 0 and long and not mixer.dropout


def _recurrent(mixer: MixerShape, own: RecurrenceShape, rows: float, queries: float, keys: float) -> float:
    """Chunks of C tokens: products within a chunk, with the memory (D, V) before it, and the update of the memory."""
    heads, groups, dim, value = mixer.num_heads, mixer.groups, mixer.head_dim, own.value_dim
    update, read = 2 * groups * dim * value, 2 * heads * dim * value
    if not own.scan:
        return rows * (keys * update + queries * read)
    chunk = min(own.chunk, keys)
    if own.corrects:  # a key reads the memory, and is multiplied with the keys of its chunk
        update += 2 * groups * dim * (value + chunk)
    if mixer.role == "cross":  # every query reads the last memory; nothing is read within the chunks
        return rows * own.ways * (keys * update + queries * read)
    within = 2 * heads * chunk * (dim + value)
    return rows * queries * own.ways * (within + read + update)
