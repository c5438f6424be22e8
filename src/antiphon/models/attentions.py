"""Builds the score rule or mixer for an entry of `attention` in a recipe, a call or a model folder.

    build_rule({"window": 128}), build_rule(Fade), build_rule(my_function), build_rule(CustomAttention)

An attention is a `ScoreRule` or a `Mixer`, a class of these, a plain function of (q, k, v, mask), a `torch.nn.Module`
that scores pairs (or its class), a `torch.nn.MultiheadAttention`, a name (`full`), a name with its settings
(`{window: 128}`), `module:Name`, or several rules at once (`{all: [alibi, {window: 128}]}`).
"""

from __future__ import annotations

import copy
import inspect
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from antiphon.errors import ConfigError, ModelError, argument
from antiphon.nn.mixers import FunctionAttention, Mixer, ScorerAttention, TorchAttention
from antiphon.nn.mixers.function import is_attention_function
from antiphon.nn.part import is_literal
from antiphon.nn.rules import ScoreRule, parts_of
from antiphon.registry import imported, lookup, names

KINDS = (
    "a ScoreRule, a Mixer, a function of (q, k, v, mask), a torch.nn.Module that scores pairs, a name, a mapping of "
    "one name to its settings, or `module:Name`"
)
_TRANSFORMERS = (
    nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder, nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)  # fmt: skip
_MAX_SETTING = 2**16  # largest number in the settings of an attention of a model folder


def build_rule(spec: object, *, folder: Path | None = None, allow_import: bool = True) -> ScoreRule | Mixer:
    """Build the rule or mixer of one entry of a recipe's `attention`. It stores its `spec`, so that it can be saved.

    `folder` is searched first for `module:Name`. With `allow_import=False`, for specs of a model folder, nothing is
    imported, and a module that is already imported may only contribute an attention (`find_imported`).
    """
    if not isinstance(spec, str | Mapping):
        return _wrapped(spec, None, f"{spec!r:.200}")
    if isinstance(spec, Mapping):
        if len(spec) != 1:
            raise ConfigError(f"an attention must be {KINDS}, but is {spec!r:.200}.")
        name, settings = next(iter(spec.items()))
    else:
        name, settings = spec, None
    if name == "all":
        return _all(settings, folder=folder, allow_import=allow_import)
    name = str(name)
    if allow_import or not _is_path(name):
        found = lookup("attention", name, folder=folder, allow_import=allow_import)
    else:
        found = find_imported(name, settings)
    part = _wrapped(found, settings, f"`{name:.80}`")
    if is_literal(spec):  # else its spec depends on its constructor arguments
        part.spec = spec
    return part


def saved_spec(entry: object) -> object:
    """The spec of an attention in a model folder. ModelError if it is known only as a Python object."""
    if isinstance(entry, list | tuple):
        return [saved_spec(part) for part in entry]
    if isinstance(entry, Mapping) and set(entry) == {"all"}:
        return {"all": saved_spec(entry["all"])}
    if entry is None or isinstance(entry, str | Mapping):
        return entry
    part = build_rule(entry)
    if part.spec is None:
        kind = _name_of(_behind(entry))
        raise ModelError(
            f"a saved model needs a name for its attention, but {kind} has none that another process could import. Put "
            f"it in a module and import it from there, or register it: "
            f'antiphon.register("attention", "name")({kind}).'
        )
    return part.spec


def find_imported(name: str, settings: object = None) -> Any:
    """Look up `module:Name` of a model folder in a module that is already imported; nothing is imported.

    ConfigError unless it is a rule, a mixer, or a function of (q, k, v, mask) or a class of modules that is defined in
    this module, and the module is neither Python's nor of an installed package. Its settings must be plain numbers.
    """
    module = name.partition(":")[0]
    if module not in sys.modules:
        first = argument(f"import {module:.80}", flag=f"--import {module:.80}")
        raise ConfigError(
            f"the attention `{name:.200}` is not imported unasked. Give {first} first, or give `attention` yourself."
        )
    found = imported(name)
    if not _is_ours(module):
        if isinstance(found, ScoreRule | Mixer) or (isinstance(found, type) and issubclass(found, ScoreRule | Mixer)):
            return found
        own = _is_users(module) and getattr(found, "__module__", None) == module
        scores = isinstance(found, type) and issubclass(found, nn.Module) and not issubclass(found, _TRANSFORMERS)
        if own and ((scores and _are_numbers(settings)) or (settings is None and is_attention_function(found))):
            return found
    raise ConfigError(
        f"the attention `{name:.200}` must be a ScoreRule, a Mixer, or a function of (q, k, v, mask) or a scorer that "
        f"a module of your own defines, but is {_described(found)}. It is not imported unasked: register it "
        f'(antiphon.register("attention", NAME)), or give `attention` yourself.'
    )


def check_unasked(entry: object) -> None:
    """ConfigError if a spec of a model folder contains a `module:Name` that `find_imported` refuses."""
    if isinstance(entry, str):
        if _is_path(entry):
            find_imported(entry)
    elif isinstance(entry, Mapping):
        for name, settings in entry.items():
            if _is_path(str(name)):
                find_imported(str(name), settings)
            elif name == "all":
                check_unasked(settings)
    elif isinstance(entry, list | tuple):
        for part in entry:
            check_unasked(part)


