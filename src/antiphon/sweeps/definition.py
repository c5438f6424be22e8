"""A sweep as a YAML file: the recipe, the space, the search, the seeds.

recipe: ../g2p.yaml                                     # relative to the sweep's folder
search: tpe                                             # grid | random | tpe
trials: 40
seeds: 3
space:
  training.optimizer: [adamw, muon]
  training.lr: {low: 1e-4, high: 1e-2, log: true}
output: runs/sweeps/g2p
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from antiphon.errors import ConfigError, argument
from antiphon.recipe import read_mapping, read_yaml, variant_names
from antiphon.registry import nearest
from antiphon.settings import Count, CountOrZero, Positive, Range, SettingError, Settings, build, inside, require, show
from antiphon.sweeps.space import VARIANT, Domain, grid_size, parse_space

PRUNERS = {  # name -> its settings with their defaults
    "none": {},
    "median": {"startup_trials": 5, "warmup_steps": 0},
    "halving": {"min_steps": 1, "reduction": 4},
}
_FREE = ("trials", "minutes", "alpha", "output", "storage")  # what may change when a study is continued
_OWN = {"output": "`output` of the sweep", "training.seed": "`seeds`", "folder": "the place of the recipe"}


@dataclass(frozen=True)
class SweepConfig(Settings):
    """The settings of a sweep."""

    recipe: str
    """The recipe that the runs change; relative to the folder of the sweep."""
    space: object
    """For each setting of the recipe its values: a list, {low, high, log, step, points}, or {choices: by name}."""
    search: Literal["grid", "random", "tpe"] = "grid"
    """grid: every combination; random: independent draws; tpe: Bayesian, by a tree-structured Parzen estimator."""
    set: object = field(default_factory=dict)
    """Settings of all runs, by dotted name, that replace the recipe's."""
    trials: Count | None = None
    """Settings to try; none: the whole grid."""
    seeds: object = 1
    """Runs of each setting: a number, or a list of values of training.seed."""
    metric: str | None = None
    """The metric that is compared; none: the recipe's keep_best, else its first metric, else valid_loss."""
    goal: Literal["min", "max"] | None = None
    """Whether lower or higher is better; none: as the metric says."""
    prune: object = None
    """Early end of runs that fall behind at a validation: none, median or halving, or {name: settings}; none given:
    median for random and tpe, none for a grid."""
    alpha: Annotated[float, Range(low=0, high=0.5, open_low=True)] = 0.05
    """Level of the tests: a setting is called better only if p is below, corrected for several comparisons."""
    minutes: Positive | None = None
    """No run is started after this time; none: no limit."""
    seed: CountOrZero = 0
    """Seed of random and tpe."""
    name: str | None = None
    """Name of the study in its storage; none: the file's name."""
    output: str | None = None
    """The folder of the sweep, with a folder for each trial; relative to the current one; none: runs/sweeps/NAME."""
    storage: str | None = None
    """Where the study is stored: sqlite:///FILE, journal:FILE or a URL of SQLAlchemy; none: study.db in `output`."""

    def check(self) -> None:
        require(isinstance(self.set, Mapping), "set", f"must map settings to values, but is {show(self.set)}")
        if self.search != "grid":
            require(self.trials is not None, "trials", f"must be given for `search: {self.search}`", "For example 40.")
        numbers = self.seeds if isinstance(self.seeds, list | tuple) else [self.seeds]
        right = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers) and numbers != [0]
        require(
            bool(numbers) and right, "seeds", f"must be a number of runs or a list of seeds, but is {show(self.seeds)}"
        )
        twice = len(set(map(str, numbers))) < len(numbers)
        require(not twice, "seeds", "must hold each seed once, but holds one twice")
        self.pruner  # noqa: B018 - a wrong one is an error now

    @property
    def seed_list(self) -> list[int]:
        """The seeds of each setting."""
        return list(self.seeds) if isinstance(self.seeds, list | tuple) else list(range(int(str(self.seeds))))

    @property
    def pruner(self) -> tuple[str, dict[str, int]]:
        """The name and the settings of the pruner."""
        chosen = self.prune if self.prune is not None else "none" if self.search == "grid" else "median"
        name, given = chosen, {}
        if isinstance(chosen, Mapping) and len(chosen) == 1:
            [(name, given)] = chosen.items()
        if name not in PRUNERS or not isinstance(given or {}, Mapping):
            hint = nearest(str(name), PRUNERS)
            problem = f"must be one of {', '.join(PRUNERS)}, or {{name: settings}}, but is {show(chosen)}"
            raise SettingError(("prune",), problem, hint=hint)
        known = PRUNERS[str(name)]
        for key, value in (given or {}).items():
            if key not in known:
                raise SettingError(("prune", str(name), str(key)), "is not known", hint=nearest(str(key), known))
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise SettingError(("prune", str(name), key), f"must be a whole number, but is {show(value)}")
        return str(name), {**known, **(given or {})}


