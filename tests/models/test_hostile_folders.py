"""Folders of others, broken or hostile: each is a model or one line that refuses it, and nothing else happens.

The rows of the project's table of promises: 9 no code runs, 11 fuzzed files, 12 bombs, 13 paths.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from models import hostile
from models.test_hub import change
from torture.figures import FigureRecorder

PICKLE = b"cposix\nsystem\n(S'touch ran'\ntR."  # runs `touch ran` in the current folder where it is read
PYTHON = b"import pathlib\npathlib.Path('ran').touch()\n"


def put(name: str, content: bytes) -> Callable[[Path], object]:
    """A file of this content, in place of another of its name."""
    return lambda folder: (folder / name).write_bytes(content)


def say(name: str, **content: object) -> Callable[[Path], object]:
    """More keys for a JSON file."""
    return lambda folder: change(folder / name, **content)


def link(name: str, target: str) -> Callable[[Path], object]:
    """A link in place of a file; `target` may be relative to the folder."""

    def make(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return make


def only(name: str, content: bytes) -> Callable[[Path], object]:
    """Weights in another file than model.safetensors."""

    def make(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(content)

    return make


def fifo(name: str) -> Callable[[Path], object]:
    """A pipe in place of a file, which would be waited for without end."""

    def make(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return make


READ = ("config.json", "generation_config.json", "tokenizer.json", "model.safetensors")
TEMPLATE = "{{ ''.__class__.__mro__[1].__subclasses__() }}{% include '/etc/passwd' %}"
REFUSED: list[Callable[[Path], object]] = [
    *(put(name, PICKLE) for name in READ),
    *(put(name, PYTHON) for name in READ),
    *(put(name, b"!!python/object/apply:os.system ['touch ran']\n") for name in READ),
    *(link(name, "/etc/passwd") for name in READ),
    *(link(name, "../outside") for name in READ),
    *(link(name, "/dev/zero") for name in READ),
    *(link(name, "/proc/self/environ") for name in READ),
    *(fifo(name) for name in READ),
    *(only(name, PICKLE) for name in ("pytorch_model.bin", "model.pt", "model.pkl", "flax_model.msgpack", "model.h5")),
    only("pytorch_model.bin.index.json", b'{"weight_map": {"shared.weight": "x.bin"}}'),
    only("model.safetensors.index.json", b'{"weight_map": {"shared.weight": "../outside"}}'),
    only("model.safetensors.index.json", b'{"weight_map": {"shared.weight": "pytorch_model.bin"}}'),
    say("config.json", auto_map={"AutoModelForSeq2SeqLM": "modeling.Model"}),
    say("config.json", auto_map={}, model_type="other"),
    say("config.json", model_type="../outside"),
    say("config.json", model_type="modeling:Model"),
    say("config.json", model_type=["t5"]),
    say("config.json", feed_forward_proj="modeling:Act"),
    say("config.json", feed_forward_proj="__import__('os').system('touch ran')"),
]
LOADED: list[Callable[[Path], object]] = [  # what they say is not read
    say("config.json", _name_or_path="/etc/passwd", tokenizer_class="modeling.Tokenizer"),
    say("config.json", torch_dtype="__import__('os').system('touch ran')", transformers_version="../x"),
    say("config.json", custom_generate="modeling.py", quantization_config={"quant_method": "../x"}),
    say("generation_config.json", cache_implementation="modeling:Cache", custom_generate="modeling.py"),
    say("tokenizer_config.json", auto_map={"AutoTokenizer": ["modeling.Tokenizer", None]}),
    say("tokenizer_config.json", tokenizer_file="/etc/passwd", vocab_file="../outside", merges_file="../outside"),
    say("tokenizer_config.json", chat_template=TEMPLATE),
    say("tokenizer_config.json", tokenizer_class="modeling.Tokenizer", added_tokens_decoder={}),
    put("chat_template.jinja", TEMPLATE.encode()),
    put("pytorch_model.bin", PICKLE),
    put("training_args.bin", PICKLE),
    put("antiphon.py", PYTHON),
    put("torch.py", PYTHON),
    put("sitecustomize.py", PYTHON),
    put("generate.py", PYTHON),
]


@pytest.mark.parametrize("artifact", range(len(REFUSED) + len(LOADED)))
def test_nothing_of_a_hostile_folder_runs(
    artifact: int,
    wholes: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    figures: FigureRecorder,
) -> None:
    folder = tmp_path / "t5"
    shutil.copytree(wholes["t5"], folder)
    (tmp_path / "outside").write_text('{"model_type": "t5"}')
    (folder / "modeling.py").write_bytes(PYTHON)
    [*REFUSED, *LOADED][artifact](folder)
    monkeypatch.chdir(folder)
    with hostile.watched(folder):
        said = hostile.outcome(folder)
    assert (said is None) == (artifact >= len(REFUSED)), said
    assert not list(tmp_path.rglob("ran"))
    figures.add("artifacts", 1)


def test_each_artifact_leaves_another_folder(wholes: dict[str, Path], tmp_path: Path) -> None:
    """60 and more, none of which is another one again, or leaves the folder as it was."""
    found = {state_of(wholes["t5"])}
    for number, artifact in enumerate([*REFUSED, *LOADED]):
        folder = tmp_path / str(number) / "t5"
        shutil.copytree(wholes["t5"], folder)
        artifact(folder)
        found.add(state_of(folder))
    assert len(found) == 1 + len(REFUSED) + len(LOADED) >= 61


def state_of(folder: Path) -> frozenset[tuple[str, object]]:
    """Names, kinds, targets of links, sizes and contents."""

    def content(path: Path) -> object:
        if path.is_symlink():
            return str(path.readlink())
        if not path.is_file():
            return oct(path.lstat().st_mode)
        return path.stat().st_size, path.read_bytes()[:100_000]

    return frozenset((str(path.relative_to(folder)), content(path)) for path in folder.rglob("*"))


OWN = ("config.json", "generation.json", "task.json", "tokenizer.json", "model.safetensors")


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "/dev/zero"])
def test_links_out_of_a_folder_of_ours(name: str, target: str, wholes: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    shutil.copytree(wholes["ours"], folder)
    (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(target)
    with hostile.watched(folder):
        assert hostile.outcome(folder) is not None


def deep(depth: int) -> bytes:
    return b'{"model_type": "t5", "x": ' + b'{"x": ' * depth + b"1" + b"}" * (depth + 1)


def header(content: dict[str, object], *, length: int | None = None) -> bytes:
    made = json.dumps(content).encode()
    return struct.pack("<Q", len(made) if length is None else length) + made


def tensors(count: int) -> bytes:
    """A safetensors file of many empty tensors."""
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return header({f"t{i}": empty for i in range(count)})


def sparse(name: str, size: int) -> Callable[[Path], object]:
    """A file that is large, and takes no room on the disk."""
    return lambda folder: os.truncate(folder / name, size)


BOMBS: dict[str, Callable[[Path], object]] = {
    **{
        f"{key}={value:.0e}": say("config.json", **{key: value})
        for key in ("d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads", "vocab_size")
        for value in (10**6, 2**31, 10**12)
        if (key, value) not in (("vocab_size", 10**6),)
    },
    "vocabulary": say("config.json", vocab_size=2**24),
    "buckets": say("config.json", relative_attention_num_buckets=2**16),
    "wide and deep": say("config.json", d_model=2**16, num_layers=256, num_decoder_layers=256),
    "all at once": say("config.json", vocab_size=2**24, d_model=2**18, d_ff=2**18, num_heads=2**18, d_kv=2**18),
    "beams": say("generation_config.json", num_beams=10**9),
    "answers": say("generation_config.json", num_return_sequences=10**9, do_sample=True),
    "never": say("generation_config.json", suppress_tokens=[2**31]),
    "bad words": say("generation_config.json", bad_words_ids=[[5]] * 10**6 + [[1, 2]]),
    **{f"{name} deep": put(name, deep(10**6)) for name in READ[:3]},
    "config long": put("config.json", b'{"model_type": "' + b"x" * 2**26 + b'"}'),
    "digits": put("config.json", b'{"model_type": "t5", "d_model": ' + b"9" * 10**6 + b"}"),
    "keys": put("config.json", json.dumps({str(i): i for i in range(10**6)}).encode()),
    "header says 2**63": put("model.safetensors", header({}, length=2**63)),
    "header says 90 MB": put("model.safetensors", header({}, length=90 * 2**20) + b" " * 2**20),
    "a million tensors": put("model.safetensors", tensors(10**6)),
    "100,000 tensors": put("model.safetensors", tensors(10**5)),
    "a tensor of 2**40": put(
        "model.safetensors",
        header({"shared.weight": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}),
    ),
    "a terabyte of config": sparse("config.json", 2**40),
    "a terabyte of search": sparse("generation_config.json", 2**40),
    "a terabyte of tokenizer": sparse("tokenizer.json", 2**40),
    "a terabyte of weights": sparse("model.safetensors", 2**40),
    "an index of a million": only(
        "model.safetensors.index.json",
        json.dumps({"weight_map": {f"t{i}": "x.safetensors" for i in range(9 * 10**5)}}).encode(),
    ),
    "an index of many files": only(
        "model.safetensors.index.json",
        json.dumps({"weight_map": {f"t{i}": f"{i}.safetensors" for i in range(9 * 10**5)}}).encode(),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_2_seconds_and_300_megabytes(
    name: str, wholes: dict[str, Path], tmp_path: Path, figures: FigureRecorder
) -> None:
    folder = tmp_path / "t5"
    shutil.copytree(wholes["t5"], folder)
    BOMBS[name](folder)
    began = time.process_time()
    with hostile.watched(folder, most_bytes=300 * 2**20, most_seconds=2):
        assert hostile.outcome(folder) is not None
    figures.add("bombs", 1)
    figures.most("seconds of the processor", time.process_time() - began)


def test_there_are_40_bombs() -> None:
    assert len(BOMBS) >= 40


def test_names_in_an_index_are_names_not_paths(
    wholes: dict[str, Path], tmp_path: Path, figures: FigureRecorder
) -> None:
    folder = tmp_path / "t5"
    shutil.copytree(wholes["t5"], folder)
    weights = (folder / "model.safetensors").rename(folder / "whole.safetensors")
    shutil.copy(weights, tmp_path / "outside.safetensors")
    dice, parts = random.Random(0), ["..", ".", "/", "\\", "\x00", "~", "outside", "t5", "%2e%2e", "C:", "", " ", "\n"]
    ends = ["outside.safetensors", "whole.safetensors", "WHOLE.SAFETENSORS", "outside", "\u2024\u2024/x.safetensors"]
    for _ in range(500):
        name = dice.choice(("/", "\\", "")).join([*dice.choices(parts, k=dice.randint(1, 4)), dice.choice(ends)])
        if name == "whole.safetensors":  # as it should be
            continue
        places = {"shared.weight": name, "encoder.final_layer_norm.weight": "whole.safetensors"}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
        with hostile.watched(folder):
            said = hostile.outcome(folder) or ""
        assert "must name files of its own folder" in said or "must hold the file" in said, (name, said)
    figures.add("names in an index of weights", 500)
