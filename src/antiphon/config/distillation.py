"""How a student learns from a teacher's probabilities."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.settings import Positive, Settings, Share, require


@dataclass(frozen=True)
class DistillationConfig(Settings):
    teacher: str | tuple[str, ...]
    """The teacher's run folder or model folder; a list of them is an ensemble, whose probabilities are averaged."""
    weight: Share = 0.5
    """Of the divergence from the teacher's distribution; the cross-entropy of the data has the rest."""
    temperature: Positive = 1.0
    """What both distributions' logits are divided by; above 1, unlikely words weigh more."""
    copy_layers: bool = False
    """Begin with the teacher's tables and norms, and with its layers, spread evenly over the student's."""

    def check(self) -> None:
        require(len(self.teachers) > 0 and all(self.teachers), "teacher", "must name a folder, but is empty")
        alone = not self.copy_layers or len(self.teachers) == 1
        problem = f"needs one teacher, but there are {len(self.teachers)}"
        require(alone, "copy_layers", problem, "Drop it, or name one.")

    @property
    def teachers(self) -> tuple[str, ...]:
        """The folders, one or several."""
        return (self.teacher,) if isinstance(self.teacher, str) else self.teacher
