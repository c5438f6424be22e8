"""LoRA and DoRA adapters, by the library peft: the base is frozen, and small matrices beside its linear layers train.

    adapter = Adapter(network, settings, seed=0)      # the network now has peft's layers
    adapter.save("runs/tuned/adapter", base="runs/pretrained")
    adapter.merged()                                  # plain weights, as a model folder holds them
    adapter.remove()                                  # the plain network again

peft's layers are injected into our network (`inject_adapter_in_model`). Their dropout is replaced by ours, whose random
bits are a function of the step, so that a resumed run repeats exactly. References: models/folders/adapters.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.config import AdapterConfig
from antiphon.durable import make_folder
from antiphon.errors import ConfigError, DiskError, argument
from antiphon.models.folders.adapters import CONFIG, DOWN, MAGNITUDE, PREFIX, UP, WEIGHTS, merged_weights, plain_weights
from antiphon.models.folders.checkpoint import save_weights, write_json
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import count_parameters
from antiphon.nn.noise import Dropout, number_sites
from antiphon.settings import SettingError

_NAME = "default"  # the name of the adapter within peft's layers
# Names of layers in transformers' models, as used in target_modules -> names in our networks.
_THEIRS = {
    "q_proj": "q", "k_proj": "k", "v_proj": "v", "out_proj": "o", "o_proj": "o",
    "fc1": "up", "fc2": "down", "wi": "up", "wi_0": "gate", "wi_1": "up", "wo": "down",
    "gate_proj": "gate", "up_proj": "up", "down_proj": "down",
    "SelfAttention": "mixer", "LocalSelfAttention": "mixer", "self_attn": "mixer",
    "EncDecAttention": "cross", "encoder_attn": "cross", "cross_attn": "cross", "DenseReluDense": "ffn", "mlp": "ffn",
}  # fmt: skip


class Adapter:
    """An adapter for `network`, which is modified in place; `seed` initializes the adapter's weights. `new`: the names
    of layers that the base has not, which are fully trained and get no adapter."""

    def __init__(
        self, network: EncoderDecoder, settings: AdapterConfig, *, seed: int, new: Collection[str] = ()
    ) -> None:
        self.network, self.settings = network, settings
        self.scale = settings.alpha / settings.rank
        linears = [
            name for name, module in network.named_modules() if isinstance(module, nn.Linear) and name not in new
        ]
        targets = {target: _pattern(linears, target) for target in settings.targets}
        self.targets = _matching(linears, targets, "targets", "linear layer")
        others = [name for name, _ in network.named_parameters() if name.rpartition(".")[0] not in self.targets]
        trained = {name: name for name in (*settings.trained, *(f"{layer}.*" for layer in new))}
        self.trained = _matching(others, trained, "trained", "weight without an adapter")
        self._inject(seed)

    def _inject(self, seed: int) -> None:
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError:
            raise ConfigError(
                "`training.adapter` needs the package peft, which is not installed. pip install 'antiphon[peft]'"
            ) from None
        settings, network = self.settings, self.network
        self.config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]  (peft divides by the rank, and takes a float)
            lora_dropout=settings.dropout,
            use_dora=settings.kind == "dora",
            target_modules=self.targets,
            modules_to_save=None,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(self.config, network, adapter_name=_NAME)
        for module in network.modules():
            if isinstance(module, nn.ModuleDict) and _NAME in module and isinstance(module[_NAME], nn.Dropout):
                module[_NAME] = Dropout(settings.dropout, network.noise)
        network.train(network.training)  # the mode of the new layers too
        number_sites(network)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(".lora_" in name or name in self.trained)

    def describe(self) -> str:
        """The number of trainable parameters, in one line."""
        learns = sum(parameter.numel() for parameter in self.network.parameters() if parameter.requires_grad)
        whole = count_parameters(self.network)
        kind = {"lora": "LoRA", "dora": "DoRA"}[self.settings.kind]
        return (
            f"{kind} of rank {self.settings.rank} beside {len(self.targets)} layers: {learns:,} of {whole:,} "
            f"parameters learn ({learns / whole:.1%})"
        )

    def merged(self) -> dict[str, Tensor]:
        """The weights with the adapter merged in: a plain network with them computes the same."""
        return merged_weights(self.network, scale=self.scale, name=_NAME)

    def base(self) -> dict[str, Tensor]:
        """The weights without the adapter."""
        return plain_weights(self.network)

    def save(self, folder: Path, *, base: str) -> None:
        """Write adapter_config.json and adapter_model.safetensors in peft's format."""
        saved = sorted({name.rpartition(".")[0] for name in self._aliases()})
        config: dict[str, Any] = {
            **{key: sorted(value) if isinstance(value, set) else value for key, value in self.config.to_dict().items()},
            "base_model_name_or_path": base,
            "inference_mode": True,
            "modules_to_save": saved or None,
        }
        try:
            make_folder(folder)
            write_json(folder / CONFIG, config)
            save_weights(folder / WEIGHTS, self._state())
        except OSError as error:
            raise DiskError(
                f"the adapter cannot be written to `{folder}` ({error.strerror}). Free space, then continue with "
                f"{argument('resume=True', flag='--resume')}."
            ) from error

    def remove(self) -> None:
        """Restore the plain layers. The adapter's weights are lost."""
        for name in self.targets:
            parent, _, last = name.rpartition(".")
            home = self.network.get_submodule(parent)
            setattr(home, last, home.get_submodule(last).get_submodule("base_layer"))
        for parameter in self.network.parameters():
            parameter.requires_grad_(True)

    def _state(self) -> dict[str, Tensor]:
        """The adapter's tensors, under peft's names."""
        state: dict[str, Tensor] = {}
        for name, tensor in self.network.named_parameters():
            for part, short in ((".lora_A.", DOWN), (".lora_B.", UP), (f"{MAGNITUDE}.", MAGNITUDE)):
                if part in name:
                    state[PREFIX + name.partition(part)[0] + short] = tensor.detach()
        return state | {PREFIX + name: tensor.clone() for name, tensor in self._aliases().items()}

    def _aliases(self) -> dict[str, Tensor]:
        """All weights of the modules that contain a fully trained weight, under every name that they have."""
        own = dict(self.network.named_parameters())
        homes = {id(self.network.get_submodule(name.rpartition(".")[0])) for name in self.trained if name in own}
        return {
            f"{name}.{key}": parameter.detach()
            for name, module in self.network.named_modules(remove_duplicate=False)
            if id(module) in homes
            for key, parameter in module.named_parameters(recurse=False)
        }


def _pattern(linears: list[str], target: str) -> str:
    """A target as a pattern over our names. A target without a wildcard that is not a full name is read as in peft: as
    the end of a name (`q`, `mixer.q`). Names of transformers work too (`q_proj`, `SelfAttention.q`, `all-linear`)."""
    if target in linears or any(sign in target for sign in "*?["):
        return target
    return "*" if target == "all-linear" else "*." + ".".join(_THEIRS.get(part, part) for part in target.split("."))


def _matching(names: list[str], patterns: Mapping[str, str], setting: str, what: str) -> list[str]:
    """The `names` that a pattern matches. SettingError, with the key of the pattern, for one that matches none."""
    for given, pattern in patterns.items():
        if not any(fnmatchcase(name, pattern) for name in names):
            raise SettingError(
                ("training", "adapter", setting),
                f"must match the name of a {what}, but `{given}` matches none",
                remedy=f"For example {_example(names)}.",
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns.values())]


def _example(names: list[str]) -> str:
    """Short example patterns: the last parts of `names`."""
    ends = dict.fromkeys(name.rpartition(".")[2] for name in names)
    return ", ".join(f"*.{end}" for end in list(ends)[:8])
