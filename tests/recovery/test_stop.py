"""SIGTERM and Ctrl-C at any moment of `antiphon train`: it saves at the next optimizer step, exits with 143 or 130
within 5 seconds, and the run that goes on ends with the same bytes as the one that was not stopped.

The commands are forks of one process that has imported everything, so that a trial takes about a second.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from counts import count
from torture.figures import FigureRecorder

RECIPE = """
data:
  train: {path: pairs.tsv}
  valid: {path: valid.tsv}
tokenizer: {kind: bpe, vocab_size: 300}
model: {preset: tiny, d_model: 32, dropout: 0.1}
training: {max_steps: 30, batch_tokens: 100, accumulate: 3, save_every_steps: 12, log_every_steps: 1}
validation: {every_steps: 10, metrics: [chrf]}
"""
DRIVER = """
import hashlib, json, os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import rich.text, sacrebleu
import antiphon.cli.train, antiphon.workflows.job, antiphon.workflows.train
import antiphon.evaluation.evaluate, antiphon.generation.load, antiphon.reports
torch.optim.AdamW([torch.zeros(1)])  # it imports torch._dynamo: seconds at each start
from antiphon.cli.main import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits that it is ignored

def start(folder, *more):
    pid = os.fork()
    if pid == 0:
        log = os.open(f"{folder}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        os._exit(main(["train", "recipe.yaml", "--output", folder, "--resume", *more]))
    return pid

def code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def last_step(folder):
    try:
        lines = Path(folder, "metrics.jsonl").read_bytes().split(b"\\n")[:-1]
    except FileNotFoundError:
        return 0
    return max((json.loads(line)["step"] for line in lines[-2:]), default=0)

def account(folder):
    last = Path(folder, "snapshots", "step-30")
    files = [last / "weights.safetensors", last / "optimizer.safetensors", Path(folder, "model", "model.safetensors")]
    clock = {"time_seconds", "tokens_per_second", "step_seconds", "seconds_left", "peak_memory_bytes"}
    rows = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if key not in clock} for row in rows]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files] + [kept]

assert code(start("whole")) == 0
wanted, chance = account("whole"), random.Random(0)
for trial in range(int(sys.argv[1])):
    folder, number = f"stopped-{trial}", (signal.SIGTERM, signal.SIGINT)[trial % 2]
    pid = start(folder)
    goal = chance.choice([0, 1, 9, 10, 11, 12, chance.randrange(2, 28)])  # also near a validation and a save
    while goal and last_step(folder) < goal and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.002)
    time.sleep(chance.random() * (0.05 if goal else 0.6))
    before, began = last_step(folder), time.monotonic()
    os.kill(pid, number)
    found = {"number": int(number), "goal": goal, "code": code(pid), "seconds": time.monotonic() - began}
    found["before"] = before
    found["saved"] = max((int(each.name[5:]) for each in Path(folder).glob("snapshots/step-*")), default=0)
    found["output"] = Path(f"{folder}.log").read_text()
    found["resumed"] = code(start(folder))
    found["equal"] = account(folder) == wanted
    print(json.dumps(found), flush=True)
"""


@pytest.mark.timeout(1200)
def test_a_signal_at_any_moment_saves_and_the_run_goes_on(tmp_path: Path, figures: FigureRecorder) -> None:
    words = ["one", "two", "three", "four", "five"]
    pairs = [f"{a} {b} {c}\t{c} {b} {a}\n" for a in words for b in words for c in words]
    (tmp_path / "pairs.tsv").write_text("".join(pairs))
    (tmp_path / "valid.tsv").write_text("".join(pairs[::25]))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    shown = subprocess.run(
        [sys.executable, "-c", DRIVER, str(count("stops"))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    trials = [json.loads(line) for line in shown.stdout.splitlines()]
    assert len(trials) == count("stops"), shown.stderr
    for trial in trials:
        assert trial["code"] == {15: 143, 2: 130}[trial["number"]] or trial["saved"] == 30, trial
        assert trial["seconds"] < 5, trial
        if trial["goal"]:  # it trained: the step that ran is done and saved, and no further one
            assert trial["before"] <= trial["saved"] <= trial["before"] + 2, trial
            assert "which is saved; continue with --resume" in trial["output"] or trial["saved"] == 30, trial
        assert trial["resumed"] == 0 and trial["equal"], trial
        figures.most("seconds to the end", trial["seconds"])
    figures.add("signals", len(trials))
