"""Settings of what ends or repairs a run whose loss diverges; part of the section `training`."""

from __future__ import annotations

from dataclasses import dataclass, field

from antiphon.settings import CountOrZero, NotNegative, Settings


@dataclass(frozen=True)
class ProtectionSettings(Settings):
    max_loss_rise: NotNegative = field(default=0.5, kw_only=True)
    """The training loss has diverged, and the run stops, when it stays above its lowest recent level by this share (and
    by 3 times its scatter); 0: never."""
    max_rollbacks: CountOrZero = field(default=0, kw_only=True)
    """Times that a diverged run goes back to its last good snapshot and skips the data since then, before it stops."""
