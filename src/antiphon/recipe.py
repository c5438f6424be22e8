"""Recipes: YAML to a TrainConfig and back.

    config = read_recipe("recipes/demo.yaml", {"training.lr": "3e-4"})

The YAML is that of the 1.2 core schema (yaml.org/spec/1.2.2, section 10.3): `no` is a text, `2e-4` a number, `1:30` a text, `010` ten.
PyYAML only parses; what a plain scalar means is decided here. A key that stands twice, a tag and a cycle are errors with their line.
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

from antiphon.config import TOKENIZER_KINDS, SourceConfig, TrainConfig, is_files
from antiphon.errors import ConfigError
from antiphon.registry import nearest
from antiphon.settings import FlagText, SettingError, Settings, build, hints, plain

if TYPE_CHECKING:
    import yaml

Path_ = tuple[str, ...]  # where a value stands in a recipe, for example ("training", "lr")

_MEANINGS: dict[str, Any] = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_MEANINGS |= dict.fromkeys(("", "~", "null", "Null", "NULL"), None)
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DEEPEST = 30  # levels of nesting; a recipe has five


def read_recipe(path: str | Path, overrides: Mapping[str, str] | None = None) -> TrainConfig:
    """The recipe in the YAML file `path`, with `overrides` such as {"training.lr": "3e-4"} laid over it.

    Files in it are relative to the recipe's folder. Raises ConfigError that names the file, the line and the remedy.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the recipe `{path}` cannot be read ({error.strerror}). Check the path.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"a recipe must be UTF-8, but byte 0x{content[error.start]:02x} is not ({path}:{line})."
        ) from error
    mapping, lines = read_yaml(text, str(path))
    for name, value in (overrides or {}).items():
        _lay_over(mapping, name, value)
        lines[tuple(_key(part) for part in name.split("."))] = 0  # a flag has no line
    return _configure(mapping, folder=path.resolve().parent, where=str(path), lines=lines)


def from_mapping(mapping: Mapping[str, Any], *, folder: str | Path | None = None, where: str = "") -> TrainConfig:
    """A TrainConfig from nested mappings; files are relative to `folder` (default: the current one).

    `data.train` and `data.valid` may be (source, target) pairs. Raises ConfigError that names the setting, and `where` if given.
    """
    return _configure(mapping, folder=Path(folder or Path.cwd()).resolve(), where=where, lines={})


def to_mapping(config: TrainConfig) -> dict[str, Any]:
    """The whole configuration as plain dicts, lists and scalars, presets resolved; `from_mapping` is its inverse.

    Pairs from Python are replaced by a text with their number and hash. An attention that is an object is written as its spec.
    """
    made = {
        name: plain(getattr(config, name)) if isinstance(getattr(config, name), Settings) else getattr(config, name)
        for name in hints(TrainConfig)
    }
    for side in ("train", "valid"):
        data = getattr(config.data, side)
        if data is not None and not is_files(data):
            made["data"][side] = _fingerprint(data)
        elif data is not None:
            made["data"][side] = _short(data)
    for role, kind in made["attention"].items():
        made["attention"][role] = _spec(kind, role)
    return made


def dump_yaml(mapping: Mapping[str, Any]) -> str:
    """Plain dicts, lists and scalars as YAML that `read_yaml` reads back to the same values."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        # PyYAML leaves unquoted what only YAML 1.1 takes for a text, such as 2e-4.
        style = None if isinstance(meaning(value), str) else "'"
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    def number(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
        shown = repr(value) if math.isfinite(value) else {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
        return dumper.represent_scalar("tag:yaml.org,2002:float", shown)

    Dumper.add_representer(str, text)
    Dumper.add_representer(float, number)
    Dumper.ignore_aliases = lambda self, data: True  # pyright: ignore[reportAttributeAccessIssue]
    return yaml.dump(dict(mapping), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def meaning(text: str) -> Any:
    """What a plain (unquoted) scalar means in the core schema of YAML 1.2: None, a bool, an int, a float or the text itself."""
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


def read_yaml(text: str, where: str) -> tuple[dict[str, Any], dict[Path_, int]]:
    """The mapping that `text` holds, and the line of each of its values. `where` names the text in errors."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"a recipe must be YAML, but {error.problem or error.context} ({where}{line}).") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"a recipe must be YAML, but {' '.join(str(error).split())} ({where}).") from error
    except RecursionError as error:
        raise ConfigError(f"a recipe must be nested at most {_DEEPEST} deep ({where}).") from error
    lines: dict[Path_, int] = {}
    value = None if node is None else _value(node, (), where, lines)
    if not isinstance(value, dict):
        raise ConfigError(f"a recipe must be a mapping with `data`, `training` and so on, but is not ({where}:1).")
    return value, lines


