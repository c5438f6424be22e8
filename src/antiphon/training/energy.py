"""The energy that the machine uses while a run trains, where it can tell.

    meter = EnergyMeter(torch.device("cpu"))
    meter.read()                                 # now and then: the counters of a processor wrap within the hour
    meter.joules                                 # {"processor": 8123.4}, or {} with the reason in `meter.unknown`

Sources: RAPL, the counters of Intel and AMD processors (`/sys/class/powercap`, Linux; reading them needs permission),
and NVML, the library behind nvidia-smi. They count everything that the processor or the GPU does, other programs
included.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
_NVML = "libnvidia-ml.so.1"


class EnergyMeter:
    """Sums of the energy counters of this machine since the meter was made, in joules."""

    def __init__(self, device: torch.device, *, powercap: Path = POWERCAP) -> None:
        self.joules: dict[str, float] = {}
        reasons: list[str] = []
        self._counters: list[EnergyCounter] = [*_processor_counters(powercap, reasons)]
        if device.type == "cuda":
            self._counters += _gpu_counters(device, reasons)
        self.unknown = "; ".join(reasons)
        for counter in self._counters:
            self.joules.setdefault(counter.part, 0.0)

    def read(self) -> None:
        """Add what the counters counted since the last reading."""
        for counter in self._counters:
            self.joules[counter.part] += counter.since_last()


class EnergyCounter:
    """One counter: `read` returns joules, and begins again at 0 after `wrap` joules (None: never).

    A counter that can no longer be read adds nothing.
    """

    def __init__(self, part: str, read: Callable[[], float], *, wrap: float | None = None) -> None:
        self.part, self._read, self._wrap = part, read, wrap
        self._last = read()

    def since_last(self) -> float:
        """The joules since the last call."""
        try:
            now = self._read()
        except (OSError, ValueError):
            return 0.0
        used, self._last = now - self._last, now
        if used < 0:
            used = used + self._wrap if self._wrap is not None else 0.0
        return max(used, 0.0)


def _processor_counters(powercap: Path, reasons: list[str]) -> list[EnergyCounter]:
    """A counter for each processor package, and for its memory where that is counted apart."""
    found: list[EnergyCounter] = []
    denied = False
    for zone in sorted(powercap.glob("*-rapl:*")) if powercap.is_dir() else []:
        try:
            name = (zone / "name").read_text(encoding="ascii").strip()
            if not name.startswith("package") and name != "dram":  # cores and graphics are parts of a package
                continue
            wrap = int((zone / "max_energy_range_uj").read_text(encoding="ascii")) / 1e6
            part = "memory" if name == "dram" else "processor"
            found.append(EnergyCounter(part, lambda file=zone / "energy_uj": _microjoules(file), wrap=wrap))
        except PermissionError:
            denied = True
        except (OSError, ValueError):
            continue
    if not found:
        why = "may be read by the administrator alone" if denied else "are not there"
        reasons.append(f"the energy counters of the processor (RAPL, {powercap}) {why}")
    return found


def _microjoules(file: Path) -> float:
    return int(file.read_text(encoding="ascii")) / 1e6


def _gpu_counters(device: torch.device, reasons: list[str]) -> list[EnergyCounter]:
    """The counter of a GPU, by NVML (Volta and later)."""
    with suppress(OSError, AttributeError, ValueError):
        library = ctypes.CDLL(_NVML)
        handle = ctypes.c_void_p()
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
        if library.nvmlInit_v2() == 0 and library.nvmlDeviceGetHandleByUUID(name, ctypes.byref(handle)) == 0:
            return [EnergyCounter("GPU", lambda: _millijoules(library, handle))]
    reasons.append("the energy counter of the GPU (NVML) is not there")
    return []


def _millijoules(library: ctypes.CDLL, handle: ctypes.c_void_p) -> float:
    energy = ctypes.c_ulonglong()
    if library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy)) != 0:
        raise ValueError("this GPU does not count its energy")
    return energy.value / 1000
