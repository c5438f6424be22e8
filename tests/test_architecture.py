"""The shape of the code: who imports whom, what is public, what is banned, and how long things are."""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "antiphon"

LEVELS = {  # the first name below antiphon -> its level; a folder or file imports from itself and from lower levels
    "errors": 0, "registry": 0, "settings": 0, "config": 0, "recipe": 0, "batch": 0, "display": 0, "devices": 0,
    "synonyms": 0, "keywords": 0,
    "distributed": 1, "text": 1, "nn": 1,
    "inputs": 2,
    "data": 3, "models": 3, "constraints": 3,
    "runtime": 4,
    "training": 5, "search": 5,
    "generation": 6,
    "evaluation": 7, "serving": 7, "export": 7, "conformance": 7,
    "workflows": 8,
    "cli": 9,
    "": 10, "__main__": 10,
}  # fmt: skip
STRANGERS = [("text", "nn"), ("data", "models"), ("training", "search")]  # of equal level; listed for the message
THIRD_PARTY = {  # what the dependencies of pyproject.toml are called in an import; sacrebleu brings numpy
    "torch", "tokenizers", "sentencepiece", "safetensors", "huggingface_hub", "sacrebleu", "numpy", "babel", "yaml",
    "sentencex", "pydantic", "tyro", "rich",
    "rouge_score",  # extra [metrics]
    "schedulefree",  # extra [optim]
    "datasets", "pyarrow", "zstandard",  # extra [data]
    "matplotlib",  # extra [plots]
    "peft",  # extra [peft]
    "ctranslate2",  # extra [ctranslate2]
    "transformers",  # extra [hf]
    "comet",  # only in evaluation/comet_process.py, which another Python runs
}  # fmt: skip
LAZY = {
    "ctranslate2",
    "peft",
    "transformers",
    "pydantic",
    "tyro",
    "babel",
    "sentencex",
    "sacrebleu",
    "huggingface_hub",
    "numpy",
    "datasets",
    "pyarrow",
    "zstandard",
    "rouge_score",
    "schedulefree",
    "comet",
    "matplotlib",
}  # only inside functions: loading a model needs none
AT_THE_TOP = {
    "text/phrases.py",
    "text/patterns.py",
}  # all of it is about Babel; whoever needs it imports the file in a function
DISPLAYS = {"training/reporting/record.py", "workflows/demo.py"}  # show a run to people, on standard error
BANNED = {
    "eval": "runs text as code", "exec": "runs text as code", "pickle": "runs code from a file",
    "marshal": "runs code from a file", "shelve": "is pickle", "dill": "runs code from a file",
    "yaml.load": "builds objects from a file", "os.system": "is a shell",
}  # fmt: skip
MOST_LINES, MOST_FUNCTION_LINES, MOST_MEDIAN = 400, 60, 200


