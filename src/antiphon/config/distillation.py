"""Settings of knowledge distillation."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.settings import Positive, Settings, Share, require


@dataclass(frozen=True)
class DistillationConfig(Settings):
    teacher: str | tuple[str, ...]
    """The teacher's run folder or model folder; a list of them is an ensemble, whose probabilities are averaged."""
    weight: Share = 0.5
    """Weight of the divergence from the teacher's distribution; the cross-entropy has 1 minus this."""
    temperature: Positive = 1.0
    """The logits of both are divided by this; above 1, unlikely tokens weigh more."""
    copy_layers: bool = False
    """Initialize the student with the teacher's embeddings, norms and evenly spaced layers."""

    def check(self) -> None:
        require(len(self.teachers) > 0 and all(self.teachers), "teacher", "must name a folder, but is empty")
        alone = not self.copy_layers or len(self.teachers) == 1
        problem = f"needs one teacher, but there are {len(self.teachers)}"
        require(alone, "copy_layers", problem, "Drop it, or name one.")

    @property
    def teachers(self) -> tuple[str, ...]:
        """The folders, one or several."""
        return (self.teacher,) if isinstance(self.teacher, str) else self.teacher
