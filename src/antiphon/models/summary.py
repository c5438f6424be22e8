"""The layers of a network as rows of a table: names, kinds, shapes and numbers of parameters.

    for row in summary(network): row.layers, row.part, row.kind, row.shape, row.parameters, row.times

Consecutive equal layers are one row. Shared parameters are counted in the first part, so that the sum of the rows is
`count_parameters(network)`; an int8 layer counts as its float weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from torch import nn

from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import DecoderLayer, EncoderLayer
from antiphon.nn.attention import Attention
from antiphon.nn.layers import FeedForward, PackedLinear
from antiphon.nn.mixers import HeadMixer, Mixer
from antiphon.nn.mixers.function import FunctionAttention, function_name
from antiphon.nn.positions import NoPositions


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One part of `times` equal layers, named in `layers`; `parameters` is the number in one of them."""

    layers: str
    part: str
    kind: str
    shape: str
    parameters: int
    times: int = 1


def summary(network: EncoderDecoder) -> list[SummaryRow]:
    """The rows of a network, from the source's ids to the output."""
    count = _Counter()
    rows = list(_front("source", network.source, count))
    for name, stack in (("encoder", network.encoder), ("decoder", network.decoder)):
        if name == "decoder":
            rows += _front("target", network.target, count)
        rows += _grouped(name, [list(_layer(layer, count)) for layer in stack.layers])
        if name == "encoder" and isinstance(project := network.encoder.project, nn.Linear):
            shape = f"{project.in_features} → {project.out_features}"
            rows.append(SummaryRow(name, "projection to the decoder's width", "linear", shape, count(project)))
        if rest := count(stack):
            rows.append(SummaryRow(name, "shared rules, last norm", "", "", rest))
    tied = network.output in (network.target.table, getattr(network.source, "table", None))
    scores = count(network.output)
    if network.head is not None:
        count(network.head)  # the same numbers in int8
    rows.append(SummaryRow("output", "scores of ids", "tied" if tied else "linear", _table(network.output), scores))
    if network.ctc is not None:
        shape = f"{network.ctc.blank + 1:,} × {network.encoder.memory_width:,}"
        rows.append(SummaryRow("ctc", "scores of ids and the blank", "linear", shape, count(network.ctc)))
    if rest := count(network):
        rows.append(SummaryRow("", "other", "", "", rest))
    return rows


def attention_kinds(network: EncoderDecoder) -> dict[str, str]:
    """The kinds of attention of each role, in the order of the layers, each once."""
    found: dict[str, list[str]] = {"encoder": [], "decoder": [], "cross": []}
    for layer in [*network.encoder.layers, *network.decoder.layers]:
        if isinstance(layer, EncoderLayer):
            found["encoder"].append(kind_of(layer.mixer))
        elif isinstance(layer, DecoderLayer):
            found["decoder"].append(kind_of(layer.mixer))
            found["cross"].append(kind_of(layer.cross))
    return {role: ", ".join(dict.fromkeys(kinds)) for role, kinds in found.items()}


def kind_of(mixer: Mixer) -> str:
    """The name of an attention in one line, as `window(128)`; its class or function if it has no name."""
    if isinstance(mixer, FunctionAttention):
        return function_name(mixer.function)
    part = mixer.rule if isinstance(mixer, Attention) else mixer
    return type(part).__name__ if part.spec is None else _as_call(part.spec)


def _as_call(spec: object) -> str:
    """Format a spec as a call: alibi & window(16)."""
    if isinstance(spec, Mapping):
        (name, settings), *_ = spec.items()
        if name == "all":
            return " & ".join(map(_as_call, settings))
        if isinstance(settings, Mapping):
            return f"{name}({', '.join(f'{key}={value}' for key, value in settings.items())})"
        return f"{name}({settings})"
    return str(spec)


class _Counter:
    """Counts the parameters of modules, each once."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def __call__(self, *modules: nn.Module) -> int:
        total = 0
        for module in modules:
            for parameter in module.parameters():
                total += self._once(parameter, parameter.numel())
            for part in module.modules():
                if isinstance(part, PackedLinear):
                    bias = 0 if part.bias is None else part.out_features
                    total += self._once(part, part.in_features * part.out_features + bias)
        return total

    def _once(self, what: object, size: int) -> int:
        if id(what) in self.seen:
            return 0
        self.seen.add(id(what))
        return size


def _front(side: str, front: nn.Module, count: _Counter) -> Iterator[SummaryRow]:
    if isinstance(front, InputEmbedding):
        already = id(front.table.weight) in count.seen
        kind = "shared with the source" if already else type(front.table).__name__
        yield SummaryRow(side, "token vectors", kind, _table(front.table), count(front.table))
        rest = count(front)
        if rest or not isinstance(front.positions, NoPositions):
            yield SummaryRow(side, "positions", type(front.positions).__name__, "", rest)
    else:
        yield SummaryRow(side, "features", type(front).__name__, "", count(front))


def _layer(layer: nn.Module, count: _Counter) -> Iterator[SummaryRow]:
    if isinstance(layer, EncoderLayer | DecoderLayer):
        yield _mixer("self-attention", layer.mixer, count)
        if isinstance(layer, DecoderLayer):
            yield _mixer("cross-attention", layer.cross, count)
        yield _feed_forward(layer.ffn, count)
        yield SummaryRow("", "norms", type(layer.mixer_residual.norm).__name__, "", count(layer))
    else:
        yield SummaryRow("", "layer", type(layer).__name__, "", count(layer))


def _mixer(part: str, mixer: Mixer, count: _Counter) -> SummaryRow:
    shape = ""
    if isinstance(mixer, HeadMixer):
        shape = f"{mixer.num_heads} heads × {mixer.head_dim}"
        if mixer.groups != mixer.num_heads:
            shape += f", {mixer.groups} of keys"
        if isinstance(mixer, Attention) and mixer.rotary is not None:
            shape += ", rotary"
    return SummaryRow("", part, kind_of(mixer), shape, count(mixer))


def _feed_forward(ffn: nn.Module, count: _Counter) -> SummaryRow:
    if not isinstance(ffn, FeedForward):
        return SummaryRow("", "feed-forward", type(ffn).__name__, "", count(ffn))
    up, down = ffn.up, ffn.down
    shape = f"{up.in_features} → {up.out_features} → {down.out_features}"
    return SummaryRow("", "feed-forward", ffn.kind, shape, count(ffn))


def _table(table: nn.Embedding) -> str:
    return f"{table.num_embeddings:,} × {table.embedding_dim:,}"


def _grouped(name: str, layers: Iterable[list[SummaryRow]]) -> Iterator[SummaryRow]:
    """The rows of layers; consecutive equal ones are joined."""
    groups: list[tuple[int, list[SummaryRow], int]] = []
    for place, rows in enumerate(layers, 1):
        if groups and groups[-1][1] == rows:
            groups[-1] = (groups[-1][0], rows, groups[-1][2] + 1)
        else:
            groups.append((place, rows, 1))
    for first, rows, times in groups:
        where = f"{name} layer {first}" if times == 1 else f"{name} layers {first} to {first + times - 1}"
        yield from (replace(row, layers=where, times=times) for row in rows)
