"""Reads tensors of safetensors files one at a time, and fills networks with them.

    stored = WeightFiles.in_folder(Path("t5-small"))
    stored.shape("shared.weight"), stored.read("shared.weight", dtype=torch.bfloat16)

A tensor that needs no conversion is not copied: it is a private map of its file. Do not write to the file in place
while the network exists; replacing it by renaming another one, as `save_weights` does, is safe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from antiphon.errors import ModelError, one_line
from antiphon.models.folders.account import some
from antiphon.models.folders.files import read_json, within
from antiphon.nn.rules import ScoreRule

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
# The files of a checkpoint that are data, not code.
SAFE_FILES = ("*.json", "*.safetensors", "*.spm", "*.model", "*.txt")
_DTYPES = ("F64", "F32", "F16", "BF16")
_CHUNK = 2**26  # maximum mapped bytes of a file while its tensors are converted
MAX_WEIGHT_FILES = 2**12
MAX_HEADER_BYTES = 2**23  # names, types and shapes of 80,000 tensors; a longer header is broken or malicious
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.safetensors")


class WeightFiles:
    """The tensors of `files`, whose headers are read at once."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._handles: dict[Path, Any] = {}
        self._prefix = ""
        self._mapped = 0
        self._file: dict[str, Path] = {}
        self._shape: dict[str, tuple[int, ...]] = {}
        for file in files:
            with _reading(file):
                check_header(file)
                handle = self._open(file)
                for key in handle.keys():  # noqa: SIM118  (not a mapping)
                    entry = handle.get_slice(key)
                    if entry.get_dtype() not in _DTYPES:
                        raise ModelError(
                            f"`{file}` must hold floating-point numbers, but `{key:.100}` is {entry.get_dtype()}. "
                            "Convert the checkpoint to float32, float16 or bfloat16."
                        )
                    if key in self._file:
                        raise ModelError(
                            f"`{key:.100}` must stand in one file, but is in `{self._file[key]}` and `{file}`. "
                            "Restore the folder."
                        )
                    self._file[key], self._shape[key] = file, tuple(entry.get_shape())

    @classmethod
    def in_folder(cls, folder: Path) -> WeightFiles:
        """The tensors of model.safetensors, or of the files in model.safetensors.index.json."""
        if (folder / WEIGHTS).exists():
            return cls([within(folder, WEIGHTS)])
        if not (folder / INDEX).exists():
            if (folder / PICKLED).exists() or (folder / PICKLED_INDEX).exists():
                raise ModelError(
                    f"`{folder}` must hold {WEIGHTS}, but holds only {PICKLED}, a pickle, which can run code and is "
                    f"not read. Where you trust it, convert it once: antiphon convert {folder} NEW --allow-pickle."
                )
            raise ModelError(f"`{folder}` must hold {WEIGHTS} or {INDEX}, but has neither. Restore the folder.")
        index = within(folder, INDEX)
        places = read_json(index, most=MAX_HEADER_BYTES).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
            raise ModelError(f"`{index}` must map tensors to files under `weight_map`. Restore the file.")
        names = sorted(set(places.values()))
        if len(names) > MAX_WEIGHT_FILES:
            raise ModelError(
                f"`{index}` must name at most {MAX_WEIGHT_FILES} files, but names {len(names)}. Restore the file."
            )
        for name in names:
            if not _PLAIN_NAME.fullmatch(name):
                raise ModelError(
                    f"`{index}` must name files of its own folder (name.safetensors), but names {name!r:.80}. "
                    "Restore the file."
                )
        stored = cls([within(folder, name) for name in names])
        for key, name in places.items():
            if key not in stored or stored.file(key).name != name:
                raise ModelError(
                    f"`{folder / name}` must hold `{key:.200}`, as {INDEX} says, but does not. Restore it."
                )
        return stored

    def under(self, prefix: str) -> None:
        """Add `prefix` to every key, for checkpoints that were saved without it."""
        self._prefix = prefix
        self._file = {prefix + key: file for key, file in self._file.items()}
        self._shape = {prefix + key: shape for key, shape in self._shape.items()}

    def __contains__(self, key: str) -> bool:
        return key in self._file

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def file(self, key: str) -> Path:
        """The file of a tensor."""
        return self._file[key]

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self._shape[key]

    def read(self, key: str, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Tensor:
        """The tensor, in its own type or in `dtype`; copied only if necessary."""
        file, key = self._file[key], key.removeprefix(self._prefix)
        with _reading(file):
            found: Tensor = self._open(file).get_tensor(key)
            dtype, device = dtype or found.dtype, torch.device(device)
            if found.dtype == dtype and device.type == "cpu":
                return found
            size, rows = found.nbytes, max(1, len(found) if found.dim() else 1)
            if size <= _CHUNK:
                made = found.to(device=device, dtype=dtype)
                del found
                self._count(size)
                return made
            made, step = torch.empty(found.shape, dtype=dtype, device=device), max(1, rows * _CHUNK // size)
            del found
            for start in range(0, rows, step):
                self._count(_CHUNK)
                made[start : start + step] = self._open(file).get_slice(key)[start : start + step]
            return made

    def forget(self) -> None:
        """Map the files again on the next read, so that data that was read and is no longer used takes no memory."""
        self._handles.clear()
        self._mapped = 0

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors are equal, bit for bit."""
        return one == other or (self.shape(one) == self.shape(other) and torch.equal(self.read(one), self.read(other)))

    def _open(self, file: Path) -> Any:
        if file not in self._handles:
            self._handles[file] = safe_open(file, framework="pt")
        return self._handles[file]

    def _count(self, size: int) -> None:
        """Count mapped bytes, and from time to time unmap those that are no longer needed."""
        self._mapped += size
        if self._mapped >= _CHUNK:
            self.forget()


def check_header(file: Path) -> None:
    """ModelError if the header of a safetensors file is larger than the limit, since it is parsed as a whole."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise ModelError(
            f"`{file}` must be a safetensors file with a header of at most {MAX_HEADER_BYTES} bytes, but says "
            f"{size}. Restore the file."
        )


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, MemoryError) as error:
        reason = one_line(error)
        raise ModelError(f"`{file}` must be a safetensors file, but cannot be read ({reason:.200}).") from error


