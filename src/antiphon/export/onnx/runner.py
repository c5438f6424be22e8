"""Answers from an exported folder, by onnxruntime and NumPy: the loop that a program of your own would have.

    model = OnnxModel.load("out")
    model.generate(["in 3 hours"])          # ['in 3 Stunden'], by greedy search

The network's classes and PyTorch are not used. Shapes: B rows, S source and L target positions, V ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.errors import DataError, ModelError
from antiphon.export.onnx.metadata import FILE, OnnxMetadata, load_tokenizers
from antiphon.inputs.leading_text import in_template
from antiphon.models.folders.files import read_json
from antiphon.text import Tokenizer

Array = NDArray[Any]
Cache = dict[str, Array]  # by the names of the inputs past_key_values.…


class OnnxModel:
    """The sessions of an exported folder with its tokenizers. `threads` None: as many as onnxruntime chooses."""

    def __init__(
        self, folder: Path, metadata: OnnxMetadata, tokenizers: tuple[Tokenizer, Tokenizer] | None, threads: int | None
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = options.inter_op_num_threads = threads
        self.metadata = metadata
        self.source_tokenizer, self.target_tokenizer = tokenizers or (None, None)
        self._sessions = {
            role: onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for role, name in metadata.files.items()
        }
        self._merged = "decoder" in self._sessions
        self._first = self._sessions["decoder" if self._merged else "first_step"]
        self._next = self._sessions["decoder" if self._merged else "next_step"]
        self._empty = {name: np.zeros(shape, np.float32) for name, shape in metadata.past_shapes.items()}

    @classmethod
    def load(cls, folder: str | Path, *, threads: int | None = None) -> OnnxModel:
        """Load a folder that `export_onnx` wrote; ModelError for any other."""
        folder = Path(folder)
        if not (folder / FILE).is_file():
            raise ModelError(f"`{folder}` must be a model exported to ONNX by `antiphon export`, but has no {FILE}.")
        metadata = OnnxMetadata.of(read_json(folder / FILE))
        return cls(folder, metadata, load_tokenizers(folder, metadata), threads)

    def generate(self, texts: Sequence[str], *, max_new_tokens: int | None = None) -> list[str]:
        """The greedy answer to each text; of a classification its most probable label. A blank text has an empty
        answer. `max_new_tokens` None: twice the source's tokens and 32 more, at most what the model takes."""
        if self.source_tokenizer is None or self.target_tokenizer is None:
            raise ModelError("this model reads sound: give features to `encode`, which takes no texts.")
        rows = self.source_tokenizer.encode_batch(in_template(list(texts), self.metadata.template))
        asked = [i for i, text in enumerate(texts) if text.strip()]
        found = [""] * len(texts)
        if self.metadata.labels:
            names = list(self.metadata.labels)
            scores = self.label_scores([rows[i] for i in asked])
            for i, row in zip(asked, scores, strict=True):
                found[i] = names[int(np.argmax(row))]
            return found
        for i, ids in zip(asked, self.generate_ids([rows[i] for i in asked], max_new_tokens), strict=True):
            found[i] = self.target_tokenizer.decode(ids)
        return found

    def generate_ids(self, rows: Sequence[Sequence[int]], max_new_tokens: int | None = None) -> list[list[int]]:
        """The ids of the greedy answers to rows of source ids, without first and end tokens."""
        if not rows:
            return []
        ids, mask = self.pad(rows)
        return self.search(self.encode(ids, mask), mask, self._limits(rows, max_new_tokens))

    def search(self, hidden: Array, mask: Array | None, limits: Array) -> list[list[int]]:
        """Greedy search from the memory (B,S,D), with at most `limits` (B,) new ids in a row, the end included."""
        ids = self.metadata.ids
        end, answers = ids.end, [[] for _ in limits]
        logits, cache = self.first_step(np.tile([[ids.start, *ids.first]], (len(limits), 1)), hidden, mask)
        suppressed = [*ids.suppressed, *ids.suppressed_first]
        open_rows = np.ones(len(limits), dtype=bool)
        for count in range(1, int(limits.max()) + 1):
            scores = logits[:, -1].copy()
            scores[:, suppressed] = -np.inf
            chosen = scores.argmax(-1)
            suppressed = ids.suppressed
            for row in np.flatnonzero(open_rows):
                if chosen[row] != end and not (ids.force_end and count == limits[row]):
                    answers[row].append(int(chosen[row]))
            open_rows &= (chosen != end) & (count < limits)
            if not open_rows.any():
                break
            logits, cache = self.next_step(np.where(open_rows, chosen, ids.pad)[:, None], hidden, mask, cache)
        return answers

    def encode(self, ids: Array, mask: Array) -> Array:
        """Source ids (B,S) with their mask (B,S) to the memory (B,S,D)."""
        return self._sessions["encoder"].run(None, {"input_ids": ids, "attention_mask": mask})[0]  # type: ignore

    def encode_features(self, features: Array) -> Array:
        """Features of sound (B, bands, frames) to the memory (B,S,D)."""
        return self._sessions["encoder"].run(None, {"input_features": features.astype(np.float32)})[0]  # type: ignore

    def first_step(self, ids: Array, hidden: Array, mask: Array | None) -> tuple[Array, Cache]:
        """The first target ids (B,L) to the logits (B,L,V) and the cache."""
        given = {"input_ids": ids.astype(np.int64), "encoder_hidden_states": hidden} | _masked(mask)
        if self._merged:
            given |= self._empty | {"use_cache_branch": np.array([False])}
        return self._run(self._first, given, {})

    def next_step(self, ids: Array, hidden: Array, mask: Array | None, cache: Cache) -> tuple[Array, Cache]:
        """The next target ids (B,L) to the logits (B,L,V) and the new cache."""
        given = {"input_ids": ids.astype(np.int64)} | _masked(mask) | cache
        if self._merged:
            given |= {"encoder_hidden_states": hidden, "use_cache_branch": np.array([True])}
        return self._run(self._next, given, cache)

    def label_scores(self, rows: Sequence[Sequence[int]]) -> Array:
        """(B, labels): the log-probability of each label for each row of source ids, in nats."""
        found, start = [], [self.metadata.ids.start, *self.metadata.ids.first]
        ids, mask = self.pad(rows)
        hidden = self.encode(ids, mask)
        for label in self.metadata.labels.values():
            target = np.tile([[*start, *label]], (len(rows), 1))
            logits, _ = self.first_step(target[:, :-1], hidden, mask)
            scores = log_softmax(logits[:, len(start) - 1 :])
            found.append(np.take_along_axis(scores, target[:, len(start) :, None], -1)[..., 0].sum(-1))
        return np.stack(found, -1)

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        """Rows of ids as (B,S), padded on the right, and their mask; DataError for a row that is too long."""
        longest, most = max(map(len, rows)), self.metadata.max_source_tokens
        if longest > most:
            raise DataError(f"a source must have at most {most} tokens (end included), but one has {longest}. Cut it.")
        ids = np.full((len(rows), longest), self.metadata.ids.pad, dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = row, 1
        return ids, mask

    def _limits(self, rows: Sequence[Sequence[int]], max_new_tokens: int | None) -> Array:
        most = self.metadata.max_target_tokens - len(self.metadata.ids.first)
        return np.array([min(max_new_tokens or 2 * len(row) + 32, most) for row in rows])

    def _run(self, session: Any, given: dict[str, Array], cache: Cache) -> tuple[Array, Cache]:
        """Run a step. What it gives replaces what is in `cache`; the rest, the source's part, is kept."""
        names = [each.name for each in session.get_outputs()]
        if cache:
            names = [name for name in names if ".encoder." not in name]
        logits, *presents = session.run(names, given)
        new = {f"past_key_values{name.removeprefix('present')}": value for name, value in zip(names[1:], presents)}  # noqa: B905
        return logits, cache | new


def log_softmax(logits: Array) -> Array:
    """Logits (…, V) as log-probabilities."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _masked(mask: Array | None) -> dict[str, Array]:
    return {} if mask is None else {"encoder_attention_mask": mask}
