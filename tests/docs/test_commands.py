"""Every command of README, CONTRIBUTING and docs is typed as it is printed, or its page says what it needs."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import DATA_FOLDER
from forked_shell import Shell
from page_commands import PAGES, ROOT, Wrong, check, passages, stray_flags

from antiphon.recipe import read_yaml

PAIRS = [(f"in {n} hours", f"in {n} Stunden") for n in range(2, 14)]
SMALL = {  # what a page's recipe says, with a network and a run that take a second
    "tokenizer": {"vocab_size": 300},
    "model": {"preset": "tiny", "d_model": 16, "num_heads": 2, "ffn_dim": 32, "max_length": 64},
    "training": {"max_steps": 2, "batch_tokens": 64, "warmup_steps": 1},
    "validation": {"every_steps": 2},
    "generation": {"max_new_tokens": 8},
}


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    with Shell() as shell:
        yield shell


@pytest.fixture(scope="module")
def prepared(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the repository's files, and with what the commands of README read and make: data and runs/mine."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in ("recipes", "examples", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "antiphon").symlink_to(shell.programs / "antiphon")
    sides = ["".join(f"{text}\n" for text in side) for side in zip(*PAIRS, strict=True)]
    for language, text in zip(("en", "de"), sides, strict=True):
        for name in ("train", "val", "test"):
            (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
            (folder / f"{name}.{language}.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "questions.txt").write_text("in 3 hours\nin 4 hours\n")
    (folder / "rows.csv").write_text("id,text\n7,in 3 hours\n8,in 4 hours\n")
    (folder / "mails.csv").write_text('id,body\n7,"in 3 hours\nin 4 hours"\n8,\n')
    (folder / "pairs.jsonl.gz").write_bytes(gzip.compress(b'{"translation": {"en": "in 3 hours", "de": ""}}\n'))
    for name in ("news.txt", "held-out.txt"):
        (folder / name).write_text(sides[0])
    attention = python_of("docs/attention.md")
    run_python(shell, folder, attention[0])
    shutil.copy(folder / "fade.py", folder / "mine.py")
    (folder / "recipe.yaml").write_text(smaller(yaml_of("README.md")[0]))
    said(shell.type("antiphon train recipe.yaml --quiet", folder))
    return folder


def yaml_of(page: str) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def python_of(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def smaller(recipe: str) -> str:
    """The recipe with the settings of SMALL in the sections that it has."""
    settings: dict[str, Any] = read_yaml(recipe, "recipe.yaml")[0]
    for section, small in SMALL.items():
        settings[section] = {**settings.get(section, {}), **small}
    return yaml.safe_dump(settings)


def run_python(shell: Shell, folder: Path, code: str) -> None:
    (folder / "code-of-the-page.py").write_text(code, encoding="utf-8")
    said(shell.type("python code-of-the-page.py", folder))


def said(ended: Any) -> str:
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@pytest.fixture
def page_folder(prepared: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    shutil.copytree(prepared, folder, symlinks=True)
    return folder


def before(page: str, shell: Shell, folder: Path) -> None:
    """What the reader of a page has before its first command, beyond what `prepared` makes."""
    names = {
        "docs/search.md": ("runs/multi30k", "a", "b"),
        "docs/first-steps.md": ("first-model",),
        "docs/explaining.md": ("runs/demo", "runs/sst2", "runs/multi30k"),
    }
    for name in names.get(page, ()):
        shutil.copytree(folder / "runs" / "mine" / "model", folder / name)
    if page == "docs/explaining.md":
        (folder / "test.gold").write_text("0-0 1-1 2?2\n" * len(PAIRS))
    if page in ("README.md", "docs/coming-from-transformers.md", "docs/first-steps.md"):  # they train runs/mine
        (folder / "runs" / "mine").rename(folder / "runs" / "trained-before")
    if page == "docs/attention.md":
        code = next(code for code in python_of(page) if "antiphon.train(recipe)" in code)
        shorter = ('"max_steps": 100', '"max_steps": 2'), ("corpus.train", "corpus.train[:99]"), ("d[:100]", "d[:4]")
        for full, short in shorter:
            assert full in code
            code = code.replace(full, short)
        run_python(shell, folder, f"import antiphon\n{code}")
    for recipe in yaml_of(page):
        if name := re.match(r"# (\S+\.yaml)\n", recipe):
            (folder / name[1]).write_text(smaller(recipe))


MADE = {  # files that a page's commands write
    "README.md": ("runs/mine/model/model.safetensors", "answers.csv", "out/model.bin"),
    "docs/attention.md": ("maps.html",),
    "docs/data.md": ("answers.csv", "answers.jsonl"),
    "docs/onnx.md": ("out/encoder_model.onnx", "out/decoder_model_merged.onnx", "out/onnx.json"),
    "docs/pretraining.md": ("runs/pretrained/model/model.safetensors",),
    "docs/reports.md": ("mine.html", "runs/mine/report.html", "runs/mine/model/README.md"),
    "docs/search.md": ("runs/ltr/model", "runs/rtl/model", "test.out"),
}
TYPED = {page: [passage for passage in passages(page) if passage.typed] for page in PAGES}


@pytest.mark.parametrize("page", [page for page, found in TYPED.items() if found])
def test_commands_run_as_printed(page: str, shell: Shell, page_folder: Path) -> None:
    if page == "README.md":
        pytest.importorskip("ctranslate2", reason="needs ctranslate2 (extra [ctranslate2])")
    if page == "docs/onnx.md":
        pytest.importorskip("onnxruntime", reason="needs onnx and onnxruntime (extra [onnx])")
    before(page, shell, page_folder)
    for passage in TYPED[page]:
        ended = shell.type(passage.text, page_folder)
        if passage.said is None:
            assert ended.returncode == 0, f"{passage}\n{ended.stdout}"
        else:
            assert ended.stdout == passage.said, passage
    for file in MADE.get(page, ()):
        assert (page_folder / file).exists(), file


@pytest.mark.parametrize("page", PAGES)
def test_what_commands_name_exists(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_DATA", str(DATA_FOLDER))
    for passage in passages(page):
        check(passage)
    if page != "docs/coming-from-transformers.md":  # a page of names that others have
        assert stray_flags(page) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```\nantiphon gnerate m\n```", "there is no command `antiphon gnerate m`"),
        ("```\nantiphon generate\n```", "`antiphon generate` needs MODEL"),
        ("```\nantiphon generate m \\\n  --bem-size 3 < in\n```", "`--bem-size` is not a flag of `antiphon generate`"),
        ("```\nantiphon generate m   # and --n-bst 3\n```", "`--n-bst` is not a flag of `antiphon generate`"),
        ("```\nantiphon generate m --n-best many\n```", "`--n-best` must be a whole number"),
        ("Try `antiphon evaluate --metrcs bleu` too.", "`--metrcs` is not a flag of `antiphon evaluate`"),
        ("<!-- needs: data -->\n```\nantiphon train recipes/none.yaml\n```", "there is no recipe `recipes/none.yaml`"),
        ("\n    antiphon train recipes/g2p.yaml --training.lr fast", "`training.lr` must be a number"),
        ("`antiphon train recipes/sst2-finetune.yaml --variant none`", "`none`"),
        ("<!-- needs: data -->\n```\npython benchmarks/lod.py m\n```", "there is no script `benchmarks/lod.py`"),
        ("```bash\npython benchmarks/load.py m --mke\n```", "`--mke` is not a flag of `benchmarks/load.py`"),
        ("```\npython3 -m no_such_module\n```", "there is no module `no_such_module`"),
        ("```\npython run.py dmo\n```", "`python run.py` knows no command `dmo`"),
        ("```\nmake tset\n```", "`tset` is not in Makefile"),
        ("`make demo PYTHON=python3.12`", "`PYTHON=python3.12` is not in Makefile"),
        ("```sh\ngit clone antiphon\n```", "`git` is a program that tests/page_commands.py does not know"),
        ("`pip install 'antiphon[dta]'`", "pyproject.toml has no extra [dta]"),
        ("<!-- needs: network, luck -->\n```\nantiphon demo\n```", "`luck` is no need"),
        ("<!-- needs: [dta] -->\n```\nantiphon demo\n```", "`[dta]` is no need"),
        ("<!-- typed in: tests/none.py -->\n```\nantiphon demo\n```", "`tests/none.py` is no test of page.md"),
        ("<!-- typed in: tests/forked_shell.py -->\n```\nantiphon demo\n```", "`tests/forked_shell.py` is no test of"),
        ("<!-- needs: data -->\nNo command.\n\n```\nantiphon demo\n```", "stands above no command"),
        ("<!-- needs: data -->\n\n```\nantiphon demo\n```", "stands above no command"),
        ("```\nantiphon evaluate m --source $ANTIPHON_DATA/none.gz --target x\n```", "there is no data set"),
    ],
)
def test_what_is_wrong_is_found(text: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_DATA", str(DATA_FOLDER))
    if "$ANTIPHON_DATA" in text and not DATA_FOLDER.is_dir():
        pytest.skip(f"needs the data sets in {DATA_FOLDER} (set ANTIPHON_DATA)")
    with pytest.raises(Wrong, match=re.escape(wrong)):
        for passage in passages("page.md", text):
            check(passage)


def test_which_commands_are_typed() -> None:
    page = """
