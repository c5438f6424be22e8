"""Model folders: `config.json`, `model.safetensors`, tokenizers, `task.json`, `generation.json`.

    save_model_folder("runs/demo/model", parts)
    parts = load_parts("runs/demo/model")

Weights that several modules share are saved once, under their first name. A folder contains no code, and no name in it
is imported unless the caller allows it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from antiphon.config import ROLES, AttentionConfig, GenerationConfig, ModelConfig
from antiphon.config.family import MOST_IDS
from antiphon.durable import make_folder
from antiphon.errors import DiskError, ModelError
from antiphon.models.attentions import saved_spec
from antiphon.models.build import build_network
from antiphon.models.families import check_type
from antiphon.models.folders.account import LoadReport, compare, some
from antiphon.models.folders.files import read_config, replace_file, within, write_json
from antiphon.models.folders.stored import WEIGHTS, WeightFiles, fill, is_whole, sketching
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.settings import from_json_mapping, plain
from antiphon.text import Tokenizer

FORMAT_VERSION = 1
CONFIG = "config.json"


@dataclass(frozen=True)
class Parts:
    """The contents of a model folder."""

    network: EncoderDecoder
    model: ModelConfig
    attention: AttentionConfig
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    task: str
    generation: GenerationConfig
    labels: Mapping[str, str] = field(default_factory=dict)  # for classification: label in the data -> label in answers
    account: LoadReport | None = None  # the kept, new and dropped weights; None without a file
    problem: str = ""  # why a network built in Python cannot be saved; "" if it can
    prefixes: tuple[str, ...] = ()  # tags and prefixes of the sources of the training data
    template: str = ""  # the template of the sources, `{}` for the text; "" if they differ or have none

    @property
    def shared(self) -> bool:
        """Whether source and target have the same tokenizer, apart from the languages."""
        return self.source_tokenizer.shares(self.target_tokenizer)


def named_weights(network: nn.Module) -> dict[str, Tensor]:
    """All saved tensors, each once, under its first name."""
    weights: dict[str, Tensor] = {name: parameter.detach() for name, parameter in network.named_parameters()}
    kept = network.state_dict()
    for name, buffer in network.named_buffers():
        if name in kept:
            weights[name] = buffer
    return weights


def put_weights(
    network: nn.Module, weights: Mapping[str, Tensor], *, where: str, replaced: Collection[str] = ()
) -> LoadReport:
    """Copy `weights` into `network`. Returns a report. `where` names the file.

    Raises ModelError for weights that are missing, not needed or of another shape. For the attention of the `replaced`
    roles, weights that the file does not have stay unchanged.
    """
    own = named_weights(network)
    account = compare(own, weights, roles=replaced)
    aside = {*account.new, *account.dropped}
    shapes = {name: tuple(weight.shape) for name, weight in weights.items() if name not in aside}
    check_fit({name: tensor for name, tensor in own.items() if name not in aside}, shapes, where=where)
    for name in account.kept:
        own[name].copy_(weights[name])
    return account


def check_fit(own: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], *, where: str) -> None:
    """ModelError unless the tensors of a file, by their `shapes`, are exactly those of a network."""
    missing = [name for name in own if name not in shapes]
    extra = [name for name in shapes if name not in own]
    if missing or extra:
        said = [
            f"lacks {some(missing)}" if missing else "",
            f"has {some(extra)}, which the model has not" if extra else "",
        ]
        raise ModelError(f"`{where}` does not fit its {CONFIG}: it {' and '.join(filter(None, said))}.{_hint(missing)}")
    for name, tensor in own.items():
        if tuple(tensor.shape) != shapes[name]:
            raise ModelError(
                f"`{where}` does not fit its {CONFIG}: `{name}` must be {tuple(tensor.shape)}, but is "
                f"{shapes[name]!s:.60}."
            )


def learned_weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights for a snapshot: all, or in a network with an adapter only the trained ones."""
    weights = named_weights(network)
    if not any(".lora_" in name for name in weights):
        return weights
    still = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in weights.items() if name not in still}


def put_learned_weights(network: nn.Module, weights: Mapping[str, Tensor], *, where: str) -> None:
    """Load the result of `learned_weights`; errors as in `put_weights`."""
    own, learned = named_weights(network), learned_weights(network)
    put_weights(network, {**{name: own[name] for name in own if name not in learned}, **weights}, where=where)


