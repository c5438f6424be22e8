"""Recipes: YAML to a TrainConfig and back.

    config = read_recipe("recipe.yaml", {"training.lr": "3e-4"})

A recipe with `variants` (settings by name) describes several runs that differ in these settings.

The YAML schema is the 1.2 core schema (yaml.org/spec/1.2.2, section 10.3): `no` and `1:30` are texts, `2e-4` is a
number and `010` is ten. PyYAML only parses; plain scalars are resolved here. Duplicate keys, tags and cycles are errors
that name their line.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterable, Mapping, Sized
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antiphon.config import (
    AttentionConfig,
    DataConfig,
    SourceConfig,
    TrainConfig,
    is_files,
)
from antiphon.config.whole import absolute
from antiphon.errors import ConfigError, argument
from antiphon.registry import name_for, nearest
from antiphon.settings import FlagText, SettingError, build, hints, plain
from antiphon.utf8 import convert_hint

if TYPE_CHECKING:
    import yaml

Setting = tuple[str, ...]  # the path of a value in a recipe, for example ("training", "lr")

_MEANINGS: dict[str, Any] = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_MEANINGS |= dict.fromkeys(("", "~", "null", "Null", "NULL"), None)
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TAGS = {str: "str", bool: "bool", int: "int", float: "float", type(None): "null"}
_TAGS = {kind: f"tag:yaml.org,2002:{name}" for kind, name in _TAGS.items()}
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_KEY = re.compile(r"""^\s*['"{]?\s*[\w.-]+['"]?\s*:(\s|$)|^\s*[\[{&!]""", re.MULTILINE)
_MAX_DEPTH, _MAX_VALUES = 30, 10_000  # levels of nesting and values in a recipe; a real one has 5 and 100


def read_recipe(
    path: str | Path, overrides: Mapping[str, str] | None = None, *, variant: str | None = None
) -> TrainConfig:
    """Read the recipe in the YAML file `path`, and apply `overrides` such as {"training.lr": "3e-4"}.

    `variant` selects one of its `variants`, whose settings are applied before the overrides, and whose run is a folder
    in the recipe's `output`. Paths are relative to the recipe's folder. Raises ConfigError with file, line and remedy.
    """
    path = Path(path)
    mapping, lines = _choose(*_read_file(path), variant, str(path))
    places = {setting: f"{path}:{line}" for setting, line in lines.items()}
    for name, value in (overrides or {}).items():
        setting = tuple(name.replace("-", "_").split("."))
        _lay_over(mapping, setting, value)
        places = {known: place for known, place in places.items() if known[: len(setting)] != setting}
        places[setting] = argument(f"overrides[{name!r}]", flag=f"--{name}")
    config = _configure(mapping, path.resolve().parent, str(path), places)
    if variant is None:
        return config
    chosen = replace(config, output=os.path.join(config.output, variant))
    object.__setattr__(chosen, "_places", (str(path), places))
    return chosen


def variant_names(path: str | Path) -> list[str]:
    """The names of a recipe's `variants`, in order; empty if it has none."""
    mapping, _ = _read_file(Path(path))
    return list(_variants(mapping, str(path)))


def read_mapping(path: str | Path, *, variant: str | None = None) -> dict[str, Any]:
    """The recipe in the YAML file `path` as nested mappings, for `from_mapping`; environment variables are filled in.

    `variant` selects one of its `variants`. Paths are as the file has them. Raises ConfigError.
    """
    return _choose(*_read_file(Path(path)), variant, str(path))[0]


