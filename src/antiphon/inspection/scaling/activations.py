"""The bytes that a micro-batch's forward pass stores for its gradient, and what the loss and one layer need beside.

    stored = activation_bytes(shape, batch, ActivationSettings(half=True, fused=True))
    stored.layers, stored.loss, stored.largest_layer

Counted is what each operation of our layers saves (Korthikanti et al. 2023, Reducing Activation Recomputation in Large
Transformer Models, section 4, counts the same for a decoder). D is the width of a layer, for each of its positions:

* the input of a norm (float32), its output, which the next product reads, and the factors of dropout;
* queries, keys and values as the products read them, and the input of the output projection;
* the weights of attention for each pair, unless fused attention computes them again;
* the input of the activation, if its derivative needs it, and that of the second feed-forward product.

With autocast, what products read has 2 bytes; a bfloat16 copy of each linear weight is stored too. In float32,
projections that are computed together (q, k and v) store their joined weight.
"""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.inspection.scaling.flops import BatchShape, uses_blocks
from antiphon.inspection.scaling.shape import LayerShape, MixerShape, NetworkShape
from antiphon.nn.loss import chunk_rows

WIDE = 4  # bytes of a float32


@dataclass(frozen=True)
class ActivationSettings:
    """`half`: products in bfloat16. `fused`: attention without dropout stores no weights, as on a GPU. `checkpoint`:
    layers are computed again for the gradient. `copies`: whether autocast stores a bfloat16 copy of the weights, which
    FSDP2 with bfloat16 parameters does not. `passes`: 2 for R-Drop."""

    half: bool = False
    fused: bool = False
    checkpoint: bool = False
    copies: bool = True
    passes: int = 1

    @property
    def narrow(self) -> int:
        """Bytes of a number that a product reads."""
        return 2 if self.half else WIDE


@dataclass(frozen=True)
class ActivationBytes:
    """Bytes of one micro-batch: of all layers, of the weights that are stored beside (copies and joined ones), of the
    loss (the gradients that it computes at once, and chunks of logits), and of the largest layer, which is computed
    again under checkpointing. `touched` is what all layers store without checkpointing, and the logits: a measure of
    the traffic with memory."""

    layers: float
    weights: float
    loss: float
    largest_layer: float
    touched: float

    @property
    def total(self) -> float:
        """The peak of all of them."""
        return self.layers + self.weights + self.loss + self.largest_layer


def activation_bytes(shape: NetworkShape, batch: BatchShape, settings: ActivationSettings) -> ActivationBytes:
    """The bytes of `batch`, whose rows are computed `passes` times."""
    rows = batch.rows * settings.passes
    each = [_layer(layer, rows, length, batch.source, settings) for layer, length in _lengths(shape, batch)]
    inputs = [WIDE * layer.width * rows * length for layer, length in _lengths(shape, batch)]
    # The factors of dropout and the scaled vectors of the embeddings, the last norms, and the memory.
    ends = 3 * WIDE * rows * (shape.source_width * batch.source + shape.width * batch.target)
    stored = sum(inputs) if settings.checkpoint else sum(each)
    labels = batch.labels * settings.passes
    chunk = min(labels, chunk_rows(shape.table))
    gradients = WIDE * shape.table * shape.width + 2 * settings.narrow * labels * shape.width
    copy = settings.narrow * shape.table * shape.width if settings.half else 0
    # Two chunks exist at a time, each also in 16 bits if the products have these.
    loss = gradients + copy + 2 * (WIDE + (settings.narrow if settings.half else 0)) * chunk * shape.table
    copies = [_stored_weights(layer, settings) for layer in shape.layers if settings.copies]
    weights = max(copies, default=0.0) if settings.checkpoint else sum(copies)
    largest = max(each, default=0.0) if settings.checkpoint else 0.0
    touched = sum(each) + ends + WIDE * labels * shape.table  # the logits pass through memory too
    return ActivationBytes(stored + ends, weights, loss, largest, touched)


def _lengths(shape: NetworkShape, batch: BatchShape) -> list[tuple[LayerShape, float]]:
    """Each layer with the length of its rows."""
    return [(layer, batch.source) for layer in shape.encoder] + [(layer, batch.target) for layer in shape.decoder]


def _layer(layer: LayerShape, rows: float, length: float, source: float, settings: ActivationSettings) -> float:
    positions, narrow = rows * length, settings.narrow
    blocks = 2 if layer.cross is None or layer.cross.merged else 3
    # RMSNorm also stores its normalized input; what a block's product reads is stored once a block.
    norms = layer.width * (layer.norms * WIDE * (1 + layer.rms) + blocks * narrow)
    keep = blocks * narrow * layer.width if layer.dropout else 0
    found = positions * (norms + keep) + _mixer(layer.mixer, rows, length, length, settings)
    if layer.cross is not None:
        found += _mixer(layer.cross, rows, length, source, settings)
    # relu's gradient needs its output, which the next product stores anyhow; others need their input.
    inner = 4 if layer.gated else 1 if layer.relu else 2
    inner += 2 if layer.activation_dropout else 0
    return found + positions * narrow * inner * layer.ffn_dim


def _mixer(mixer: MixerShape, rows: float, queries: float, keys: float, settings: ActivationSettings) -> float:
    """What attention stores besides the input of its projections."""
    narrow, width = settings.narrow, mixer.head_dim
    found = narrow * rows * queries * 2 * mixer.num_heads * width  # q, and the input of the output projection
    found += narrow * rows * keys * 2 * mixer.groups * width  # k and v
    if mixer.recurrence is not None:
        own = mixer.recurrence
        # Float32 copies of q, k and v, the products of a chunk, and a memory for each chunk.
        value = own.value_dim
        found += WIDE * rows * (queries * mixer.num_heads * 2 * width + keys * mixer.groups * 3 * value)
        if own.scan:
            chunks = -(-keys // own.chunk) * own.ways
            chunk = min(own.chunk, keys)
            found += WIDE * rows * chunks * (mixer.groups * 3 * width * value + mixer.num_heads * 3 * chunk * chunk)
        return found
    if uses_blocks(mixer, keys):
        # Keys and values are copied to their blocks, and the scores of a block are computed.
        count = -(-queries // mixer.block)
        found += narrow * rows * count * mixer.block_keys * 2 * mixer.groups * width
        rows, queries, keys = rows * count, mixer.block, mixer.block_keys
    pairs = rows * mixer.num_heads * queries * keys
    if mixer.kind == "additive":
        return found + pairs * (width * narrow + narrow)
    if settings.fused and not mixer.dropout:
        return found + narrow * rows * queries * mixer.num_heads * width + WIDE * rows * queries * mixer.num_heads
    softmax = narrow if not settings.fused else WIDE + (narrow if settings.half else 0)
    if mixer.maps > 1:  # differential attention: another softmax, the difference, and a norm in float32
        found += 2 * pairs * narrow + 2 * WIDE * rows * queries * mixer.num_heads * width
    return found + pairs * (softmax + (2 * narrow if mixer.dropout else 0))


def _stored_weights(layer: LayerShape, settings: ActivationSettings) -> float:
    """Bytes of copies of the layer's weights."""
    if settings.half:
        return settings.narrow * layer.linear_weights
    joined = layer.mixer.query_weights - layer.mixer.num_heads * layer.mixer.head_dim * layer.width
    joined += layer.cross.key_weights if layer.cross is not None and not layer.cross.merged else 0
    joined += 2 * layer.width * layer.ffn_dim if layer.gated else 0
    return settings.narrow * max(0, joined)
