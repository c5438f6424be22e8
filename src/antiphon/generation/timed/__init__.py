"""Answers to speech with timestamps: windows, segments and words, and the rules that accept an answer.

| step | file |
|---|---|
| one recording, window by window | `windows.py` |
| the tokens of a window to segments | `segments.py` |
| whether an answer is accepted | `measuring.py` |
| the times of words | `words.py` |
| segments as .srt and .vtt | `subtitles.py` |

Radford et al. 2022 (Whisper), section 4.5. Where transformers differs from the authors' program, these are
transformers' rules.
"""
