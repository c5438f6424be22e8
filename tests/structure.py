"""The structure of the code, read from its imports: what test_architecture.py holds and docs/architecture.md shows.

python tests/structure.py            # the floors of the big folders as today's imports have them
python tests/structure.py --write    # the picture in docs/architecture.md
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "antiphon"
PAGE = ROOT / "docs" / "architecture.md"

LEVELS = {  # the first name below antiphon -> its level; a folder or file imports from itself and from lower levels
    "errors": 0, "registry": 0, "settings": 0, "config": 0, "recipe": 0, "batch": 0, "display": 0, "devices": 0,
    "synonyms": 0, "keywords": 0, "urls": 0, "splitmix": 0, "utf8": 0, "language_codes": 0, "words": 0, "durable": 0,
    "text": 1, "nn": 1, "distributed": 1,
    "inputs": 2, "documents": 2,
    "data": 3, "models": 3, "constraints": 3,
    "runtime": 4,
    "training": 5, "search": 5,
    "generation": 6, "watching": 6,
    "evaluation": 7, "export": 7, "conformance": 7, "inspection": 7,
    "reports": 8, "bulk": 8,
    "workflows": 9, "serving": 9, "sweeps": 9, "ray": 9,
    "cli": 10,
    "": 11, "__main__": 11,
}  # fmt: skip

# Inside the big folders: a file imports from files of earlier floors alone. A name ends in / for an __init__.py. When a
# new import does not fit, either it is wrong, or its file goes to a higher floor (`python tests/structure.py`).
FLOORS: dict[str, list[str]] = {
    "text": [
        "bytes decoding kinds patterns pretrained/ pretrained/languages pretrained/pieces sentences task",
        "phrases vocabulary",
        "pretrained/files",
        "pretrained/record",
        "pretrained/layouts pretrained/source",
        "pretrained/engines",
        "pretrained/families pretrained/vocabulary",
        "pretrained/published pretrained/saved tokenizer_repr",
        "tokenizer",
        "denoising_tokens json_form loading sampling stream training",
        "/ id_tables",
        "extending trimming",
    ],
    "documents": [
        "archive markup protection segments splitting",
        "elements units",
        "placement",
        "document",
        "texts",
        "inline tables",
        "html subtitles word",
        "files",
        "/",
    ],
    "data": [
        "checks/ checks/letters drawn_lines epochs/ epochs/collection epochs/data_report epochs/drawing media/ "
        "profile remote/ remote/retrying workers/ zstd",
        "remote/filesystem",
        "remote/reading shards",
        "epochs/sampled remote/cache",
        "lines",
        "bad_rows checks/languages checks/texts media/references templates",
        "media/contents media/rows nested",
        "checks/overlap columns example_rows media/archives media/loaders tables",
        "filters fingerprint sources whole_rows",
        "denoising mixture",
        "epochs/encoding",
        "workers/messages",
        "workers/process",
        "workers/reader_pool",
        "corpus",
        "batching",
        "/",
    ],
    "models": [
        "attentions by_hand/ families/search families/spoken folders/ folders/account folders/files "
        "folders/pickled_process footprint front parts protocol windows",
        "folders/lengths folders/stored stack",
        "by_hand/torch_layers families/family folders/pickled seq2seq vision",
        "build families/fairseq families/gemma_keys families/t5 summary",
        "by_hand/from_torch families/bart families/gemma2_keys families/longt5 families/marian families/moonshine "
        "families/speech2text families/trocr_keys families/whisper",
        "families/gemma_sides families/trocr",
        "families/t5gemma families/t5gemma2",
        "families/",
        "folders/checkpoint",
        "/ by_hand/describe families/own folders/adapters",
        "folders/hub",
        "folders/reading",
    ],
    "runtime": [
        "batch_limit inference kernels/ kernels/table pages recorder/ step",
        "kernels/layout",
        "kernels/compiler",
        "kernels/packed kernels/steps",
        "kernels/calls",
        "kernels/functions",
        "attend_kernel quantized recorder/lowering",
        "int8_loading lowerings recorder/record",
        "/ ancestry graph recorder/fusion recorder/rows",
        "eager recorder/arena",
        "recorder/program",
        "recorded",
        "runtime",
        "encoding",
        "stepper",
        "policy",
    ],
    "training": [
        "/ adapters ahead energy groups guards/ guards/events guards/loss_range lease objectives/ "
        "objectives/distillation objectives/joint_ctc objectives/r_drop optimizers parallel/ parallel/single "
        "parallel/skipped reporting/ reporting/advice reporting/formats reporting/reporters/base "
        "reporting/reporters/guarded reporting/rows saving/ saving/background saving/optimizer_state saving/ranks "
        "saving/tensor_file signals",
        "guards/splitting guards/step_clock lock objectives/step_objective optim parallel/ddp parallel/exchange "
        "parallel/trial reporting/notebook reporting/reporters/names reporting/reporters/trackio "
        "reporting/reporters/weights_and_biases reporting/sparkline saving/files saving/stored",
        "guards/state parallel/shards reporting/live reporting/reporters/ reporting/reporters/mlflow "
        "reporting/reporters/tensorboard snapshot",
        "evaluated guards/failures parallel/fsdp progress reporting/record saving/space",
        "guards/protection parallel/updates parts resume",
        "guards/rollback parallel/choice step",
        "loop",
    ],
    "search": [
        "/ batch_state constants length_checks next_token/ requests special_tokens",
        "constraint_state coverage hypotheses next_token/ctc_prefix next_token/logits_processors "
        "next_token/sampling next_token/topk request_queue search_size",
        "next_token/timestamp_rules",
        "config",
        "batching candidates length_limits",
        "next_token/beam next_token/beam_groups next_token/phrase_banks state",
        "next_token/scores stopping",
        "next_token/choose",
        "beam_search",
        "running",
        "engine",
    ],
    "generation": [
        "/ assemble attention/ attention/maps attention/token_spans classification/ ensemble hf/ hf/readers "
        "languages other_names prompting restricting timed/ timed/segments timed/subtitles",
        "answers hf/network model_repr protocols quantize timed/measuring timed/words",
        "attention/ctc_alignment classification/labels joining requests scoring timed/windows token_confidence "
        "translator",
        "attention/of_texts classification/classify hf/model",
        "answering",
        "model",
        "attention/alignment dry_run load",
    ],
}  # fmt: skip


@cache
def sources() -> dict[Path, ast.Module]:
    """Every file of the package, parsed."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    """The file of each module."""
    return {module_of(path): path for path in sources()}


def part_of(module: str) -> str:
    """The first name below antiphon: a folder or a root file; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


