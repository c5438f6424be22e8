"""Long recordings: time and memory of a random Whisper of the tiny shape on minutes of noise.

    python benchmarks/long_speech.py 5 30               # the peak memory of each, and seconds of work a second of sound

Each length runs in a process of its own, from a .wav file, greedily, with at most `--tokens` tokens in a window (speech
has about 100 in 30 seconds; a random model never ends by itself). `--words`: with the times of words.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import Any

RATE = 16_000


def write_noise(file: Path, minutes: float) -> Path:
    """A .wav file of noise, written second by second."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with wave.open(str(file), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        for _ in range(round(minutes * 60)):
            samples = torch.randint(-3000, 3000, (RATE,), generator=generator).short()
            writer.writeframes(samples.numpy().tobytes())
    return file


def tiny_whisper() -> Any:
    """A model of the shape of openai/whisper-tiny with random weights."""
    import torch

    from antiphon.config import AttentionConfig, FamilyConfig, GenerationConfig, ModelConfig
    from antiphon.config.speech import SpeechConfig
    from antiphon.generation.model import Model
    from antiphon.models.build import build_network
    from antiphon.models.folders.checkpoint import Parts
    from antiphon.text import train_tokenizer

    speech = SpeechConfig(
        mel_bins=80, positions=1500, languages=(("en", 50259),), tasks=(("transcribe", 50359),), language="en",
        task="transcribe", untimed_id=50363, previous_id=50361, max_first_timestamp=50,
    )  # fmt: skip
    family = FamilyConfig(
        name="whisper", pad_id=50257, start_id=50258, end_id=50257, key_bias=False, embedding_scale=False, speech=speech
    )
    config = ModelConfig(
        preset="tiny", d_model=384, num_heads=6, ffn_dim=1536, encoder_layers=4, decoder_layers=4, positions="learned",
        norm="layer", activation="gelu", bias=True, tie_embeddings=True, max_length=448, dropout=0.0, family=family,
    )  # fmt: skip
    attention, size = AttentionConfig(), 51_865
    network = build_network(config, attention, source_vocab=size, target_vocab=size, shared=True, seed=0)
    with torch.no_grad():  # so that texts are as long as asked, instead of a timestamp after each token
        network.target.table.weight.mul_(30 / network.target.table.weight.std() / 384**0.5)
    tokenizer = train_tokenizer(["one"], kind="bytes", vocab_size=260)
    parts = Parts(network.eval(), config, attention, tokenizer, tokenizer, "text", GenerationConfig(beam_size=1))
    return Model.from_parts(parts)


def measure(file: str, tokens: int, words: bool) -> dict[str, float]:
    """The seconds and the peak memory of one recording, and those of the model before it."""
    from antiphon.generation.timed.windows import WindowedAnswer

    model, windows, request = tiny_whisper(), [], WindowedAnswer.request
    WindowedAnswer.request = lambda self: windows.append(1) or request(self)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start, used = time.perf_counter(), time.process_time()
    model.generate(
        file, overflow="window", previous_text=True, max_new_tokens=tokens, timestamps="words" if words else "segments"
    )
    seconds, used = time.perf_counter() - start, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": seconds,
        "processor_seconds": used,
        "mib_before": before,
        "mib_peak": peak,
        "windows": len(windows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="*", default=[5, 30])
    parser.add_argument("--tokens", type=int, default=110)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--file", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.file:
        print(json.dumps(measure(given.file, given.tokens, given.words)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for minutes in given.minutes:
            file = write_noise(Path(folder) / "noise.wav", minutes)
            words = [sys.executable, __file__, "--file", str(file), "--tokens", str(given.tokens)]
            words += ["--words"] if given.words else []
            ended = subprocess.run(words, capture_output=True, text=True, check=True)
            found = json.loads(ended.stdout.splitlines()[-1])
            speed = found["seconds"] / (60 * minutes)
            print(
                f"{minutes:g} minutes: {found['seconds']:.1f} s ({speed:.3f} s a second of sound; "
                f"{found['processor_seconds']:.1f} s of processor), peak {found['mib_peak']:.0f} MiB "
                f"({found['mib_before']:.0f} with the model alone), {found['windows']} windows",
                flush=True,
            )


if __name__ == "__main__":
    main()
