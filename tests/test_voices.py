"""A message names arguments to whoever calls from Python, and flags to whoever typed a command."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from antiphon.cli.main import main
from antiphon.errors import argument, is_command_line, on_command_line

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "antiphon"
# Commands that are typed in a shell, whoever reads the message; and flags of other programs.
TYPED = {
    "--allow-pickle": "models/folders/stored.py",
    # Of `antiphon serve`, which is started from a shell.
    "--keys": "serving/http/keys.py",
    "--open-admin": "serving/http/keys.py",
    "--languages": "serving/http/languages.py",
    "--host": "serving/http/server.py",
    "--port": "serving/http/server.py",
    # Of git.
    **dict.fromkeys(("--always", "--dirty", "--abbrev", "--exclude"), "reports/machine.py"),
    # Of torchrun.
    "--rdzv-id": "workflows/folder.py",
    "--max-restarts": "distributed/failure.py",
    "--share": "evaluation/explain/page.py",  # a property of CSS
}
# Words of `antiphon train`.
STARTS = {"reports/facts.py", *(f"sweeps/{file}.py" for file in ("page", "run_sweep", "trial", "variants"))}
BOTH = {"synonyms.py"}  # a table that gives the Python and the flag side by side, for a page and for messages


def texts(path: Path) -> list[tuple[int, str]]:
    """The strings of a file that are no docstrings, and not what `argument` calls a flag; each with its line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    flags = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "flag"
        for part in ast.walk(keyword.value)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | flags
    ]


def library() -> list[Path]:
    own = [path for path in sorted(PACKAGE.rglob("*.py")) if "cli" not in path.relative_to(PACKAGE).parts]
    return [path for path in own if str(path.relative_to(PACKAGE)) not in BOTH]


@pytest.mark.parametrize("path", library(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_message_of_the_library_names_no_flag_by_itself(path: Path) -> None:
    name = str(path.relative_to(PACKAGE))
    for line, text in texts(path):
        for flag in re.findall(r"--[a-z][a-z-]+", text):
            command = text == flag and name in STARTS
            assert command or TYPED.get(flag) == name, f"{name}:{line} names {flag}: use errors.argument"


def test_the_search_for_flags_has_teeth(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text('"""--doc"""\nraise ValueError(f"{x} with --resume.", argument("a", flag="--a"))\n')
    assert [text for _, text in texts(file) if "--" in text] == [" with --resume."]


def test_both_voices() -> None:
    assert argument("resume=True", flag="--resume") == "`resume=True`" and not is_command_line()
    with on_command_line():
        assert argument("resume=True", flag="--resume") == "--resume" and is_command_line()
    with pytest.raises(KeyError), on_command_line():
        raise KeyError
    assert not is_command_line()


def test_a_command_speaks_of_flags_and_leaves_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import antiphon
    from antiphon.errors import ConfigError

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    (tmp_path / "a.tsv").write_text("one\teins\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: {{train: {{path: a.tsv}}}}\ntraining: {{max_steps: 1}}\noutput: {tmp_path / 'run'}\n")
    assert main(["train", str(recipe)]) == 2
    said = capsys.readouterr().err
    assert "Choose another --output" in said and "`output`" not in said
    with pytest.raises(ConfigError, match="Choose another `output`"):
        antiphon.train(recipe)


def test_an_override_is_named_as_it_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from antiphon.errors import ConfigError
    from antiphon.recipe import read_recipe

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {train: {path: a.tsv}}\ntraining: {max_steps: 1}\n")
    assert main(["train", str(recipe), "--training.lr", "x"]) == 2
    assert "`training.lr` must be a number, but is the text `x` (--training.lr)" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"\(`overrides\['training.lr'\]`\)"):
        read_recipe(recipe, {"training.lr": "x"})
    recipe.write_text("data: {train: {path: a.tsv}}\ntraining: {max_steps: 1}\nvariants: {a: {}, b: {}}\n")
    with pytest.raises(ConfigError, match=r"a, b \(`read_recipe\(path, variant=NAME\)`\)\."):
        read_recipe(recipe)