def _read_file(path: Path) -> tuple[dict[str, Any], dict[Setting, int]]:
    """`read_yaml` of a file."""
    if path.is_dir():
        raise ConfigError(f"a recipe must be a YAML file, but `{path}` is a folder. {_of_folder(path)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the recipe `{path}` cannot be read ({error.strerror}). Check the path.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"{path}:{content.count(10, 0, error.start) + 1}"
        problem = f"a recipe must be UTF-8, but byte 0x{content[error.start]:02x} is not ({place})"
        raise ConfigError(f"{problem}. {convert_hint(content)}") from error
    if text.strip() and not _KEY.search(text):
        raise ConfigError(
            f"a recipe must be a mapping with `data`, `training` and so on, but `{path}` has no line such as "
            f"`data: …`. If it is a text to learn from, name it in a recipe: data: {{train: {{source: {path.name}, "
            "target: …}}."
        )
    return read_yaml(text, str(path))


def _of_folder(path: Path) -> str:
    """The remedy for a folder that was given as a recipe."""
    if (path / "config.yaml").is_file():
        return f"The recipe of that run is `{path / 'config.yaml'}`."
    if (path / "config.json").is_file():
        return f"It holds a model: to train it further, write a recipe with `model: {{base: {path}}}`."
    return "Give a file, for example one of recipes/*.yaml."


def _variants(mapping: Mapping[str, Any], where: str) -> dict[str, Mapping[str, Any]]:
    """The variants of a recipe: sections of settings by name. ConfigError if they are invalid."""
    found = mapping.get("variants", {})
    if not isinstance(found, Mapping) or ("variants" in mapping and not found):
        raise ConfigError(f"`variants` must map names to settings, but is {found!r} ({where}).")
    for name, settings in found.items():
        if not _FOLDER_NAME.fullmatch(name):
            raise ConfigError(
                f"the name of a variant must be letters, digits, `.`, `_`, `+` and `-`, since its run is a folder of "
                f"that name, but is `{name}` ({where})."
            )
        if settings is not None and not isinstance(settings, Mapping):
            raise ConfigError(f"`variants.{name}` must be sections of settings, but is {settings!r} ({where}).")
        if "output" in (settings or {}):
            raise ConfigError(
                f"`variants.{name}` must not set `output`, since its run is the folder `{name}` in the recipe's "
                f"({where})."
            )
    return {str(name): settings or {} for name, settings in found.items()}


def _choose(
    mapping: dict[str, Any], lines: dict[Setting, int], variant: str | None, where: str
) -> tuple[dict[str, Any], dict[Setting, int]]:
    """The recipe of one variant, or the recipe itself if it has none. Each setting of a section is replaced as a
    whole."""
    variants = _variants(mapping, where)
    if variant is None and variants:
        raise ConfigError(
            f"`{where}` holds {len(variants)} variants; name one of them: {', '.join(variants)} "
            f"({argument('read_recipe(path, variant=NAME)', flag='--variant')})."
        )
    if variant is None:
        return mapping, lines
    if variant not in variants:
        known = ", ".join(variants) or "none"
        raise ConfigError(f"`{where}` has no variant `{variant}`{nearest(variant, variants) or '.'} It has: {known}.")
    chosen: dict[str, Any] = {name: value for name, value in mapping.items() if name != "variants"}
    kept = {setting: line for setting, line in lines.items() if setting[:1] != ("variants",)}
    for section, value in variants[variant].items():
        settings = value if isinstance(value, Mapping) and isinstance(chosen.get(section, {}), Mapping) else None
        replaced = [(section,)] if settings is None else [(section, name) for name in settings]
        chosen[section] = value if settings is None else {**chosen.get(section, {}), **settings}
        kept = {setting: line for setting, line in kept.items() if not any(setting[: len(r)] == r for r in replaced)}
    kept |= {
        setting[2:]: line for setting, line in lines.items() if setting[:2] == ("variants", variant) and setting[2:]
    }
    return chosen, kept


def from_mapping(mapping: Mapping[str, Any], *, folder: str | Path | None = None, where: str = "") -> TrainConfig:
    """A TrainConfig from nested mappings; files are relative to `folder` (default: the current one).

    `train`, `valid` and `test` of `data` may be (source, target) pairs. ConfigError names the setting, and `where` if
    given.
    """
    return _configure(mapping, Path(folder or Path.cwd()).resolve(), where, {})


def to_mapping(config: TrainConfig) -> dict[str, Any]:
    """The whole configuration as plain dicts, lists and scalars, presets resolved; `from_mapping` is its inverse.

    Pairs from Python become a text with their number and hash. An attention that is an object becomes its spec.
    """
    sides = {name: getattr(config.data, name) for name in ("train", "valid", "test")}
    data = {name: plain(getattr(config.data, name)) for name in hints(DataConfig) if name not in sides}
    found = {
        name: _short(side) if side is None or is_files(side) else _fingerprint(side) for name, side in sides.items()
    }
    data = {name: found.get(name, data.get(name)) for name in hints(DataConfig)}
    attention = {role: _spec(getattr(config.attention, role)) for role in hints(AttentionConfig)}
    made = {name: plain(getattr(config, name)) for name in hints(TrainConfig) if name not in ("data", "attention")}
    return {"task": made.pop("task"), "data": data, "attention": attention, **made}


def dump_yaml(mapping: Mapping[str, Any]) -> str:
    """Write dicts, lists and scalars as YAML; the inverse of `read_yaml`."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
            # Quote texts that would be read as other types; PyYAML would not quote the text 2e-4.
            found = meaning(value) if kind is yaml.ScalarNode and implicit[0] else value
            return _TAGS.get(type(found)) or super().resolve(kind, value, implicit)

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def number(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
        shown = repr(value) if math.isfinite(value) else {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
        return dumper.represent_scalar(_TAGS[float], shown)

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        # Unicode line breaks, such as U+0085, are read back as spaces unless escaped.
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')

    Dumper.add_representer(float, number)
    Dumper.add_representer(str, text)
    return yaml.dump(dict(mapping), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def meaning(text: str) -> Any:
    """The value of a plain (unquoted) scalar in YAML 1.2: None, a bool, an int, a float, or the text itself."""
    if text in _MEANINGS:
        return _MEANINGS[text]
    if _DECIMAL.fullmatch(text):
        return int(text) if len(text) < 400 else text
    if _BASED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    return math.nan if text in (".nan", ".NaN", ".NAN") else text


def read_yaml(text: str, where: str) -> tuple[dict[str, Any], dict[Setting, int]]:
    """The mapping in `text`, and the line of each of its values. `where` names the text in errors."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"a recipe must be YAML, but {error.problem or error.context} ({where}{line}).") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"a recipe must be YAML, but {' '.join(str(error).split())} ({where}).") from error
    except RecursionError as error:
        raise ConfigError(f"a recipe must be nested at most {_MAX_DEPTH} deep ({where}).") from error
    lines: dict[Setting, int] = {}
    value = None if node is None else _value(node, (), where, lines)
    if not isinstance(value, dict):
        raise ConfigError(f"a recipe must be a mapping with `data`, `training` and so on, but is not ({where}:1).")
    return value, lines


def _value(node: yaml.Node, path: Setting, where: str, lines: dict[Setting, int]) -> Any:
    """The plain value of a YAML node; adds its line to `lines`."""
    import yaml

    line = node.start_mark.line + 1
    lines[path] = line
    if len(path) > _MAX_DEPTH:  # also reached by an anchor that contains itself
        raise ConfigError(f"a recipe must be nested at most {_MAX_DEPTH} deep ({where}:{line}).")
    if len(lines) > _MAX_VALUES:  # reached by nested anchors
        raise ConfigError(f"a recipe must have at most {_MAX_VALUES} values ({where}:{line}).")
    if node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"):
        raise ConfigError(f"a recipe must have no tags, but has `{node.tag}` ({where}:{line}). Write the plain value.")
    if isinstance(node, yaml.ScalarNode):
        filled = _VARIABLE.sub(lambda match: _variable(match[1], f"{where}:{line}"), node.value)
        return meaning(filled) if node.style is None else filled
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, str(number)), where, lines) for number, item in enumerate(node.value)]
    assert isinstance(node, yaml.MappingNode)
    made: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key_line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"a key must be a plain text, but is a list or a mapping ({where}:{key_line}).")
        key = key_node.value
        if key in made:
            twice = (
                f"`{'.'.join((*path, key))}` must be there once, but is in lines {lines[(*path, key)]} and {key_line}"
            )
            raise ConfigError(f"{twice} ({where}:{key_line}). Drop one.")
        made[key] = _value(value_node, (*path, key), where, lines)
        lines[(*path, key)] = key_line  # the mark of an empty value may be on a later line
    return made


