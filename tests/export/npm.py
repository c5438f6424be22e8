"""JavaScript libraries of the tests in a browser: fetched from npm once, into a cache outside of the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

SECONDS = 120  # for a download
PACKAGES = {  # version and files of each
    "onnxruntime-web": ("1.30.0", ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm")),
    "@huggingface/tokenizers": ("0.2.0", ("dist/tokenizers.min.mjs",)),
}


def libraries(folder: Path) -> Path:
    """`folder` with the files of `PACKAGES`; the test is skipped, with the reason, where npm cannot fetch them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (version, files) in PACKAGES.items():
        for file in _package(name, version, files):
            shutil.copyfile(file, folder / file.name)
    return folder


def _package(name: str, version: str, files: tuple[str, ...]) -> list[Path]:
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "antiphon-tests" / "npm"
    place = home / f"{name.replace('/', '-')}-{version}"
    if not place.is_dir():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip(f"needs npm on the PATH, to fetch {name}@{version}")
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as made:
            command = [npm, "pack", f"{name}@{version}", "--pack-destination", made]
            try:
                run = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=SECONDS, check=False)
            except subprocess.TimeoutExpired:
                pytest.skip(f"npm could not fetch {name}@{version} in {SECONDS} s")
            if run.returncode:
                pytest.skip(f"npm could not fetch {name}@{version}: {run.stderr.strip()[-200:]}")
            with tarfile.open(next(Path(made).glob("*.tgz"))) as archive:
                archive.extractall(made, filter="data")
            whole = Path(made) / "files"
            whole.mkdir()
            for file in files:
                shutil.copyfile(Path(made) / "package" / file, whole / Path(file).name)
            try:
                whole.rename(place)
            except OSError:  # another process was first
                assert place.is_dir()
    return [place / Path(file).name for file in files]
