"""Messages between the processes: what is sent arrives, and nothing but plain data is read."""

from __future__ import annotations

import ast
import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest

import antiphon.serving.process
from antiphon.errors import WorkError
from antiphon.serving.process.messages import (
    LENGTH,
    MAX_FRAME_BYTES,
    CancelJob,
    Heartbeat,
    JobDone,
    JobFailed,
    LoadFailed,
    Message,
    ModelLoaded,
    PieceMade,
    Ping,
    ScorePairs,
    ShowAttention,
    StartModel,
    SubmitInput,
    decode,
    encode,
    frame_length,
)

ODD = 'a "quote"\n\u2028 \ud800 \x00 ä 漢 🙂'
MESSAGES: list[Message] = [
    StartModel(paths=["a", "b"], dtype="float32", threads=2),
    SubmitInput(job=1, input=ODD, row=3, settings={"beam_size": 1, "allowed": [None, ["a"]], "length_penalty": 0.1}),
    SubmitInput(job=2**40, input=bytes(range(256)), row=0, stream=True, details=["alignment"]),
    ScorePairs(job=1, sources=[b"x", ODD], targets=["", ODD], row=0),
    ShowAttention(job=1, source=ODD),
    CancelJob(job=1),
    Ping(),
    ModelLoaded(info={"task": "text", "card": {"x": [1, 2.5, None, True]}}),
    LoadFailed(message=ODD, permanent=True),
    PieceMade(job=1, text=ODD),
    JobDone(job=1, result={"text": ODD, "score": -1.0000000000000002, "probabilities": {"base64": 0.5}}),
    JobDone(job=1, result=[-math.inf, 5e-324]),
    JobFailed(job=1, code="invalid", message=ODD, field=None),
    Heartbeat(steps=3, step_seconds=0.1, notes=["x"]),
]


def test_what_is_sent_arrives() -> None:
    frame = encode(MESSAGES)
    assert frame_length(frame[: LENGTH.size]) == len(frame) - LENGTH.size
    found = decode(frame[LENGTH.size :])
    assert encode(found) == frame and [type(each) for each in found] == [type(each) for each in MESSAGES]
    for mine, theirs in zip(found, MESSAGES, strict=True):
        for each in dataclasses.fields(mine):
            value = getattr(theirs, each.name)
            assert getattr(mine, each.name) == (list(value) if isinstance(value, tuple) else value)
    assert {type(each) for each in MESSAGES} == set(Message.__args__), "every kind of message is tried"


def test_a_number_that_is_none() -> None:
    (found,) = decode(encode([JobDone(job=1, result=[math.nan])])[LENGTH.size :])
    assert isinstance(found, JobDone) and math.isnan(found.result[0])


@pytest.mark.parametrize(
    "content",
    [b"", b"{}x", b"[[1]]", b'[["Nothing", {}]]', b'[["CancelJob", {}]]', b'[["CancelJob", {"job": 1, "x": 2}]]',
     b'[["os.system", {"command": "true"}]]', b"\x80\x04K\x01."],
)  # fmt: skip
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        decode(content)


def test_frames_are_bounded() -> None:
    with pytest.raises(WorkError, match="at most"):
        frame_length(LENGTH.pack(MAX_FRAME_BYTES + 1))


def test_only_plain_data_is_sent() -> None:
    with pytest.raises(TypeError, match="plain data"):
        encode([JobDone(job=1, result=object())])
    assert all(dataclasses.is_dataclass(each) for each in MESSAGES)


def test_the_processes_speak_no_pickle() -> None:
    """`multiprocessing` would pickle, and `tests/test_architecture.py` bans the modules by name."""
    folder = Path(str(antiphon.serving.process.__file__)).parent
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"multiprocessing", "pickle", "marshal", "shelve"}, file


def test_the_server_imports_no_pytorch() -> None:
    code = "import sys; import antiphon.serving.process.service; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