See `antiphon score` and `antiphon train --help`, `antiphon evaluate FILE`, `make test` or `pip install antiphon`.

<!-- needs: 2 minutes -->
| `antiphon demo --steps 3` | `antiphon demo --steps 4` |
| `antiphon demo --steps 5` <!-- needs: GPU --> |

```
$ antiphon --version
antiphon 1
$ antiphon generate m
```

    antiphon demo --steps 6

<!-- typed in: tests/docs/test_pages.py -->
```bash
antiphon demo
```
"""
    found = passages("page.md", page)
    assert [passage.text for passage in found if passage.typed] == [
        "antiphon train --help",
        "antiphon --version",
        "antiphon generate m",
        "antiphon demo --steps 6",
    ]
    marks = ["2 minutes", "2 minutes", "GPU", "tests/docs/test_pages.py"]
    assert [passage.mark for passage in found if passage.mark] == marks
    assert [passage.said for passage in found if passage.said is not None] == ["antiphon 1\n", ""]


@pytest.mark.parametrize("text", ["antiphon generate nowhere", "python nowhere.py", "antiphon generate m < nowhere"])
def test_the_shell_says_that_a_command_failed(text: str, shell: Shell, tmp_path: Path) -> None:
    ended = shell.type(f"{text}\necho on", tmp_path)
    assert ended.returncode != 0 and "nowhere" in ended.stdout and "on\n" not in ended.stdout.splitlines(keepends=True)


def test_the_shell_hands_over_streams_variables_and_codes(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "say.py").write_text("import os, sys\nprint(sys.stdin.read() + os.environ['OWN'])\nsys.exit(3)\n")
    ended = shell.type("OWN='a b' python say.py < say.py > out || echo $?", tmp_path)
    assert ended.stdout == "3\n" and (tmp_path / "out").read_text().endswith("sys.exit(3)\na b\n")