@cache
def sources() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The first name below antiphon: a folder or a root file; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, inside functions and under TYPE_CHECKING too, with the line."""
    known = {module_of(other) for other in sources()}
    for node in ast.walk(sources()[path]):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; write `from antiphon. …`"
            assert node.module is not None
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield (whole if whole in known else node.module), node.lineno


def own_imports(path: Path) -> Iterator[tuple[str, int]]:
    yield from ((name, line) for name, line in imports(path) if name.split(".")[0] == "antiphon")


def test_every_part_has_a_level() -> None:
    assert {part_of(module_of(path)) for path in sources()} <= set(LEVELS)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    own = part_of(module_of(path))
    for name, line in own_imports(path):
        other = part_of(name)
        assert other == own or LEVELS[other] < LEVELS[own] or (LEVELS[own] == LEVELS[other] == 0), (
            f"{path.relative_to(ROOT)}:{line}: {own or 'antiphon'} (level {LEVELS[own]}) must not import {name} "
            f"(level {LEVELS[other]})"
        )


def test_parts_of_equal_level_do_not_know_each_other() -> None:
    # The rule above says it already; this one names the pairs, so that a change of LEVELS cannot lose them.
    for one, other in STRANGERS:
        assert LEVELS[one] == LEVELS[other]
        for path in sources():
            if part_of(module_of(path)) in (one, other):
                for name, line in own_imports(path):
                    assert {part_of(module_of(path)), part_of(name)} != {one, other}, f"{path}:{line} imports {name}"


def test_no_circle_of_imports() -> None:
    """No module reaches itself, even by imports inside functions; those under TYPE_CHECKING count too."""
    known = {module_of(path) for path in sources()}
    graph = {module_of(path): {name for name, _ in own_imports(path) if name in known} for path in sources()}
    del graph["antiphon"]  # the public names are imported from everywhere, lazily; nothing imports from it (below)
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, "a circle of imports: " + " -> ".join([*trail[trail.index(module) :], module])
        if module in done or module not in graph:
            return
        for other in sorted(graph[module]):
            if other != module:  # a package's __init__ is told apart from its modules by name
                visit(other, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_nothing_inside_imports_the_public_names() -> None:
    for path in sources():
        for name, line in own_imports(path):
            assert name != "antiphon", f"{path.relative_to(ROOT)}:{line}: import the module that defines it"


def test_third_parties_are_declared() -> None:
    for path in sources():
        for name, line in imports(path):
            top = name.split(".")[0]
            if top != "antiphon" and top not in sys.stdlib_module_names:
                assert top in THIRD_PARTY, f"{path.relative_to(ROOT)}:{line}: {top} is not among the dependencies"


def test_heavy_or_optional_libraries_are_imported_where_they_are_used() -> None:
    for path, tree in sources().items():
        if str(path.relative_to(PACKAGE)) in AT_THE_TOP:
            continue
        for node in top_level(tree.body):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in LAZY, (
                    f"{path.relative_to(ROOT)}:{node.lineno}: import {name} inside the function"
                )


def top_level(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run when a module is imported: not those in functions, nor under TYPE_CHECKING."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield from top_level([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from top_level(
                [*node.body, *node.orelse, *(part for handler in node.handlers for part in handler.body)]
            )


def test_config_level_is_standard_library_only() -> None:
    for path, module in sources().items():
        if part_of(module_of(path)) not in (
            "errors",
            "registry",
            "settings",
            "synonyms",
            "keywords",
            "config",
            "recipe",
        ):
            continue
        for node in top_level(module.body):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                assert name.split(".")[0] in {*sys.stdlib_module_names, "antiphon"}, (
                    f"{path}:{node.lineno} imports {name}"
                )


def test_nn_reads_no_config() -> None:
    for path in sources():
        if part_of(module_of(path)) == "nn":
            for name, line in own_imports(path):
                assert part_of(name) not in ("config", "recipe", "settings"), f"{path}:{line}: nn takes plain arguments"


PICKLES = "models/folders/pickled_process.py"  # runs as a process of its own, only when asked for by name


def test_one_file_reads_pickles() -> None:
    """And that one with `weights_only`, which `faults` asks for."""
    found = {
        str(path.relative_to(PACKAGE))
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and dotted(node) in ("torch.load", "torch.jit.load", "torch.package")
    }
    assert found == {PICKLES}
    for path in sources():
        for name, line in own_imports(path):
            assert name != "antiphon.models.folders.pickled_process", f"{path}:{line}: it is run, not imported"


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def faults(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What must not be in the library, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ((node.lineno, f"{name} {BANNED[name]}") for name in modules if name in BANNED)
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in BANNED:
            yield node.lineno, f"{name}() {BANNED[name]}"
        if name == "torch.load" and not any(
            word.arg == "weights_only" and isinstance(word.value, ast.Constant) and word.value.value is True
            for word in node.keywords
        ):
            yield node.lineno, "torch.load() needs weights_only=True"
        if name == "hasattr":
            yield node.lineno, "hasattr() guesses; declare the type"
        if name.startswith("subprocess.") and any(word.arg == "shell" for word in node.keywords):
            yield node.lineno, "shell=True is a shell"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_banned(path: Path) -> None:
    assert [f"{path.name}:{line}: {fault}" for line, fault in faults(sources()[path])] == []


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')", "import pickle", "from pickle import loads", "yaml.load(x)", "torch.load(x)", "exec(x)",
        "torch.load(x, weights_only=False)", "os.system('x')", "hasattr(x, 'y')", "subprocess.run('x', shell=True)",
    ],
)  # fmt: skip
def test_the_ban_has_teeth(code: str) -> None:
    assert list(faults(ast.parse(code)))


def test_the_ban_lets_the_safe_forms_through() -> None:
    assert not list(faults(ast.parse("torch.load(x, weights_only=True); yaml.compose(x); model.eval(); import json")))


def test_nothing_prints_but_the_command_line() -> None:
    for path, tree in sources().items():
        if part_of(module_of(path)) == "cli":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and dotted(node.func) in ("print", "sys.stdout.write", "sys.stderr.write"):
                shows = str(path.relative_to(PACKAGE)) in DISPLAYS and "file=sys.stderr" in ast.unparse(node)
                assert shows, f"{path.relative_to(ROOT)}:{node.lineno} prints"


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short_and_annotated(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    for function in functions(sources()[path]):
        where = f"{path.relative_to(ROOT)}:{function.lineno}: {function.name}"
        assert (function.end_lineno or 0) - function.lineno + 1 <= MOST_FUNCTION_LINES, f"{where} is too long"
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        assert not bare, f"{where} has no types for {bare}"


def test_the_median_file_is_short() -> None:
    assert statistics.median(len(path.read_text(encoding="utf-8").splitlines()) for path in sources()) <= MOST_MEDIAN


def test_every_module_says_what_it_is_and_defers_its_annotations() -> None:
    for path, tree in sources().items():
        text = path.read_text(encoding="utf-8")
        if text.strip():
            assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no docstring"
        if len(tree.body) > 1:
            assert "from __future__ import annotations" in text, path.relative_to(ROOT)


def test_tests_mirror_the_package() -> None:
    """A folder of tests is called as what it tests."""
    known = {path.name for path in PACKAGE.iterdir() if path.is_dir()} | {
        "parity",
        "recovery",
        "docs",
        "examples",
        "recipes",
        "mutants",
    }
    folders = {
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
    }
    assert folders <= known, folders - known