@cache
def imports(path: Path) -> list[tuple[str, int]]:
    """Every module that a file imports, inside functions and under TYPE_CHECKING too, with the line."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(sources()[path]):
        if isinstance(node, ast.Import):
            found += [(name.name, node.lineno) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; write `from antiphon. …`"
            assert node.module is not None
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                found.append((whole if whole in modules() else node.module, node.lineno))
    return found


def own_imports(path: Path) -> Iterator[tuple[str, int]]:
    """The imports of modules of the package."""
    yield from ((name, line) for name, line in imports(path) if name.split(".")[0] == "antiphon")


def short_name(path: Path, folder: str) -> str:
    """How FLOORS calls a file: `folders/hub` in models, and `folders/` for its __init__.py; `/` is the folder's own."""
    name = path.relative_to(PACKAGE / folder).with_suffix("").as_posix()
    return name.removesuffix("__init__") or "/"


def inner_imports(folder: str) -> dict[str, set[str]]:
    """Each file of `folder` with the files of the folder that it imports, by their short names."""
    graph: dict[str, set[str]] = {}
    for path in sources():
        if path.is_relative_to(PACKAGE / folder):
            found = {modules()[name] for name, _ in own_imports(path) if name in modules()} - {path}
            inside = {short_name(other, folder) for other in found if other.is_relative_to(PACKAGE / folder)}
            graph[short_name(path, folder)] = inside
    return graph


def floors_of(graph: dict[str, set[str]]) -> list[list[str]]:
    """The lowest floor that each name of a graph without circles can have: one above all that it imports."""
    floors: dict[str, int] = {}

    def floor(name: str) -> int:
        if name not in floors:
            floors[name] = max((floor(other) + 1 for other in graph[name]), default=0)
        return floors[name]

    count = max(map(floor, graph), default=0) + 1
    return [sorted(name for name in graph if floors[name] == number) for number in range(count)]


def classes(tree: ast.AST) -> Iterator[ast.ClassDef]:
    """Every class in a file, also those inside of others."""
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def fields(node: ast.ClassDef) -> set[str]:
    """The fields that a class declares and the attributes that its methods set."""
    declared = [part.target for part in node.body if isinstance(part, ast.AnnAssign)]
    found = {target.id for target in declared if isinstance(target, ast.Name)}
    for part in ast.walk(node):
        set_here = isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)
        if set_here and isinstance(part.value, ast.Name) and part.value.id == "self":
            found.add(part.attr)
    return found


@cache
def bases() -> dict[str, list[str]]:
    """The bases of each class of the package, by name."""
    found = [node for tree in sources().values() for node in classes(tree)]
    return {node.name: [base.id for base in node.bases if isinstance(base, ast.Name)] for node in found}


def is_settings(name: str) -> bool:
    """Whether the class `name` is a record of settings, or of the keys of a published file."""
    return name == "Settings" or any(is_settings(base) for base in bases().get(name, []))


def package_imports() -> dict[str, set[str]]:
    """Each part of the package with the other parts that its files import."""
    found: dict[str, set[str]] = {}
    for path in sources():
        own = part_of(module_of(path))
        found.setdefault(own, set()).update(part_of(name) for name, _ in own_imports(path))
    return {own: others - {own, ""} for own, others in found.items()}


def picture() -> str:
    """The levels from top to bottom, and of each folder what it imports, as today's imports have it."""
    graph, lines = package_imports(), []
    base = sorted(name for name, level in LEVELS.items() if level == 0)
    for level in sorted(set(LEVELS.values()) - {LEVELS[""]}, reverse=True):
        names = [name for name, at in LEVELS.items() if at == level] if level else ["base"]
        for row, name in enumerate(names):
            others = sorted((graph.get(name, set()) if level else set()) - set(base), key=lambda n: (-LEVELS[n], n))
            arrow = f" ──> {', '.join(others)}" if others else ""
            lines.append(f"{level if row == 0 else ' '}  {name:<12}{arrow}".rstrip())
    return "\n".join([*lines, f"   base is {', '.join(base)}"])


def picture_in(page: str) -> str:
    """The picture that a page shows."""
    found = re.search(r"<!-- picture -->\n```text\n(.*?)\n```\n", page, re.DOTALL)
    assert found is not None, "docs/architecture.md has no picture"
    return found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(page.replace(picture_in(page), picture()), encoding="utf-8")
        return
    for folder in FLOORS:
        lines = [f'    "{folder}": [']
        for names in floors_of(inner_imports(folder)):
            *first, last = textwrap.wrap(" ".join(names), 105)
            lines += [*(f'        "{line} "' for line in first), f'        "{last}",']
        sys.stdout.write("\n".join([*lines, "    ],\n"]))


if __name__ == "__main__":
    main()
