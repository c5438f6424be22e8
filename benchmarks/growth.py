"""How the cost of each kind of attention grows with the length: training and decoding, from 128 to 8,192 tokens.

    python benchmarks/growth.py                          # every variant of recipes/attention-bakeoff.yaml
    python benchmarks/growth.py --kinds "full;linear"    # some of them
    python benchmarks/growth.py --json FILE              # the same as JSON

One layer of the bake-off's model. `train` is the encoder's self-attention over one row, forward and backward; `step` is
one more token behind a target of that length, and `state` what the layer keeps of the target. A kind is left out from
the length on where a row would take more than `--most` GB. Times and peaks as in attention.py: of the processor, above
what was there before.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from attention import Row, head, machine, milliseconds, peak, say
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.config import TrainConfig
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import DecoderLayer, EncoderLayer
from antiphon.nn.mixers import Mixer
from antiphon.recipe import read_recipe, variant_names

RECIPE = Path(__file__).parents[1] / "recipes" / "attention-bakeoff.yaml"
CHUNK, STEPS = 256, 9  # tokens that are read together before the steps that are timed


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description="How the cost of attention grows with the length.")
    parser.add_argument("--kinds", default="", help="variants of the recipe, between semicolons")
    parser.add_argument("--longest", type=int, default=8192, help="longest row, in tokens")
    parser.add_argument("--most", type=float, default=6.0, help="GB that a row may take")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where the figures go")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    rows = list(growth(flags))
    if flags.json:
        flags.json.write_text(json.dumps({"machine": machine(flags), "rows": rows}, indent=1) + "\n")


def growth(flags: argparse.Namespace) -> Iterator[Row]:
    """A row for each kind and length."""
    keys = ("kind", "length", "train_ms", "train_MB", "step_ms", "state_kB")
    head(keys)
    kinds = [name for name in variant_names(RECIPE) if not flags.kinds or name in flags.kinds.split(";")]
    for kind in kinds:
        config, length, last = read_recipe(RECIPE, variant=kind), 128, 0.0
        while length <= flags.longest and 4 * last <= 1000 * flags.most:  # a square of twice the length
            net = network(config, longest=length).to(flags.device)
            row = {"kind": kind, "length": length, **training(net, length, flags), **decoding(net, length, flags)}
            last = row["train_MB"]
            say(row, keys=keys)
            yield row
            length *= 2


def network(config: TrainConfig, *, longest: int) -> EncoderDecoder:
    """The variant's model with room for `longest` tokens."""
    model = replace(config.model, max_length=longest, dropout=0.0)
    return build_network(model, config.attention, source_vocab=300, target_vocab=300, shared=True)


def training(net: EncoderDecoder, length: int, flags: argparse.Namespace) -> Mapping[str, Any]:
    """The encoder's first self-attention over one row, forward and backward."""
    layer = net.encoder.layers[0]
    assert isinstance(layer, EncoderLayer)
    x = torch.randn(1, length, net.output.weight.shape[1], device=flags.device)
    tokens = Tokens(torch.arange(length, device=flags.device)[None])

    def run() -> None:
        whole(layer.mixer, x.detach().requires_grad_(), tokens)

    run()  # what is made once is there
    repeats = flags.repeats if length <= 1024 else 2
    ms = milliseconds(run, repeats=repeats, device=flags.device)
    with peak(flags.device) as found:
        run()
    return {"train_ms": round(ms, 1), "train_MB": max(found["megabytes"], 0.0)}


def whole(mixer: Mixer, x: Tensor, tokens: Tokens) -> None:
    """One row as a whole."""
    y, _ = mixer(x, tokens.fresh(), None)
    y.sum().backward()
    mixer.zero_grad()


@torch.no_grad()
def decoding(net: EncoderDecoder, length: int, flags: argparse.Namespace) -> Mapping[str, Any]:
    """One step of the decoder's first self-attention behind `length` tokens, and what its state holds."""
    layer = net.decoder.layers[0]
    assert isinstance(layer, DecoderLayer)
    mixer, first = layer.mixer, 0
    state = mixer.begin(1, length)
    x = torch.randn(1, CHUNK, net.output.weight.shape[1], device=flags.device)
    while first < length - STEPS:
        size = min(CHUNK, length - STEPS - first)
        _, state = mixer(x[:, :size], Tokens(torch.arange(first, first + size, device=flags.device)[None]), state)
        first += size
    places = iter(range(first, length))

    def run() -> None:
        place = next(places)
        mixer(x[:, :1], Tokens(torch.tensor([[place]], device=flags.device)), state)

    ms = milliseconds(run, repeats=STEPS - 1, device=flags.device)
    assert state is not None
    leaves = list(state.hypothesis.values()) + list(state.common.hypothesis.values() if state.common else ())
    size = sum(leaf.numel() * leaf.element_size() for leaf in leaves)
    return {"step_ms": round(ms, 2), "state_kB": round(size / 1024, 1)}


if __name__ == "__main__":
    main()
