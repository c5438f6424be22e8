"""The arguments of each kernel by name: the one table from which the C header and the Python side are generated.

A kernel gets three arrays (step.h): `p` (tensors), `n` (sizes, strides and flags) and `f` (floating-point numbers).
`header` gives C the index of each name, LINEAR_OUT or ATTEND_HEADS; `steps.step` gives Python the same indices. Neither
side writes an index as a number.

    SIGNATURES["attend"].tensor_index["q"]        # 0
    SIGNATURES["attend"].size_index["heads"]      # 1

The first size of a kernel counts its rows, or numbers in proportion to them: a recorded step is run for fewer rows by a
change of that size alone (`SCALED_SIZE`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_TENSORS, MAX_SIZES, MAX_NUMBERS = 8, 32, 2
SCALED_SIZE = 0
CACHE_LINE_BYTES = 64

ENUMS = {
    "ACTIVATION": ("plain", "relu", "gelu", "gelu_tanh", "silu"),
    "NORM_KIND": ("layer", "rms"),
}
ACTIVATIONS, NORM_KINDS = ({name: i for i, name in enumerate(names)} for names in ENUMS.values())


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """The names of the arguments that some kernels share, in the order of their indices.

    Names are unique within a signature. The attributes that end in `_index` map a name to its index.
    """

    kernels: tuple[str, ...]
    tensors: tuple[str, ...]
    sizes: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    tensor_index: dict[str, int] = field(init=False, repr=False)
    size_index: dict[str, int] = field(init=False, repr=False)
    number_index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for names, limit in ((self.tensors, MAX_TENSORS), (self.sizes, MAX_SIZES), (self.numbers, MAX_NUMBERS)):
            assert len(names) <= limit, f"{self.kernels}: {len(names)} arguments of one type, at most {limit}"
        every = (*self.tensors, *self.sizes, *self.numbers)
        assert len(set(every)) == len(every), f"{self.kernels}: a name stands for two arguments"
        for index, names in (("tensor", self.tensors), ("size", self.sizes), ("number", self.numbers)):
            object.__setattr__(self, f"{index}_index", {name: i for i, name in enumerate(names)})


def _strides(tensor: str, dims: str) -> tuple[str, ...]:
    return tuple(f"{tensor}_stride_{dim}" for dim in dims.split())


TABLE: dict[str, Signature] = {
    # out (rows, outputs) = activation(x (rows, inputs) @ weight.T + bias) + residual. The residual has the strides of
    # out. `reuse_workspace`: the workspace already contains this x, quantized.
    "linear": Signature(
        kernels=("linear_float", "linear_int8"),
        tensors=("x", "workspace", "packed", "scales", "bias", "residual", "out"),
        sizes=("rows", "inputs", "outputs", "x_stride", "out_stride", "activation", "reuse_workspace"),
    ),
    # The product of `linear` and the choice of `top` in one kernel; values and ids are (rows, k).
    "output": Signature(
        kernels=("output",),
        tensors=("x", "workspace", "packed", "scales", "bias", "forbidden", "values", "ids"),
        sizes=("rows", "inputs", "outputs", "x_stride", "is_int8", "k", "forbidden_count"),
    ),
    # logits (rows, vocab_size), forbidden ids in ascending order; logsumexp (rows,), values and ids (rows, k).
    "top": Signature(
        kernels=("top",),
        tensors=("logits", "forbidden", "logsumexp", "values", "ids"),
        sizes=("rows", "vocab_size", "logits_stride", "k", "forbidden_count"),
    ),
    # x, residual, sum and out (rows, dim): out = norm(x + residual), sum = x + residual. x_stride is that of residual
    # and sum as well.
    "norm": Signature(
        kernels=("norm",),
        tensors=("x", "weight", "bias", "out", "residual", "sum"),
        sizes=("rows", "dim", "kind", "x_stride", "out_stride"),
        numbers=("eps",),
    ),
    # q (B, H, Q, D), k and v (B, G, C, D), visible and bias (B, H, Q, C), sinks (H, E), out (B, Q, H, D). ancestry
    # (B, C): the hypothesis, of the beam_width of a source, whose cache contains each key of a row; kv_half: k and v
    # are float16.
    "attend": Signature(
        kernels=("attend",),
        tensors=("q", "k", "v", "visible", "bias", "sinks", "out", "ancestry"),
        sizes=(
            *("rows", "heads", "kv_heads", "queries", "keys", "dim"),
            *_strides("q", "row head query"),
            *_strides("k", "row head key"),
            *_strides("v", "row head key"),
            *_strides("visible", "row head query key"),
            *_strides("bias", "row head query key"),
            *_strides("out", "row query head"),
            *("sink_count", "ancestry_stride", "beam_width", "kv_half"),
        ),
        numbers=("scale",),
    ),
    # x and out (B, H, L, D), cos and sin (B or 1, 1, L, D/2).
    "rotary": Signature(
        kernels=("rotary",),
        tensors=("x", "cos", "sin", "out"),
        sizes=(
            *("rows", "heads", "length", "dim"),
            *_strides("x", "row head position"),
            *_strides("angle", "row position"),
            *_strides("out", "row head position"),
        ),
    ),
    # ids (rows,), table (vocab_size, dim), added and out (rows, dim).
    "embed": Signature(
        kernels=("embed",),
        tensors=("ids", "table", "added", "out"),
        sizes=("rows", "dim", "vocab_size", "added_stride"),
        numbers=("factor",),
    ),
    # Contiguous tensors of one shape; `right` is None for `scale` and `activate`.
    "elementwise": Signature(
        kernels=("add", "multiply", "scale", "activate"),
        tensors=("left", "right", "out"),
        sizes=("count", "activation"),
        numbers=("factor",),
    ),
    # x and out (count,), of which each `shared_count` numbers get `shared` added.
    "add_shared": Signature(kernels=("add_shared",), tensors=("x", "shared", "out"), sizes=("count", "shared_count")),
    # int64 x (count,) and one integer.
    "integers": Signature(kernels=("at_least", "raise_to"), tensors=("x", "out"), sizes=("count", "bound")),
    # new (B, G, L, D) into cache (B, G, C, D) at slots (B or 1, L); cache_half: the cache is float16.
    "put": Signature(
        kernels=("put",),
        tensors=("new", "cache", "slots"),
        sizes=(
            *("rows", "heads", "length", "dim"),
            *_strides("new", "row head position"),
            *_strides("cache", "row head slot"),
            *_strides("slots", "row position"),
            "cache_half",
        ),
    ),
    # Rows of cache (R, G, C, D) exchanged within groups of `group_rows` neighbouring rows; `used` numbers of each head.
    "reorder": Signature(
        kernels=("reorder",),
        tensors=("cache", "index", "scratch"),
        sizes=("rows", "heads", "used", *_strides("cache", "row head"), "group_rows"),
    ),
    # key_pos (R, C + 1), slots_used (R,), new_pos (R or 1, L), slots (R, L), ancestry (ancestry_rows, C + 1).
    "place": Signature(
        kernels=("place",),
        tensors=("key_pos", "slots_used", "new_pos", "slots", "ancestry"),
        sizes=("rows", "length", "capacity", "new_pos_stride", "beam_width", "ancestry_rows", "ancestry_stride"),
    ),
    # q_pos (B or 1, Q), k_pos (B or 1, K), out (B, 1, Q, K).
    "sight": Signature(
        kernels=("sight",),
        tensors=("q_pos", "k_pos", "out"),
        sizes=("rows", "queries", "keys", "causal", "q_pos_stride", "k_pos_stride"),
    ),
    # x and out (B, L, D), valid (B or 1, L).
    "blank": Signature(
        kernels=("blank",), tensors=("x", "valid", "out"), sizes=("rows", "length", "dim", "valid_stride")
    ),
}


def by_kernel(table: Mapping[str, Signature]) -> dict[str, Signature]:
    """The signature of each kernel."""
    return {kernel: signature for signature in table.values() for kernel in signature.kernels}


SIGNATURES = by_kernel(TABLE)


def header(table: Mapping[str, Signature] = TABLE) -> str:
    """The text of arguments.h, which step.h includes: sizes of the three arrays, indices and enumerations."""
    lines = [
        "/* Generated from table.py. */",
        "#ifndef ANTIPHON_ARGUMENTS_H",
        "#define ANTIPHON_ARGUMENTS_H",
        f"enum {{ MAX_TENSORS = {MAX_TENSORS}, MAX_SIZES = {MAX_SIZES}, MAX_NUMBERS = {MAX_NUMBERS} }};",
        f"enum {{ CACHE_LINE_BYTES = {CACHE_LINE_BYTES} }};",
    ]
    lines += [_enum(name, values) for name, values in ENUMS.items()]
    for name, signature in table.items():
        lines += [_enum(name, names) for names in (signature.tensors, signature.sizes, signature.numbers) if names]
    return "\n".join([*lines, "#endif", ""])


def _enum(prefix: str, names: tuple[str, ...]) -> str:
    return "enum { " + ", ".join(f"{prefix}_{name}".upper() for name in names) + " };"
