"""The demo: trains a small model on phrases in two languages (CLDR, by Babel), evaluates it on held-out combinations,
and answers lines that you type.

    antiphon demo --target fr

It is not open-domain translation: only dates, times, units and money.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from antiphon.config import TrainConfig
from antiphon.display import clock
from antiphon.evaluation.evaluate import evaluate
from antiphon.evaluation.measuring import Report
from antiphon.generation.model import Model
from antiphon.recipe import from_mapping
from antiphon.workflows.train import train

if TYPE_CHECKING:
    from antiphon.text.phrases import PhraseCorpus

STEPS = 1200  # about 2 minutes on 2 cores
RATES = {  # the peak rate for each built-in optimizer, tuned on the validation pairs of the demo
    "adamw": 3e-3,
    "adafactor": 3e-2,
    "muon": 3e-3,
    "lion": 7e-4,
    "schedule_free": 5e-3,
    "sgd": 0.07,
}
BARS = {"exact_match": 95.0, "chrf": 97.0}  # required scores of the full demo into German


def demo_config(
    corpus: PhraseCorpus,
    *,
    steps: int,
    minutes: float | None,
    output: str,
    optimizer: str = "adamw",
    lr: float | None = None,
) -> TrainConfig:
    """The demo's recipe: a model of a million weights and many steps with small batches.

    `lr` is the peak rate; None: from `RATES`, or AdamW's for an optimizer that is not in it.
    """
    return from_mapping(
        {
            "task": "translation",
            "data": {"train": corpus.train, "valid": corpus.valid},
            "tokenizer": {"kind": "bpe", "vocab_size": 1200, "shared": True},
            "model": {"preset": "tiny", "dropout": 0.0, "max_length": 128},
            "training": {
                "batch_tokens": 768,
                "max_steps": steps,
                "max_minutes": minutes,
                "optimizer": optimizer,
                "lr": lr or RATES.get(optimizer, RATES["adamw"]),
                "schedule": "constant" if optimizer == "schedule_free" else "wsd",
                "warmup_steps": min(100, steps // 10),
                "label_smoothing": 0.0,
                "average_last": 1,
                "save_every_steps": 1000,
                "keep_last": 2,
                "log_every_steps": 100,
            },
            "validation": {"every_steps": 500, "metrics": ["exact_match"], "beam_size": 1, "samples": 2},
            "generation": {"beam_size": 4},
            "output": output,
        }
    )


def demo(
    *,
    target: str = "de",
    steps: int | None = None,
    minutes: float | None = None,
    output: str | Path = "runs/demo",
    optimizer: str = "adamw",
    lr: float | None = None,
    quiet: bool = False,
) -> int:
    """Train on phrases from English to `target` (a CLDR locale), evaluate on held-out combinations, then answer lines
    of standard input. `optimizer` is a name, `lr` its peak rate (None: from `RATES`).

    An existing run is continued, or used if it is complete. Returns the exit code: 1 if the full demo into German
    misses a required score.
    """
    from antiphon.text.phrases import phrases  # Babel, which no other workflow needs

    corpus = phrases("en", target)
    say = silent if quiet else say_line
    say(
        f"{len(corpus.train):,} phrases, English to {target}, from CLDR: dates, times, units, money. "
        f"{len(corpus.test)} combinations of parts are held out."
    )
    config = demo_config(corpus, steps=steps or STEPS, minutes=minutes, output=str(output), optimizer=optimizer, lr=lr)
    run = train(config, resume=True, device="cpu", quiet=quiet)
    report = evaluate(run.model, corpus.test, metrics=["exact_match", "chrf", "bleu"])
    say(_account(report, run.metrics))
    full = target == "de" and steps is None and minutes is None and optimizer == "adamw" and lr is None
    missed = [
        f"{name} {report[name].score:.1f} is below {bar:g}"
        for name, bar in BARS.items()
        if full and report[name].score < bar
    ]
    if missed:
        say(f"the demo missed its bar: {', '.join(missed)}.")
    if sys.stdin is not None:  # None if standard input is closed
        hint = "Type a phrase, such as `in 3 hours` or `March 5, 2031`; an empty line or Ctrl-D ends."
        answer_lines(run.model, sys.stdin, sys.stdout, prompt="en> " if sys.stdin.isatty() else "", hint=hint)
    return 1 if missed else 0


def answer_lines(model: Model, lines: TextIO, output: TextIO, *, prompt: str, hint: str = "") -> None:
    """Answer each line when it arrives, until the input ends. `hint` comes before the first `prompt`."""
    if prompt:
        say_line(hint)
    while True:
        output.write(prompt)
        output.flush()
        line = lines.readline()
        if not line or (prompt and not line.strip()):
            output.write("\n" if prompt and not line else "")
            return
        answer = model.generate(line.rstrip("\r\n"))[0]
        output.write(f"{answer.text}    ({answer.confidence:.0%} sure)\n" if prompt else f"{answer.text}\n")


def _account(report: Report, rows: list[dict[str, object]]) -> str:
    """The scores on the held-out combinations, some answers, and the most frequent errors."""
    seconds = max((float(str(row["time_seconds"])) for row in rows), default=0.0)
    lines = [
        f"held-out combinations: exact match {report['exact_match'].score:.1f} %, chrF {report['chrf'].score:.1f}, "
        f"BLEU {report['bleu'].score:.1f} ({len(report.sources)} phrases, {clock(seconds)} of training)"
    ]
    for place in range(0, len(report.sources), max(1, len(report.sources) // 5)):
        lines.append(f"    {report.sources[place]}  →  {report.answers[place].text}")
    return "\n".join(lines)


def say_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def silent(line: str) -> None: ...
