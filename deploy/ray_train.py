"""Training as a Ray Train job, for those who run Ray.

    python deploy/ray_train.py recipe.yaml --workers 16 --gpus --storage /shared/ray

Each worker is a rank. The recipe, its data and the run folder must be at the same paths on every machine. A worker that
is lost: Ray starts all of them again, and the run continues from the newest whole snapshot, as after the same command.
It needs `ray[train]` and antiphon on every machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def train_rank(settings: dict[str, Any]) -> None:
    """One rank. Ray has connected the ranks already; antiphon uses that connection."""
    import antiphon

    antiphon.train(settings["recipe"], resume=True, device=settings["device"], quiet=True)


def fit(recipe: str | Path, *, workers: int, gpus: bool = False, storage: str | None = None, restarts: int = 3) -> Any:
    """Train `recipe` with `workers` ranks and return Ray's result. `storage`: where Ray keeps its own state, a folder
    or URL that every machine reaches; None: ~/ray_results, for one machine."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        train_rank,
        train_loop_config={"recipe": str(Path(recipe).resolve()), "device": "cuda" if gpus else "cpu"},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        run_config=RunConfig(storage_path=storage, failure_config=FailureConfig(max_failures=restarts)),
    )
    return trainer.fit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a recipe of antiphon with Ray Train.")
    parser.add_argument("recipe")
    parser.add_argument("--workers", type=int, required=True, help="how many ranks")
    parser.add_argument("--gpus", action="store_true", help="a GPU for each")
    parser.add_argument("--storage", help="a folder or URL for Ray's own state")
    parser.add_argument("--restarts", type=int, default=3, help="starts after a lost worker")
    arguments = parser.parse_args()
    fit(
        arguments.recipe,
        workers=arguments.workers,
        gpus=arguments.gpus,
        storage=arguments.storage,
        restarts=arguments.restarts,
    )
