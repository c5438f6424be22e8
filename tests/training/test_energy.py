"""Energy counters: sums, counters that begin again, permissions, and that it is unknown elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from antiphon.training.energy import EnergyCounter, EnergyMeter

CPU = torch.device("cpu")


def zone(powercap: Path, name: str, title: str, microjoules: int, *, wrap: int = 1_000_000_000) -> Path:
    folder = powercap / name
    folder.mkdir(parents=True)
    for file, text in (("name", title), ("energy_uj", microjoules), ("max_energy_range_uj", wrap)):
        (folder / file).write_text(f"{text}\n")
    return folder / "energy_uj"


def test_packages_and_memory_are_added_and_parts_of_packages_are_not(tmp_path: Path) -> None:
    files = {
        "one": zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000),
        "two": zone(tmp_path, "intel-rapl:1", "package-1", 900_000_000),
        "core": zone(tmp_path, "intel-rapl:0:0", "core", 1),
        "memory": zone(tmp_path, "intel-rapl:0:1", "dram", 0),
        "all": zone(tmp_path, "intel-rapl:2", "psys", 0),
    }
    meter = EnergyMeter(CPU, powercap=tmp_path)
    assert meter.joules == {"processor": 0.0, "memory": 0.0} and meter.unknown == ""
    for name, now in (("one", 8_000_000), ("two", 100_000_000), ("core", 10**8), ("memory", 2_000_000), ("all", 10**8)):
        files[name].write_text(str(now))
    meter.read()
    # 3 J of the first package; the second began again at 1,000 J: 100 to the end, 100 after it.
    assert meter.joules == {"processor": pytest.approx(203.0), "memory": pytest.approx(2.0)}
    meter.read()
    assert meter.joules["processor"] == pytest.approx(203.0)
    files["one"].unlink()  # a counter that goes away adds nothing
    meter.read()
    assert meter.joules["processor"] == pytest.approx(203.0)


def test_where_there_is_no_counter_the_reason_is_named(tmp_path: Path) -> None:
    meter = EnergyMeter(CPU, powercap=tmp_path / "none")
    meter.read()
    assert meter.joules == {} and "are not there" in meter.unknown


def test_a_counter_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    read = Path.read_text

    def refused(path: Path, *args: object, **named: object) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(path, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refused)
    assert "may be read by the administrator alone" in EnergyMeter(CPU, powercap=tmp_path).unknown


def test_a_counter_without_a_known_wrap_counts_nothing_backwards() -> None:
    values = iter([10.0, 4.0, 6.0])
    counter = EnergyCounter("GPU", lambda: next(values))
    assert [counter.since_last(), counter.since_last()] == [0.0, 2.0]