def save_model_folder(folder: str | Path, parts: Parts, *, weights: Mapping[str, Tensor] | None = None) -> Path:
    """Save `parts` to `folder`, created if necessary. Weights are saved last; each file is replaced atomically.

    `weights` are saved instead of the network's, if it has an adapter.
    """
    folder = Path(folder)
    check_describable(parts)
    config = {
        "format": "antiphon",
        "format_version": FORMAT_VERSION,
        "model": plain(parts.model),
        "attention": {role: saved_spec(getattr(parts.attention, role)) for role in ROLES}
        | {"backend": parts.attention.backend},
        "vocabulary": dict(zip(("source", "target"), parts.network.table_sizes, strict=True)),
        "shared_tokenizer": parts.shared,
    }
    try:
        make_folder(folder)
        save_tokenizers(folder, parts)
        task: dict[str, object] = {"task": parts.task}
        task |= {"labels": dict(parts.labels)} if parts.labels else {}
        task |= {"fronts": list(parts.prefixes)} if parts.prefixes else {}
        task |= {"template": parts.template} if parts.template else {}
        write_json(folder / "task.json", task)
        write_json(folder / "generation.json", plain(parts.generation))
        write_json(folder / CONFIG, config)
        save_weights(folder / WEIGHTS, named_weights(parts.network) if weights is None else weights)
    except OSError as error:
        raise DiskError(
            f"the model cannot be written to `{folder}` ({error.strerror}). Free space, or choose another folder."
        ) from error
    return folder


def save_tokenizers(folder: Path, parts: Parts) -> None:
    """Save `tokenizer.…`, or `source.…` and `target.…` where the sides have two."""
    if parts.shared:
        parts.source_tokenizer.paired(parts.target_tokenizer).save(folder, "tokenizer")
    else:
        parts.source_tokenizer.save(folder, "source")
        parts.target_tokenizer.save(folder, "target")


def check_describable(parts: Parts) -> None:
    """ModelError if the network was built in Python and no settings describe it."""
    if parts.problem:
        raise ModelError(parts.problem)


def save_weights(file: Path, weights: Mapping[str, Tensor]) -> None:
    """Save a safetensors file atomically: a reader sees the old file or the new one."""
    replace_file(file, serialize({name: tensor.contiguous().cpu() for name, tensor in weights.items()}))


