"""`generate --output FILE.srt`: the segments of one recording."""

from __future__ import annotations

import json
from pathlib import Path

from generation.test_timed import long_clip, timed_model
from inputs.test_sound import write_wav

import antiphon
from antiphon.generation.timed.subtitles import subtitles


def test_subtitles_and_json_of_a_recording(run, tmp_path: Path) -> None:
    model = timed_model()
    model.network.float()
    folder = model.save(tmp_path / "model")
    file = write_wav(tmp_path / "long talk.wav", (long_clip() * 2**13).int().tolist(), rate=1000)
    asked = {"timestamps": "segments", "overflow": "window"}
    (wanted,) = antiphon.load(folder, device="cpu").generate(file, **asked)
    segments = wanted.as_json()["segments"]
    for kind in (".srt", ".vtt"):
        made = tmp_path / f"talk{kind}"
        ended = run("generate", folder, "--quiet", "--device", "cpu", "--input", file, "--output", made)
        assert ended.code == 0, ended.err
        assert made.read_text(encoding="utf-8") == subtitles(segments, kind)
    flags = ("--timestamps", "segments", "--overflow", "window", "--json")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{file}\n", encoding="utf-8")
    ended = run("generate", folder, "--quiet", "--device", "cpu", "--input", listed, *flags)
    assert [json.loads(line)["segments"] for line in ended.out.splitlines()] == [segments]
    listed.write_text(f"{file}\n{file}\n", encoding="utf-8")
    ended = run("generate", folder, "--quiet", "--input", listed, "--output", tmp_path / "b.srt")
    assert ended.code == 2 and "needs the name of one recording" in ended.err and ended.err.count("\n") == 1
    ended = run("generate", folder, "--quiet", "--input", file, "--output", tmp_path / "b.srt", "--json")
    assert ended.code == 2 and "`--json` cannot be given with subtitles" in ended.err
    ended = run("generate", folder, "--quiet", "--input", file, "--input", file, "--output", tmp_path / "b.vtt")
    assert ended.code == 2 and "needs one --input, a recording, but there are 2" in ended.err
