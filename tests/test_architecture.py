"""The shape of the code: who imports whom, what is public, what is banned, and how long things are."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator

import pytest
import structure
from structure import (
    FLOORS,
    LEVELS,
    PACKAGE,
    PAGE,
    ROOT,
    fields,
    imports,
    is_settings,
    module_of,
    own_imports,
    part_of,
    sources,
)

STRANGERS = [("text", "nn"), ("data", "models"), ("training", "search")]  # of equal level; listed for the message
THIRD_PARTY = {  # what the dependencies of pyproject.toml are called in an import; sacrebleu brings numpy
    "torch", "tokenizers", "sentencepiece", "safetensors", "huggingface_hub", "sacrebleu", "numpy", "babel", "yaml",
    "sentencex", "tyro", "rich", "httpx2",
    "rouge_score",  # extra [metrics]
    "schedulefree",  # extra [optim]
    "datasets", "pyarrow", "zstandard",  # extra [data]
    "fsspec",  # extra [cloud]
    "matplotlib",  # extra [plots]
    "PIL",  # extra [images]
    "sklearn",  # extra [digits]
    "peft",  # extra [peft]
    "ctranslate2",  # extra [ctranslate2]
    "transformers",  # extra [hf]
    "onnx", "onnxruntime",  # extra [onnx]
    "fastapi", "starlette", "uvicorn", "h11", "prometheus_client", "py3langid",  # extra [serve]
    "wandb", "mlflow", "trackio",  # extras of these names
    "ray",  # extra [ray]
    "optuna", "sqlalchemy",  # extra [sweep]; Optuna brings SQLAlchemy
    "comet",  # only in evaluation/comet_process.py, which another Python runs
}  # fmt: skip
LAZY = {
    "ctranslate2",
    "peft",
    "transformers",
    "tyro",
    "babel",
    "sentencex",
    "sacrebleu",
    "huggingface_hub",
    "numpy",
    "datasets",
    "pyarrow",
    "zstandard",
    "fsspec",
    "rouge_score",
    "schedulefree",
    "comet",
    "matplotlib",
    "sklearn",
    "PIL",
    "wandb",
    "mlflow",
    "trackio",
    "optuna",
    "sqlalchemy",
    "ray",
}  # only inside functions: loading a model needs none
AT_THE_TOP = {
    "text/phrases.py",
    "text/patterns.py",  # all of both is about Babel; whoever needs them imports the file in a function
    "export/onnx/checking.py",
    "export/onnx/runner.py",  # NumPy arrays are what onnxruntime takes; `antiphon.export.onnx` is imported in functions
}
DISPLAYS = {"training/reporting/record.py", "workflows/demos/phrases.py"}  # show a run to people, on standard error
BANNED = {
    "eval": "runs text as code", "exec": "runs text as code", "pickle": "runs code from a file",
    "marshal": "runs code from a file", "shelve": "is pickle", "dill": "runs code from a file",
    "yaml.load": "builds objects from a file", "os.system": "is a shell",
}  # fmt: skip
MOST_LINES, MOST_FUNCTION_LINES, MOST_MEDIAN = 400, 60, 200
# What a reader of one file must hold: the modules of ours that it imports, the fields and attributes of a class; more
# of a record of settings or of a file's keys, which is read a field at a time. What is above has a bound of its own,
# which may fall and not rise.
MOST_IMPORTS, MOST_FIELDS, MOST_SETTINGS = 18, 16, 36
IMPORTS = {"workflows/job.py": 34, "generation/model.py": 28, "__init__.py": 24}  # the last: the public names
FIELDS = {"workflows/job.py:TrainingJob": 21, "search/beam_search.py:Search": 23, "training/progress.py:Progress": 17}
MOST_SIDE_BY_SIDE = 20  # files of one folder; `cli` has one for each command
RUNTIME_WORDS = re.compile("is_recording|capturing|Int8Linear|native")


def test_every_part_has_a_level_and_levels_name_what_exists() -> None:
    assert {part_of(module_of(path)) for path in sources()} == set(LEVELS)
    assert {name for pair in STRANGERS for name in pair} <= set(LEVELS)


def test_lists_name_what_exists() -> None:
    used = {name.split(".")[0] for path in sources() for name, _ in imports(path)}
    assert used >= THIRD_PARTY, f"nothing imports {THIRD_PARTY - used}"
    assert LAZY <= THIRD_PARTY, LAZY - THIRD_PARTY
    files = {str(path.relative_to(PACKAGE)) for path in sources()}
    assert files >= AT_THE_TOP | DISPLAYS | {PICKLES} | set(IMPORTS) | {file.split(":")[0] for file in FIELDS}
    assert {name.split(":")[1] for name in FIELDS} <= set(structure.bases()), "a class of FIELDS is gone"
    assert {PACKAGE / folder for folder in FLOORS} <= {path.parent for path in sources()}


def test_markers_name_what_tests_use() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    markers = {line.partition(":")[0] for line in settings["tool"]["pytest"]["ini_options"]["markers"]}
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    unused = {name for name in markers if f"pytest.mark.{name}" not in tests}
    assert not unused, f"no test is marked {unused}"


def test_imports_go_downwards() -> None:
    for path in sources():
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


@pytest.mark.parametrize("folder", FLOORS)
def test_imports_go_downwards_inside_a_folder_too(folder: str) -> None:
    floors = {name: floor for floor, names in enumerate(FLOORS[folder]) for name in names.split()}
    graph = structure.inner_imports(folder)
    assert len(floors) == sum(len(names.split()) for names in FLOORS[folder]), "a file stands on two floors"
    assert set(floors) == set(graph), f"on a floor or in the tree alone: {set(floors) ^ set(graph)}"
    for name, others in graph.items():
        for other in others:
            assert floors[other] < floors[name], (
                f"{folder}/{name} (floor {floors[name]}) must not import {folder}/{other} (floor {floors[other]})"
            )


def test_no_circle_of_imports() -> None:
    """No module reaches itself, even by imports inside functions; those under TYPE_CHECKING count too."""
    known = set(structure.modules())
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
            "splitmix",
            "utf8",
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


def test_nn_does_not_know_how_a_step_is_run() -> None:
    """Its modules are plain PyTorch: `runtime` records and compiles them, and packs their weights."""
    for path in sources():
        if part_of(module_of(path)) == "nn":
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                found = RUNTIME_WORDS.search(line)
                assert found is None, f"{path.relative_to(ROOT)}:{number}: `{found[0]}` belongs to runtime"


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


def test_nothing_banned() -> None:
    for path in sources():
        assert [f"{path}:{line}: {fault}" for line, fault in faults(sources()[path])] == []


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


def test_files_and_functions_are_short_and_annotated() -> None:
    for path in sources():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, path
        for function in functions(sources()[path]):
            where = f"{path.relative_to(ROOT)}:{function.lineno}: {function.name}"
            assert (function.end_lineno or 0) - function.lineno + 1 <= MOST_FUNCTION_LINES, f"{where} is too long"
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
            assert not bare, f"{where} has no types for {bare}"


def test_class_names_are_given_once() -> None:
    names = Counter(
        node.name for tree in sources().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_a_folder_can_be_overlooked() -> None:
    files = Counter(path.parent for path in sources())
    crowded = {str(folder.relative_to(PACKAGE)): count for folder, count in files.items() if count > MOST_SIDE_BY_SIDE}
    assert set(crowded) <= {"cli"}, f"more than {MOST_SIDE_BY_SIDE} files side by side: {crowded}"


def test_a_reader_can_hold_a_file() -> None:
    for path in sources():
        file = str(path.relative_to(PACKAGE))
        count = len({name for name, _ in own_imports(path)})
        assert count <= IMPORTS.get(file, MOST_IMPORTS), f"{file} imports {count} modules of ours"
        for node in structure.classes(sources()[path]):
            most = MOST_SETTINGS if is_settings(node.name) else FIELDS.get(f"{file}:{node.name}", MOST_FIELDS)
            names = fields(node)
            assert len(names) <= most, f"{file}: {node.name} has {len(names)} fields: {sorted(names)}"


def test_what_a_reader_holds_is_counted_right() -> None:
    code = "class A(B):\n a: int = 1\n def f(self):\n  self.b = self.c, x = 1, 2\n  self.d: int = 3; y.e = 4"
    (node,) = structure.classes(ast.parse(code))
    assert fields(node) == {"a", "b", "c", "d"}
    assert is_settings("GenerationConfig") and is_settings("WhisperKeys") and not is_settings("Search")


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
    others = {"parity", "recovery", "docs", "examples", "mutants", "deploy", "torture", "recipes"}
    known = {path.name for path in PACKAGE.iterdir() if path.is_dir()} | others
    folders = {
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
    }
    assert folders <= known, folders - known
    assert others <= folders, others - folders


def test_the_picture_of_the_page_is_that_of_the_imports() -> None:
    shown = structure.picture_in(PAGE.read_text(encoding="utf-8"))
    assert shown == structure.picture(), "run `python tests/structure.py --write`"


def test_the_command_that_prints_the_floors(monkeypatch: pytest.MonkeyPatch) -> None:
    """CONTRIBUTING.md and docs/architecture.md name it: what it prints is the table, and `--write` changes nothing."""
    script, page = ROOT / "tests" / "structure.py", PAGE.read_text(encoding="utf-8")
    made = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert made.stdout.strip() in script.read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(script), "--write"])
    structure.main()  # in this process, which has read all files already
    assert PAGE.read_text(encoding="utf-8") == page
