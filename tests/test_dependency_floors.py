"""No dependency may be as old as a fault of its that runs code, reads another file or stops a server (row 10).

To add one: a row of FIXED with the version that mended it. A library that comes with another one has a floor of its own
in pyproject.toml, where what brings it allows an older one.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
FIXED = {  # library -> the first version without it, and the number of the fault
    "torch": ("2.6.0", "CVE-2025-32434: torch.load with weights_only=True ran code"),
    "PyYAML": ("5.4", "CVE-2020-14343: full_load ran code"),
    "transformers": ("4.48.0", "CVE-2024-11392: a checkpoint ran code"),
    "sentencepiece": ("0.2.1", "CVE-2026-1260: a model file wrote beyond its memory"),
    "python-multipart": ("0.0.22", "CVE-2026-24486: the name of an upload left its folder"),
    "starlette": ("0.49.1", "CVE-2025-62727: a Range header took quadratic time"),
    "uvicorn": ("0.11.7", "CVE-2020-7694: requests could forge lines of the log"),
    "onnx": ("1.16.2", "CVE-2024-5187: an archive left its folder"),
    "pyarrow": ("14.0.1", "CVE-2023-47248: a parquet file ran code"),
    "pillow": ("11.3.0", "CVE-2025-48379: an image wrote beyond its memory"),
    "nltk": ("3.9", "CVE-2024-39705: a downloaded package ran code"),
}


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def floors() -> dict[str, list[Requirement]]:
    """What pyproject.toml asks for, all extras with it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[Requirement]] = {}
    for line in [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]:
        requirement = Requirement(line)
        found.setdefault(name_of(requirement.name), []).append(requirement)
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {name_of(name): version for name, _, version in (line.partition("==") for line in lines) if version}


@pytest.mark.parametrize("library", FIXED)
def test_floor_and_pin_are_above_the_fault(library: str) -> None:
    version, fault = FIXED[library]
    declared, pinned = floors().get(name_of(library), []), pins().get(name_of(library))
    assert declared or pinned, f"{library} is not used any more"
    for requirement in declared:
        lowest = [Version(each.version) for each in requirement.specifier if each.operator in (">=", "==", "~=")]
        assert lowest and max(lowest) >= Version(version), f"{requirement} must be >={version} ({fault})"
    assert pinned is None or Version(pinned) >= Version(version), f"{library}=={pinned} must be >={version} ({fault})"


def test_every_dependency_has_a_floor() -> None:
    bare = [
        str(each) for many in floors().values() for each in many if ">=" not in str(each.specifier) and not each.extras
    ]
    assert not [line for line in bare if not line.startswith(("antiphon", "pyright"))], bare


@pytest.mark.parametrize("library", ["starlette"])
def test_what_another_library_brings_has_a_floor_of_its_own(library: str) -> None:
    assert name_of(library) in floors(), f"{library} is served to others: its floor must not be that of what brings it"
