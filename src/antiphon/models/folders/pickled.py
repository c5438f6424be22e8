"""Converts old checkpoints, whose weights are pickles, to folders with safetensors files.

    convert_pickled("old/checkpoint", "checkpoint")

A pickle can run code. Only `pickled_process.py` reads pickles, in a process of its own, and only on request
(`antiphon convert --allow-pickle`). All other code reads the safetensors files that it saved.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from antiphon.errors import ModelError
from antiphon.models.folders.files import read_json, within, write_json
from antiphon.models.folders.stored import (
    INDEX,
    MAX_HEADER_BYTES,
    MAX_WEIGHT_FILES,
    PICKLED,
    PICKLED_INDEX,
    SAFE_FILES,
    WEIGHTS,
    check_header,
)

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.bin")
_PROCESS = Path(__file__).with_name("pickled_process.py")
_TIMEOUT_SECONDS = 6 * 3600  # wall time; the process limits its own processor time


def convert_pickled(folder: str | Path, output: str | Path) -> Path:
    """Write the checkpoint in `folder`, whose weights are pytorch_model.bin or its shards, into the new folder
    `output` with safetensors files. Tensors that share memory become tensors of their own, with equal bits.

    ModelError for a folder that has no such weights or has safetensors already, an `output` that is there, and a file
    that holds anything but tensors by name.
    """
    folder, output = Path(folder), Path(output)
    if (folder / WEIGHTS).exists() or (folder / INDEX).exists():
        raise ModelError(f"`{folder}` must hold only pickled weights, but has safetensors files. Load it as it is.")
    if output.exists():
        raise ModelError(f"`{output}` must be a new folder, but is there already. Choose another.")
    files = _files(folder)
    with _draft(output) as draft:
        for name in sorted({*os.listdir(folder)} - {PICKLED_INDEX}):
            if any(fnmatch.fnmatch(name, pattern) for pattern in SAFE_FILES):
                shutil.copyfile(within(folder, name), draft / name)
        places: dict[str, str] = {}
        for file in files:
            name = WEIGHTS if file.name == PICKLED else f"{file.stem}.safetensors"
            _convert(file, draft / name)
            places |= dict.fromkeys(_names(draft / name), name)
        if [*{*places.values()}] != [WEIGHTS]:
            size = sum((draft / name).stat().st_size for name in {*places.values()})
            write_json(draft / INDEX, {"metadata": {"total_size": size}, "weight_map": places})
    return output


def _files(folder: Path) -> list[Path]:
    """The pickles of a checkpoint, found by name."""
    if not folder.is_dir():
        raise ModelError(f"there is no folder `{folder}`. Give the folder of a checkpoint.")
    if (folder / PICKLED).exists():
        return [within(folder, PICKLED)]
    if not (folder / PICKLED_INDEX).exists():
        raise ModelError(f"`{folder}` must hold {PICKLED} or {PICKLED_INDEX}, but has neither. Restore the folder.")
    index = within(folder, PICKLED_INDEX)
    places = read_json(index, most=MAX_HEADER_BYTES).get("weight_map")
    names = {*places.values()} if isinstance(places, dict) and all(map(_is_plain, places.values())) else {}
    if not 0 < len(names) <= MAX_WEIGHT_FILES or PICKLED in names:
        raise ModelError(
            f"`{index}` must map tensors to at most {MAX_WEIGHT_FILES} files of its own folder (name.bin) under "
            "`weight_map`. Restore the file."
        )
    return [within(folder, name) for name in sorted(names)]


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and _PLAIN_NAME.fullmatch(name) is not None


@contextmanager
def _draft(output: Path) -> Iterator[Path]:
    """A temporary folder, which is renamed to `output` on success and deleted otherwise."""
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{output.name}.", suffix=".tmp", dir=output.parent))
    try:
        yield draft
        draft.chmod(0o777 & ~_umask())
        draft.rename(output)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _convert(file: Path, target: Path) -> None:
    """Convert one pickle in a new process, without environment variables and modules of the folder."""
    command = [sys.executable, "-I", str(_PROCESS), str(file.resolve()), str(target.resolve())]
    environment = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=target.parent,
            env=environment,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"`{file}` cannot be converted: its process did not end. Restore the file.") from error
    if ended.returncode or not target.is_file():
        said = ended.stderr.decode("utf-8", "replace").split("\n")
        reason = next((line for line in reversed(said) if line.strip()), f"its process ended with {ended.returncode}")
        raise ModelError(
            f"`{file}` must hold tensors and nothing else, but cannot be converted ({reason:.300}). Take a checkpoint "
            "that has safetensors files."
        )


def _names(file: Path) -> list[str]:
    """The names of the tensors in a file that the process saved."""
    try:
        check_header(file)
        with safe_open(file, framework="pt") as tensors:
            return list(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise ModelError(f"`{file.name}` was not written whole ({error!s:.200}). Free space, and try again.") from error