@dataclass(frozen=True)
class Definition:
    """A sweep that was read: its settings, its space, and the recipe as nested mappings by variant (None: it has none).

    `lines` are the lines of the sweep file by setting; `identity` is what two runs of one study must agree on.
    """

    path: Path
    config: SweepConfig
    space: Mapping[str, Domain]
    recipes: Mapping[str | None, Mapping[str, Any]]
    lines: Mapping[tuple[str, ...], int]
    identity: Mapping[str, Any]

    @property
    def recipe_path(self) -> Path:
        """The recipe's file."""
        return self.path.parent / self.config.recipe

    @property
    def name(self) -> str:
        """The name of the study."""
        return self.config.name or self.path.stem

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        return Path(self.config.output or f"runs/sweeps/{self.name}")

    @property
    def storage(self) -> str:
        """The URL of the storage."""
        return self.config.storage or f"sqlite:///{self.folder / 'study.db'}"

    @property
    def most_trials(self) -> int | None:
        """The number of settings to try; None: no bound."""
        sizes = [size for size in (self.config.trials, grid_size(self.space)) if size is not None]
        return min(sizes, default=None)

    def where(self, *path: str) -> str:
        """File and line of a setting of the sweep."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.path}:{self.lines[path]}" if path else str(self.path)


def read_definition(path: str | Path, *, storage: str | None = None, output: str | None = None) -> Definition:
    """Read a sweep file; `storage` and `output` replace its own. Raises ConfigError with file and line."""
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"a sweep must be a YAML file, but `{path}` is a folder.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"a sweep must be UTF-8, but `{path}` is not ({error.reason}).") from error
    except OSError as error:
        raise ConfigError(f"the sweep `{path}` cannot be read ({error.strerror}). Check the path.") from error
    mapping, lines = read_yaml(text, str(path))
    if "space" not in mapping and "data" in mapping:
        raise ConfigError(
            f"a sweep must have `recipe` and `space`, but `{path}` is a recipe. Write a sweep that names it: "
            f"recipe: {path.name}."
        )
    given = {name: value for name, value in (("storage", storage), ("output", output)) if value is not None}
    try:
        config = build(SweepConfig, {**mapping, **given})
        _check_keys(config)
        with inside("space"):
            space = parse_space(_with_variants(config, path), grid=config.search == "grid")
    except SettingError as error:
        raise error.at(_place(path, error.path, lines)) from None
    recipe = path.parent / config.recipe
    names = variant_names(recipe)
    if names and VARIANT not in space:
        raise ConfigError(
            f"`{recipe}` has {len(names)} variants: the space must have `{VARIANT}`, a list of some of them, or `all` "
            f"({path})."
        )
    chosen = [str(value) for value in space[VARIANT].grid()] if VARIANT in space else [None]
    recipes = {name: read_mapping(recipe, variant=name) for name in chosen}
    return Definition(path, config, space, recipes, lines, _identity(config, path))


def _place(path: Path, setting: tuple[str, ...], lines: Mapping[tuple[str, ...], int]) -> str:
    while setting and setting not in lines:
        setting = setting[:-1]
    return f"{path}:{lines[setting]}" if setting else str(path)


def _with_variants(config: SweepConfig, path: Path) -> object:
    """The space, with `variant: all` as the list of the recipe's variants."""
    space = config.space
    if not isinstance(space, Mapping) or space.get(VARIANT) != "all":
        return space
    names = variant_names(path.parent / config.recipe)
    if not names:
        raise SettingError((VARIANT,), f"needs variants, but `{config.recipe}` has none")
    return {**space, VARIANT: names}


def _check_keys(config: SweepConfig) -> None:
    """SettingError for a key that the sweep sets itself."""
    for section in ("space", "set"):
        keys = getattr(config, section)
        for key in keys if isinstance(keys, Mapping) else ():
            if key in _OWN:
                raise SettingError((section, key), f"must be left out: {_OWN[key]} sets it")
            if section == "set" and key == VARIANT:
                raise SettingError((section, key), f"must stand in `space`: {VARIANT}: [NAME]")


def _identity(config: SweepConfig, path: Path) -> dict[str, Any]:
    """What two runs of one study must agree on: the sweep and its recipe, apart from settings that are free. Variables
    are as written, since machines that share a study have their data in different places."""
    unfilled = _unfilled(path)
    made = {name: unfilled[name] for name in ("space", "set") if name in unfilled}
    made |= {"search": config.search, "metric": config.metric, "goal": config.goal, "seed": config.seed}
    made |= {
        "prune": dict([config.pruner]),
        "seeds": config.seed_list,
        "recipe": _unfilled(path.parent / config.recipe),
    }
    return json.loads(json.dumps(made, default=str))


def _unfilled(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8-sig").replace("${", "$ {")
    return read_yaml(text, str(path))[0]


def differences(was: object, now: object, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The values in which two identities differ: dotted name, old and new."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in {**was, **now}:
            yield from differences(was.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif was != now:
        yield path, was, now


def check_identity(stored: Mapping[str, Any], definition: Definition, *, where: str) -> None:
    """ConfigError if the study on a storage is of another sweep; it names the first difference."""
    for name, was, now in differences(stored, definition.identity):
        raise ConfigError(
            f"the study `{definition.name}` on `{where}` is of another sweep: `{name}` is {_shown(was)} there and "
            f"{_shown(now)} in `{definition.path}`. Nothing was changed. Choose another `name` or "
            f"{argument('storage', flag='--storage')}."
        )


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