def _is_path(name: str) -> bool:
    return ":" in name and name not in names("attention")


def _is_ours(module: str) -> bool:
    """Whether it is a module of Antiphon, whose attentions have registered names."""
    return module.split(".")[0] == "antiphon"


def _is_users(module: str) -> bool:
    """Whether an imported module belongs neither to Python's library nor to an installed package."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if not isinstance(file, str) or module.split(".")[0] in {*sys.stdlib_module_names, "__main__"}:
        return False
    place = Path(file).resolve()
    paths = sysconfig.get_paths()
    installed = (Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    named = {"site-packages", "dist-packages"} & set(place.parts)
    return not named and not any(place.is_relative_to(folder) for folder in installed)


def _are_numbers(settings: object) -> bool:
    if settings is None:
        return True
    values = settings.values() if isinstance(settings, Mapping) else [None]
    return all(isinstance(value, bool | int | float) and abs(value) <= _MAX_SETTING for value in values)


def _described(found: object) -> str:
    return "not there" if found is None else f"a {type(found).__name__}"


def _wrapped(found: object, settings: object, shown: str) -> ScoreRule | Mixer:
    """The rule or mixer of a Python object."""
    if isinstance(found, ScoreRule | Mixer):
        if settings is not None:
            raise ConfigError(
                f"the attention {shown} is an object and takes no settings, but is given {settings!r:.200}."
            )
        return without_stack(copy.deepcopy(found))
    kind = found if isinstance(found, type) else None
    if isinstance(found, _TRANSFORMERS) or (kind is not None and issubclass(kind, _TRANSFORMERS)):
        raise ConfigError(
            f"an attention must be {KINDS}, but is a whole {_name_of(found)}. Read its layers with antiphon.from_torch."
        )
    if kind is not None and issubclass(kind, nn.Module) and not issubclass(kind, ScoreRule | Mixer):
        if issubclass(kind, nn.MultiheadAttention):
            return _made(kind.__name__, TorchAttention, settings)
        return _made(kind.__name__, ScorerAttention, settings, kind)
    if isinstance(found, nn.Module):
        wrapper = TorchAttention if isinstance(found, nn.MultiheadAttention) else ScorerAttention
        return _made(_name_of(found), wrapper, settings, found)
    if kind is not None and issubclass(kind, ScoreRule | Mixer):
        return _made(kind.__name__, kind, settings)
    if kind is None and is_attention_function(found):
        return _made(_name_of(found), FunctionAttention, settings, found)
    if not callable(found):
        raise ConfigError(f"an attention must be {KINDS}, but is {shown}.")
    return _made(_name_of(found), found, settings)


def without_stack(part: ScoreRule | Mixer) -> ScoreRule | Mixer:
    """Make `part`, a copy of a rule that may belong to a stack, belong to none. Returns `part`."""
    for rule in parts_of(part) if isinstance(part, ScoreRule) else ():
        if "role" in vars(rule):
            del rule.role
    return part


def _made(name: str, factory: Any, settings: object, *first: object) -> ScoreRule | Mixer:
    """Call `factory`: a mapping of settings gives keyword arguments, another value is the first argument."""
    try:
        if settings is None:
            part = factory(*first)
        else:
            part = factory(*first, **settings) if isinstance(settings, Mapping) else factory(*first, settings)
    except (TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        known = inspect.signature(factory).parameters.values()
        takes = ", ".join(p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)) or "no settings"
        raise ConfigError(
            f"the attention `{name:.80}` cannot be made from {settings!r:.200}: {error} (it takes {takes})."
        ) from error
    if not isinstance(part, ScoreRule | Mixer):
        raise ConfigError(f"the attention `{name:.80}` must be {KINDS}, but it makes a {type(part).__name__}.")
    return part


def _behind(entry: object) -> object:
    """The function or module that a mixer wraps; other attentions are returned unchanged."""
    if isinstance(entry, FunctionAttention):
        return entry.function
    return entry.scorer if isinstance(entry, ScorerAttention) else entry


def _name_of(thing: object) -> str:
    """The name of a class, a function or an object in messages."""
    return str(getattr(thing, "__name__", type(thing).__name__))


def _all(specs: object, *, folder: Path | None, allow_import: bool) -> ScoreRule:
    if not isinstance(specs, list) or not specs:
        raise ConfigError(
            f"`all` in an attention must be a list of rules, but is {specs!r:.200}. "
            "Write {all: [alibi, {window: 128}]}."
        )
    rules = [build_rule(spec, folder=folder, allow_import=allow_import) for spec in specs]
    whole = rules[0]
    for rule in rules[1:]:
        if not isinstance(whole, ScoreRule) or not isinstance(rule, ScoreRule):
            raise ConfigError(
                f"`all` in an attention must hold score rules, but {specs!r:.200} has a mixer. "
                "Give the mixer a layer of its own."
            )
        whole = whole & rule
    assert isinstance(whole, ScoreRule)
    return whole