def _variable(name: str, where: str) -> str:
    if name not in os.environ:
        problem = f"the environment variable `{name}` must be set, but is not ({where})"
        raise ConfigError(f"{problem}{nearest(name, os.environ) or '.'} Set it, or write the value.")
    return os.environ[name]


def _lay_over(mapping: dict[str, Any], setting: Setting, text: str) -> None:
    """Set `setting` in nested mappings to the text of a flag and its YAML value."""
    *sections, last = setting
    for section in sections:
        inner = mapping.get(section)
        mapping[section] = dict(inner) if isinstance(inner, Mapping) else {}
        mapping = mapping[section]
    try:
        found = text if "\n" in text else read_yaml(f"value: {text}", "")[0]["value"]
    except ConfigError:
        found = text  # not YAML, so plain text
    mapping[last] = FlagText(text, found)


def _configure(mapping: Mapping[str, Any], folder: Path, where: str, places: Mapping[Setting, str]) -> TrainConfig:
    """The config with absolute paths. An error gets the location of the nearest value that has one."""
    try:
        config = absolute(build(TrainConfig, mapping), folder)
    except SettingError as error:
        raise _located(error, where, places) from None
    object.__setattr__(config, "_places", (where, places))  # not a setting; read by `placed`
    return config


def placed(error: SettingError, config: TrainConfig) -> SettingError:
    """The error with the file and line of its setting, if `config` was read from a file.

    For errors found later, when the parts of a run are built.
    """
    return _located(error, *vars(config).get("_places", ("", {})))