def _value(node: yaml.Node, path: Path_, where: str, lines: dict[Path_, int]) -> Any:
    """The plain value of a YAML node; notes its line."""
    import yaml

    line = node.start_mark.line + 1
    lines[path] = line
    if len(path) > _DEEPEST:  # also what an anchor that contains itself comes to
        raise ConfigError(f"a recipe must be nested at most {_DEEPEST} deep ({where}:{line}).")
    if len(lines) > 100_000:  # anchors within anchors
        raise ConfigError(f"a recipe must have at most 100,000 values ({where}:{line}).")
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
            first = lines[(*path, key)]
            raise ConfigError(
                f"`{'.'.join((*path, key))}` is there twice, in lines {first} and {key_line} ({where}:{key_line}). Drop one."
            )
        made[key] = _value(value_node, (*path, key), where, lines)
        lines[(*path, key)] = key_line  # an empty value's own mark may stand on a later line
    return made


def _variable(name: str, where: str) -> str:
    if name not in os.environ:
        hint = nearest(name, os.environ)
        raise ConfigError(
            f"the environment variable `{name}` must be set, but is not{hint} ({where}). Set it, or write the value."
        )
    return os.environ[name]


def _key(part: str) -> str:
    return part.replace("-", "_")


def _lay_over(mapping: dict[str, Any], name: str, value: str) -> None:
    """Sets the dotted `name` in nested mappings to the meaning of a flag's text."""
    *sections, last = [_key(part) for part in name.split(".")]
    for section in sections:
        inner = mapping.get(section)
        inner = dict(inner) if isinstance(inner, Mapping) else {}
        mapping[section] = inner
        mapping = inner
    text = str(value)
    mapping[last] = FlagText(text, read_yaml(f"value: {text}", f"--{name}")[0]["value"])


def _configure(mapping: Mapping[str, Any], *, folder: Path, where: str, lines: dict[Path_, int]) -> TrainConfig:
    """The config, its files made absolute; an error gets the file and the line of the nearest value that has one."""
    try:
        return _absolute(build(TrainConfig, mapping), folder)
    except SettingError as error:
        path = error.path
        while path and path not in lines:
            path = path[:-1]
        line = lines.get(path)
        place = where if line is None else f"{where}:{line}" if line else ""
        raise (error.at(place) if place else error) from None


def _absolute(config: TrainConfig, folder: Path) -> TrainConfig:
    def sources(data: object) -> object:
        if isinstance(data, SourceConfig):
            files = {name: getattr(data, name) for name in ("path", "source", "target")}
            return replace(data, **{name: _join(folder, file) for name, file in files.items() if file is not None})
        return tuple(sources(item) for item in data) if is_files(data) and isinstance(data, tuple) else data

    data = replace(config.data, train=sources(config.data.train), valid=sources(config.data.valid))
    tokenizer = config.tokenizer
    if tokenizer.kind not in TOKENIZER_KINDS:
        file = _join(folder, tokenizer.kind)
        if not Path(file).exists():
            hint = nearest(tokenizer.kind, TOKENIZER_KINDS)
            problem = f"must be {', '.join(TOKENIZER_KINDS)} or the path of a tokenizer, but there is no `{file}`{hint}"
            raise SettingError(("tokenizer", "kind"), problem)
        tokenizer = replace(tokenizer, kind=file)
    return replace(config, data=data, tokenizer=tokenizer, folder=_join(folder, config.folder or "."))


def _join(folder: Path, file: str) -> str:
    return os.path.normpath(folder / Path(file).expanduser())


def _short(data: object) -> Any:
    """A source with only the keys that are set, as people write it."""
    if isinstance(data, SourceConfig):
        return {key: value for key, value in plain(data).items() if value is not None}
    assert isinstance(data, tuple)
    return [_short(item) for item in data]


def _fingerprint(data: object) -> str:
    """What a file says about pairs that came from Python: enough to see that they changed."""
    if not isinstance(data, Sized) or not isinstance(data, Iterable):
        return f"<python: {type(data).__name__}>"
    digest = hashlib.sha256()
    for pair in data:
        digest.update(repr(pair).encode("utf-8", "surrogatepass"))
    return f"<python: {len(data)} pairs, sha256 {digest.hexdigest()[:16]}>"


def _spec(kind: object, role: str) -> Any:
    """An attention as plain values: itself, or the spec that an object carries."""
    if isinstance(kind, list | tuple):
        return [_spec(item, role) for item in kind]
    if isinstance(kind, str | Mapping | None):
        return plain(kind)
    spec = getattr(kind, "spec", None)
    return f"<python: {type(kind).__name__}>" if spec is None else plain(spec)