def load_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; ModelError if it cannot be read."""
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118  (not a mapping)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"`{file}` must be a safetensors file, but cannot be read ({error}).") from error


class Filler(Protocol):
    """Fills a network without values with `weights`, which are read from `stored`."""

    def __call__(
        self, network: EncoderDecoder, stored: WeightFiles, weights: Mapping[str, Callable[[torch.dtype], Tensor]]
    ) -> None: ...


def load_parts(
    folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    filler: Filler | None = None,
    attention: AttentionConfig | None = None,
    seed: int = 0,
) -> Parts:
    """Load a model folder, with the network in evaluation mode.

    `attention` replaces that of the folder; only then names may be imported. In the roles that it changes, weights of
    equal name and shape are kept; others are new, initialized by `seed`, or dropped, with a warning.
    `filler` (`runtime.int8_loading.fill_int8`) reads the weights in place of `fill`, unless `attention` is given.
    """
    folder = Path(folder)
    config = read_config(folder, CONFIG)
    where = str(folder / CONFIG)
    model = saved_shape(folder)
    saved = from_json_mapping(AttentionConfig, _section(config, "attention", where), where=where)
    chosen = attention or saved
    if model.family is not None:
        check_type(model.family.name, dtype)
    replaced = [role for role in ROLES if getattr(chosen, role) != getattr(saved, role)]
    source, target = _tokenizers(folder, config)
    sizes = [source.vocab_size, target.vocab_size]
    if model.family is not None:  # tables may have more rows than the tokenizers have ids
        sizes = _vocabulary(config, sizes, where)
    file = within(folder, WEIGHTS)

    def make(*, warn: bool = False) -> EncoderDecoder:
        return build_network(
            model,
            chosen,
            source_vocab=sizes[0],
            target_vocab=sizes[1],
            shared=source.shares(target) if model.family is None else model.family.shared_tables,
            seed=seed,
            allow_import=attention is not None,
            warn=warn,
        )

    with sketching():
        network = make()
    if replaced or not is_whole(network):
        network = make(warn=attention is not None)
        account = put_weights(network, load_weights(file), where=str(file), replaced=replaced)
    else:
        account = fill_from(network, file, dtype=dtype, device=device, filler=filler)
    if account.new or account.dropped:
        warnings.warn(f"the attention of `{folder}` was replaced ({', '.join(replaced)}): {account}.", stacklevel=2)
    generation = from_json_mapping(
        GenerationConfig, read_config(folder, "generation.json"), where=str(folder / "generation.json")
    )
    task, labels, prefixes, template = _task(folder)
    network = network.to(device=device, dtype=dtype).eval()
    return Parts(
        network, model, chosen, source, target, task, generation, labels, account, prefixes=prefixes, template=template
    )


def saved_shape(folder: Path) -> ModelConfig:
    """The shape of the model in a folder of ours. Raises ModelError, ConfigError."""
    config, where = read_config(folder, CONFIG), str(folder / CONFIG)
    _check_version(config, folder)
    return from_json_mapping(ModelConfig, _section(config, "model", where), where=where)


def fill_from(
    network: EncoderDecoder, file: Path, *, dtype: torch.dtype, device: torch.device | str, filler: Filler | None = None
) -> LoadReport:
    """Fill a network without values with the tensors of `file`; ModelError if they do not fit."""
    stored = WeightFiles([file])
    own = named_weights(network)
    check_fit(own, {name: stored.shape(name) for name in stored}, where=str(file))
    weights = {name: partial(_read, stored, name) for name in own}
    if filler is not None:
        filler(network, stored, weights)
    else:
        fill(network, weights, dtype=dtype, device=device)
    return LoadReport(tuple(own))


def _read(stored: WeightFiles, name: str, dtype: torch.dtype) -> Tensor:
    return stored.read(name, dtype=dtype)


def _section(config: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    section = config.get(name)
    if not isinstance(section, dict):
        raise ModelError(f"`{where}` must have an object `{name}`, but has {section!r:.60}. Restore the file.")
    return section


def _hint(missing: Sequence[str]) -> str:
    """The remedy for files from before layers shared such a rule."""
    if not any(re.search(r"\brules\.\d", name) for name in missing):
        return ""
    return f" If each layer has the rule for itself in the file, give the rule `per_layer: true` in {CONFIG}."


def _check_version(config: Mapping[str, Any], folder: Path) -> None:
    version = config.get("format_version")
    if version is None and "format" not in config:
        raise ModelError(
            f"`{folder / CONFIG}` must have `format` (a model folder of ours) or `model_type` (a checkpoint of the "
            "Hugging Face hub), but has neither. Restore the file."
        )
    if version != FORMAT_VERSION:
        raise ModelError(
            f"`{folder / CONFIG}` must have `format_version` {FORMAT_VERSION}, but has {version!r:.40}. "
            "Use the Antiphon that wrote it."
        )


def _tokenizers(folder: Path, config: Mapping[str, Any]) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizers of source and target; one object if they are equal."""
    if config.get("shared_tokenizer"):
        whole = _tokenizer(folder, "tokenizer")
        return whole, whole.as_target()
    return _tokenizer(folder, "source"), _tokenizer(folder, "target").as_target()


def _vocabulary(config: Mapping[str, Any], least: list[int], where: str) -> list[int]:
    """The vocabulary sizes of source and target, at least those of the tokenizers."""
    section = _section(config, "vocabulary", where)
    found = [section.get("source"), section.get("target")]
    for size, own in zip(found, least, strict=True):
        if not isinstance(size, int) or not own <= size <= MOST_IDS:
            raise ModelError(
                f"`{where}` must have sizes of at least the tokenizer's ({own}) and at most {MOST_IDS} under "
                f"`vocabulary`, but has {size!r:.40}. Restore the folder."
            )
    return [int(size) for size in found if size is not None]


def _task(folder: Path) -> tuple[str, dict[str, str], tuple[str, ...], str]:
    """The task's name, its labels, and the tags and prefixes and the template of its sources."""
    content = read_config(folder, "task.json")
    labels = content.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(name, str) for name in labels.values()):
        raise ModelError(
            f"`{folder / 'task.json'}` must map labels to their names under `labels`, but has {labels!r:.80}."
        )
    prefixes = content.get("fronts", [])
    if not isinstance(prefixes, list) or not all(isinstance(prefix, str) for prefix in prefixes):
        raise ModelError(f"`{folder / 'task.json'}` must list texts under `fronts`, but has {prefixes!r:.80}.")
    template = content.get("template", "")
    if not isinstance(template, str) or template.count("{}") != bool(template):
        raise ModelError(f"`{folder / 'task.json'}` must have one {{}} in its `template`, but has {template!r:.80}.")
    return str(content.get("task", "text")), labels, tuple(prefixes), template


def _tokenizer(folder: Path, name: str) -> Tokenizer:
    for suffix in (".kind.json", ".json", ".spm"):
        if (folder / f"{name}{suffix}").is_file():
            return Tokenizer.load(within(folder, f"{name}{suffix}"))
    raise ModelError(f"`{folder}` must hold {name}.json or {name}.spm, but has neither.")
