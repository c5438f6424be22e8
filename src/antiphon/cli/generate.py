"""`antiphon generate`: lines in, answers out, in their order."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from antiphon.cli.command import Command, import_modules, with_seed
from antiphon.cli.flags import Flag, Group, Positional
from antiphon.cli.streams import Writer, answered, chunks, output, without
from antiphon.config import GenerationConfig
from antiphon.errors import UsageError

if TYPE_CHECKING:
    from antiphon.generation.model import Generation, Model

SEARCH = Group(
    GenerationConfig,
    "search",
    "Those not given are as the model's generation.json says.",
    without=("seed",),  # --seed is every command's
    defaults=False,
)


@dataclass(frozen=True, kw_only=True)
class Generate(Command):
    """Answer each line of the input with a line, in its order; an empty line with an empty one.

    With --n-best N, each input gives N lines, best first (where there are fewer answers, empty lines fill up); --json
    keeps an input's answers together, one object a line: text, tokens, score, confidence, finished, alternatives.
    """

    model: Annotated[str, Positional("MODEL")]
    """A run folder or a model folder."""
    input: Annotated[str, Flag("FILE")] = "-"
    """Lines of text, also .gz; - is standard input."""
    output: Annotated[str, Flag("FILE")] = "-"
    """Where the answers go; a file is replaced; - is standard output."""
    resume: bool = False
    """Keep the answers that --output holds, of a run that was stopped, and go on behind them."""
    json: bool = False
    """One JSON object a line, with scores and alternatives."""
    stream: bool = False
    """Show each answer while it comes; a piece that is shown is never taken back."""
    quantize: Literal["int8"] | None = None
    """Weights as whole numbers of eight bits: faster on a processor, and nearly the same answers."""
    ensemble: Annotated[tuple[str, ...], Flag("FOLDER")] = ()
    """One more model whose probabilities are averaged with MODEL's."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with parts of your own that the model needs."""
    search: Annotated[dict[str, Any], SEARCH] = field(default_factory=dict)

    def check(self) -> None:
        if self.stream and (self.json or self.search.get("n_best", 1) > 1):
            raise UsageError("`--stream` shows one plain answer, so it cannot be given with --json or --n-best.")
        if self.resume and self.output == "-":
            raise UsageError("`--resume` needs the file that the answers go to. Give --output.")

    def run(self) -> int:
        import_modules(self.imports)
        device = self.start(quantize=self.quantize)
        from antiphon.generation.load import load

        model = load([self.model, *self.ensemble], device=device, dtype=self.dtype, quantize=self.quantize)
        search = with_seed(self.search, self.seed)
        if self.input == "-" and sys.stdin is not None and sys.stdin.isatty():
            self.say("antiphon: type lines; the end of input (Ctrl-D) ends")
        count = search.get("n_best", model.generation.n_best)
        with output(self.output, reads=self.input, adds=self.resume) as writer:
            done = answered(self.output, 1 if self.json or self.stream else count) if self.resume else 0
            for chunk in without(done, chunks(self.input), self.output):
                if self.stream:
                    self._stream(model, chunk, search, writer, first_row=done)
                else:
                    for answer in model.generate(chunk, first_row=done, **search):
                        self._write(answer, writer, count=count)
                    writer.flush()
                done += len(chunk)
        return 0

    def _stream(
        self, model: Model, texts: list[str], search: dict[str, Any], writer: Writer, *, first_row: int
    ) -> None:
        for row, text in enumerate(texts, first_row):
            for piece in model.stream(text, first_row=row, **search):
                writer.write(piece.replace("\n", " "))
                writer.flush()
            writer.write("\n")
            writer.flush()

    def _write(self, answer: Generation, writer: Writer, *, count: int) -> None:
        if self.json:
            content = {**as_mapping(answer), "alternatives": [as_mapping(other) for other in answer.alternatives]}
            writer.write(json.dumps(content, ensure_ascii=False) + "\n")
            return
        texts = [answer.text, *(other.text for other in answer.alternatives)]
        for text in padded(texts, count):
            writer.line(text)


def padded(texts: list[str], count: int) -> Iterator[str]:
    """`count` texts: those there are, then empty ones, so that the lines of an input can be told by counting."""
    for place in range(count):
        yield texts[place] if place < len(texts) else ""


def as_mapping(answer: Generation) -> dict[str, Any]:
    """An answer as it stands in JSON, without its alternatives."""
    probabilities = {} if answer.probabilities is None else {"probabilities": answer.probabilities}
    return {
        "text": answer.text,
        "tokens": list(answer.tokens),
        "score": answer.score,
        "confidence": answer.confidence,
        "finished": answer.finished,
        **probabilities,
    }