def _located(error: SettingError, where: str, places: Mapping[Setting, str]) -> SettingError:
    setting = error.path
    while setting and setting not in places:
        setting = setting[:-1]
    place = places[setting] if setting else where
    return error.at(place) if place else error


def _short(data: object) -> Any:
    """Sources with only the keys that are set, as in a hand-written recipe."""
    if isinstance(data, SourceConfig):
        return {key: value for key, value in plain(data).items() if value is not None}
    return [_short(item) for item in data] if isinstance(data, tuple) else data


def _fingerprint(data: object) -> str:
    """A text for pairs from Python with their number and hash, from which a change can be detected."""
    if not isinstance(data, Sized) or not isinstance(data, Iterable):
        return f"<python: {type(data).__name__}>"
    digest = hashlib.sha256()
    for pair in data:
        digest.update(repr(pair).encode("utf-8", "surrogatepass"))
    return f"<python: {len(data)} pairs, sha256 {digest.hexdigest()[:16]}>"


def _spec(kind: object) -> Any:
    """An attention as plain values: unchanged, or the spec of an object, or the name of a class or function."""
    if isinstance(kind, list | tuple):
        return [_spec(item) for item in kind]
    if isinstance(kind, Mapping) and set(kind) == {"all"}:
        return {"all": _spec(kind["all"])}
    if kind is None or isinstance(kind, str | Mapping):
        return plain(kind)
    if isinstance(getattr(kind, "__qualname__", None), str):  # a class or a function
        spec = name_for("attention", kind)
    else:
        spec = getattr(kind, "spec", None)
    name = getattr(kind, "__name__", type(kind).__name__)
    return plain(spec) if isinstance(spec, str | Mapping) else f"<python: {name}>"