class _Sketch(TorchFunctionMode):
    """Create parameters without memory and without initialization."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty:
            return func(*args, **{**kwargs, "device": "meta"})
        first = args[0] if args else kwargs.get("tensor")
        name = getattr(func, "__name__", "")
        if isinstance(first, Tensor) and first.is_meta and name.endswith("_") and not name.startswith("__"):
            return first  # zeros_, uniform_, …
        return func(*args, **kwargs)


def sketching() -> TorchFunctionMode:
    """A context in which networks are built without memory for their weights; see `fill`."""
    return _Sketch()


def is_whole(network: nn.Module) -> bool:
    """Whether the buffers that are not saved have values in a network that was built under `sketching`."""
    saved = network.state_dict().keys()
    return not any(buffer.is_meta for name, buffer in network.named_buffers() if name not in saved)


def names_of(network: nn.Module) -> dict[int, str]:
    """The first name of each parameter and buffer, by its `id`."""
    return {id(tensor): name for name, tensor in [*network.named_parameters(), *network.named_buffers()]}


def fill(
    network: nn.Module,
    weights: Mapping[str, Callable[[torch.dtype], Tensor]],
    *,
    dtype: torch.dtype,
    device: torch.device | str,
) -> None:
    """Fill a network that was built under `sketching`: `weights` maps names to functions that read a tensor in a given
    type. Shapes must be checked before. Parameters of rules are float32 or wider (see `ScoreRule`)."""
    wide = torch.promote_types(dtype, torch.float32)
    in_rules = {id(part) for rule in network.modules() if isinstance(rule, ScoreRule) for part in rule.modules()}
    made: dict[int, nn.Parameter] = {}  # modules that share a table still share it
    own = names_of(network)
    for module in list(network.modules()):
        kind = wide if id(module) in in_rules else dtype
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in made:
                value = weights[own[id(parameter)]](kind).to(device)
                made[id(parameter)] = nn.Parameter(value, requires_grad=parameter.requires_grad)
            module.register_parameter(name, made[id(parameter)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            if (key := own[id(buffer)]) in weights:
                module._buffers[name] = weights[key](kind).to(device)
    network.to(device=device, dtype=dtype)


def check_there(keys: Iterable[str], stored: WeightFiles, folder: Path) -> None:
    """ModelError, with the first missing ones, unless all `keys` are stored. Called before the network is built."""
    missing = [key for key in keys if key not in stored]
    if missing:
        raise ModelError(
            f"`{folder}` must hold {some(missing)} by its config.json, but its safetensors files do not. "
            "Restore the folder."
        )


def check_shapes(shapes: Mapping[str, tuple[int, ...]], stored: WeightFiles, *, explained: Collection[str]) -> None:
    """ModelError for the first tensor whose shape is not that in `shapes`, or that is in neither `shapes` nor
    `explained`."""
    extra = [key for key in stored if key not in shapes and key not in explained]
    if extra:
        raise ModelError(
            f"`{stored.file(extra[0])}` must hold what config.json describes and no more, but has {some(extra)}, the "
            f"first of shape {stored.shape(extra[0])!s:.60}. Use the config.json that belongs to it."
        )
    for key, shape in shapes.items():
        if stored.shape(key) != shape:
            raise ModelError(
                f"`{key}` in `{stored.file(key)}` must have shape {shape} by config.json, but has "
                f"{stored.shape(key)!s:.60}. "
                "Use the config.json that belongs to it."
            )
