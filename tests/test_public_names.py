"""What others rely on: the public names and the command line's flags. A change here is a line in CHANGELOG."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import antiphon
from antiphon.cli.flags import flag_names
from antiphon.cli.main import COMMANDS, command_class

NAMES = [
    "__version__",
    "load", "Model", "Generation", "Client",
    "train", "batches", "inspect", "TrainConfig",
    "evaluate", "compare", "explain", "rerank", "report", "sweep",
    "register", "from_torch",
    "check_attention",
    "AntiphonError", "UsageError", "ConfigError", "DataError", "ModelError",
    "WorkError", "NonFiniteError", "DiskError", "AttentionError",
]  # fmt: skip
FLAGS = Path(__file__).with_name("cli_flags.txt")


def test_the_public_names_are_these() -> None:
    assert antiphon.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(antiphon, name) is not None
    assert name in dir(antiphon)


def test_the_lazy_table_and_the_list_agree() -> None:
    assert set(antiphon._HOME) == set(antiphon.__all__) - {"__version__"}
    for name, module in antiphon._HOME.items():
        assert vars(importlib.import_module(module))[name] is getattr(antiphon, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        antiphon.laod  # noqa: B018


def modules_after(code: str) -> set[str]:
    """What a fresh Python has imported after `code`."""
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"], capture_output=True, check=True
    )
    return set(shown.stdout.decode().split())


def test_importing_antiphon_imports_nothing_heavy() -> None:
    assert not modules_after("import antiphon") & {"torch", "pydantic", "tyro", "babel", "yaml", "rich", "numpy"}


def test_loading_a_model_needs_no_library_of_training_or_of_the_command_line() -> None:
    have = modules_after("import antiphon; antiphon.load")
    assert "torch" in have
    assert not have & {"pydantic", "tyro", "babel", "sacrebleu", "antiphon.training"}


def test_the_arguments_of_the_public_functions() -> None:
    assert list(inspect.signature(antiphon.train).parameters)[:2] == ["config", "resume"]
    assert list(inspect.signature(antiphon.evaluate).parameters)[:3] == ["model", "pairs", "metrics"]
    assert list(inspect.signature(antiphon.register).parameters) == ["kind", "name"]


def the_flags() -> str:
    """Every command with its arguments and flags, one a line."""
    return "".join(f"antiphon {name} {flag}\n" for name in COMMANDS for flag in flag_names(command_class(name)))


def test_the_flags_of_the_command_line_are_a_promise() -> None:
    """A new flag is added to cli_flags.txt by hand, with a line in CHANGELOG."""
    have, promised = the_flags().splitlines(), FLAGS.read_text(encoding="utf-8").splitlines()
    assert not set(promised) - set(have), "promised flags are gone"
    assert not set(have) - set(promised), "flags that cli_flags.txt does not list"
    assert len(have) == len(set(have)), "a command has a flag twice"
