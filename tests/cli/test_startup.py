"""What a command imports: start-up is mostly imports, and each that is not needed is paid at every start."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

LISTED = """
import sys
from antiphon.cli.main import main
code = main(sys.argv[1:])
sys.stderr.write("\\n" + "\\n".join(sys.modules))
sys.exit(code)
"""
NOT_FOR_ANSWERS = {  # a library or a part of ours that `antiphon generate` does without
    "babel",
    "ctranslate2",
    "datasets",
    "huggingface_hub",
    "matplotlib",
    "peft",
    "pydantic",
    "rich",
    "sacrebleu",
    "sympy",
    "transformers",
    "torch._dynamo",
    "torch._inductor",
    "torch.distributed.fsdp",
    "torch.utils.tensorboard",
    "antiphon.conformance",
    "antiphon.data.corpus",
    "antiphon.evaluation",
    "antiphon.export",
    "antiphon.training",
    "antiphon.workflows",
}


@functools.cache
def imported(*words: str, input: str = "") -> set[str]:
    """The modules of a process that ran `antiphon WORDS` to its end."""
    command = [sys.executable, "-c", LISTED, *words]
    ended = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.split("\n"))


@pytest.mark.parametrize("flags", [["--beam-size", "1"], ["--json"], ["--stream"]], ids=lambda flags: flags[0])
def test_an_answer_imports_only_what_it_needs(model_folder: Path, flags: list[str]) -> None:
    found = imported("generate", str(model_folder), "--quiet", *flags, input="one two\n")
    assert "antiphon.search.engine" in found
    assert sorted(found & NOT_FOR_ANSWERS) == []


def test_rows_of_a_table_are_read_without_the_parts_for_training(model_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("id,text\n1,one two\n")
    found = imported("generate", str(model_folder), "--quiet", "--input", str(file), "--source-field", "text")
    assert "antiphon.data.whole_rows" in found
    assert sorted(found & NOT_FOR_ANSWERS) == []
    plain = imported("generate", str(model_folder), "--quiet", "--beam-size", "1", input="one two\n")
    assert "antiphon.data.whole_rows" not in plain


@pytest.mark.parametrize(
    "words",
    [["--help"], ["generate", "--help"], ["evaluate", "--help"], ["serve", "--help"], ["--print-completion", "bash"]],
    ids=" ".join,
)
def test_help_and_completion_import_no_torch(words: list[str]) -> None:
    found = imported(*words)
    assert "antiphon.cli.main" in found
    heavy = {"torch", "numpy", "tokenizers", "sentencepiece", "fastapi", "uvicorn", *NOT_FOR_ANSWERS}
    assert sorted(found & heavy - {"rich"}) == []
