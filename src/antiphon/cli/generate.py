"""`antiphon generate`: answers lines of text, or rows of a table, in order."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from antiphon.bulk.tables import KINDS, AnsweredTable, is_table, placed
from antiphon.cli.bulk import OnRowFailure, are_many, check_few, check_many, run_command, text_shards
from antiphon.cli.command import Command, import_modules, with_seed
from antiphon.cli.flags import Flag, Group, Positional
from antiphon.cli.media import are_media, check_input, check_model, check_names, inputs_of
from antiphon.cli.media import chunks as media_chunks
from antiphon.cli.streams import Writer, answered, chunks, output, saying_what_is_answered, without
from antiphon.cli.subtitles import check_subtitles, is_subtitles, write_subtitles
from antiphon.cli.tables import kept_rows, output_kind, row_chunks
from antiphon.config import GenerationConfig
from antiphon.errors import UsageError
from antiphon.settings import Count, CountOrZero, Share

if TYPE_CHECKING:
    from antiphon.evaluation.reranking.rerank import Reranker
    from antiphon.generation.answers import Generation
    from antiphon.generation.translator import Translator

SEARCH = Group(
    GenerationConfig,
    "search",
    "Defaults are those of the model's generation.json.",
    without=("seed",),  # --seed is every command's
    defaults=False,
)


@dataclass(frozen=True, kw_only=True)
class Generate(Command):
    """Write an answer for each line of the input, in order; for an empty line an empty one.

    With --n-best N there are N lines for each input, best first (padded with empty lines if there are fewer answers).
    --json writes one object for each input: text, tokens, score, confidence, finished, alternatives.

    With a speech model and --output FILE.srt or FILE.vtt, --input is one recording of any length, and its segments are
    written as subtitles.

    For a table (.csv, .tsv, .jsonl) the text in --source-field of each row is answered, and the row is written with all
    its columns and one for the answer.

    A model of images or sound answers the files after MODEL, a line each, or those that a column of a table names.

    Many inputs (globs, lists, --input given repeatedly; .parquet, too) are answered into the folder --output, a file
    each, on --processes processes. Such a job can be killed at any moment: the same command with --resume continues it,
    and no row is lost or answered twice.
    """

    model: Annotated[str, Positional("MODEL")]
    """A run folder or a model folder."""
    files: Annotated[tuple[str, ...] | None, Positional("FILE ...")] = None
    """Images or recordings to answer, for a model that reads them; or an input, as --input."""
    inputs: Annotated[tuple[str, ...], Flag("FILE", name="input", default="-; repeatable")] = ("-",)
    """Lines of text, or a table: .csv, .tsv or .jsonl; each also .gz or .zst; - is standard input. Many: a glob in
    quotes, or @LIST, a file with the name of an input on each line."""
    output: Annotated[str, Flag("FILE")] = "-"
    """The file for the answers, which is overwritten; - is standard output. For a table its suffix is the format. The
    folder for the answers of many inputs."""
    processes: Annotated[Count | None, Flag("N", default="1")] = None
    """Answer many inputs on several processes, which share the cores, or are dealt the GPUs."""
    source_field: Annotated[CountOrZero | str | None, Flag("NAME", default="source, audio or image")] = None
    """The column or key of a table to answer: a name, a number from 0 without a header, or a template of several."""
    target_field: Annotated[str | None, Flag("NAME", default="answer")] = None
    """The column or key for the answers, which the table must not have yet."""
    bad_rows: Annotated[Literal["error", "skip"] | None, Flag(default="error")] = None
    """Rows of a table that cannot be read: an error, or left out and counted."""
    failures: Annotated[OnRowFailure | None, Flag(default="error")] = None
    """Of many inputs: a row that cannot be read or answered ends the job, or is recorded in the folder failures/ of
    --output and has no answer."""
    block_rows: Annotated[Count | None, Flag("N", default="4096")] = None
    """Of many inputs: the most rows that are answered together, and again after the job was killed."""
    resume: bool = False
    """Keep the answers in --output from an interrupted run, and continue after them; or begin, if there are none."""
    json: bool = False
    """One JSON object a line, with scores and alternatives."""
    stream: bool = False
    """Print each answer while it is generated."""
    quantize: Literal["int8"] | None = None
    """Quantize the weights to eight bits: faster on a CPU, with nearly the same answers."""
    ensemble: Annotated[tuple[str, ...], Flag("FOLDER")] = ()
    """Another model, whose probabilities are averaged with MODEL's."""
    rerank: Annotated[str | None, Flag("METRIC|MODEL")] = None
    """Choose each answer among --candidates: by minimum Bayes risk under a metric (chrf, bleu, comet:python=PATH, your
    own), or by the mean score of MODEL and this model folder. With --temperature the candidates are samples, otherwise
    the n best of a beam search. The cost is printed."""
    candidates: Annotated[Count | None, Flag("N", default="16")] = None
    """Candidates of --rerank for each input."""
    rerank_weight: Annotated[Share | None, Flag(default="0.5")] = None
    """Weight of the model folder of --rerank."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with custom parts that the model needs."""
    search: Annotated[dict[str, Any], SEARCH] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.files and not are_media(self.files):
            self._refuse_both(self.files)
            object.__setattr__(self, "inputs", self.files)
        super().__post_init__()

    @property
    def media(self) -> tuple[str, ...]:
        """The files of images or sound, as they were given."""
        return self.files if self.files and are_media(self.files) else ()

    def _refuse_both(self, files: tuple[str, ...]) -> None:
        if tuple(self.inputs) != ("-",):
            raise UsageError(f"inputs must be files after MODEL or --input, but are both (`{files[0]}`). Drop one.")

    @property
    def input(self) -> str:
        """The input, if there is one."""
        return self.inputs[0]

    @property
    def many(self) -> bool:
        """Whether many inputs are answered into a folder."""
        if is_subtitles(self.output):
            return False
        return self.processes is not None or are_many(self.inputs, self.output)

    def check(self) -> None:
        if self.media:
            self._refuse_both(self.media)
        if is_subtitles(self.output):
            many = {"--processes": self.processes, "--failures": self.failures, "--block-rows": self.block_rows}
            few = {"--json": self.json, "--stream": self.stream, "--resume": self.resume, "--rerank": self.rerank}
            check_subtitles(self.output, self.media or self.inputs, {**many, **few})
        if self.many:
            self._check_many()
        else:
            check_few(self, resume=False)
        if self.stream and (self.json or self.search.get("n_best", 1) > 1):
            raise UsageError("`--stream` shows one plain answer, so it cannot be given with --json or --n-best.")
        if self.rerank is None and (self.candidates is not None or self.rerank_weight is not None):
            raise UsageError(f"`--{'candidates' if self.candidates else 'rerank-weight'}` needs --rerank. Give both.")
        if self.rerank is not None and self.stream:
            raise UsageError(
                "`--stream` shows an answer while it is generated, but --rerank chooses among whole answers."
            )
        if self.resume and self.output == "-":
            raise UsageError("`--resume` needs the file that the answers go to. Give --output.")
        if not self.many and not is_table(self.input):
            flags = {"source": self.source_field, "target": self.target_field}
            given = [f"--{side}-field" for side, field in flags.items() if field is not None]
            given += ["--bad-rows"] if self.bad_rows is not None else []
            if given:
                name = "standard input" if self.input == "-" else f"`{self.input}`"
                raise UsageError(
                    f"`{given[0]}` needs a table: an --input that ends in {', '.join(KINDS)}, or these and .gz or "
                    f".zst, but it is {name}. Drop the flag, or rename the file."
                )

    def _check_many(self) -> None:
        if self.stream:
            raise UsageError("`--stream` shows the answers of one input, so it cannot be given with many. Drop it.")
        check_many(self.inputs, self.output)

    def run(self) -> int:
        import_modules(self.imports)
        if self.many:
            return self._answer_many()
        table = self._table() if is_table(self.input) else None
        device = self.start(quantize=self.quantize)
        from antiphon.generation.load import load

        model = load([self.model, *self.ensemble], device=device, dtype=self.dtype, quantize=self.quantize)
        search = with_seed(self.search, self.seed)
        chosen = self._reranker(model)
        answerer = model if chosen is None else chosen
        if is_subtitles(self.output):
            write_subtitles(model, self.media[0] if self.media else self.input, self.output, search)
            return 0
        if self.media:
            check_model(model, self.media[0])
        elif self.input == "-" and sys.stdin is not None and sys.stdin.isatty():
            self.say("antiphon: type lines; the end of input (Ctrl-D) ends")
        if not self.media:
            check_input(model, self.input)
        count = search.get("n_best", model.generation.n_best)
        if table is not None:
            self._answer_table(answerer, table, search, count=count, reads=model)
            self._say_cost(chosen)
            return 0
        done = 0
        with (
            output(self.output, reads=self.input, adds=self.resume) as writer,
            saying_what_is_answered(self.output, lambda: done),
        ):
            done = answered(self.output, 1 if self.json or self.stream else count) if self.resume else 0
            read = media_chunks(self.media) if self.media else chunks(self.input)
            for chunk in without(done, read, self.output, unit="files" if self.media else "lines"):
                if not self.media:
                    check_names(model, chunk, "standard input" if self.input == "-" else self.input, first=done)
                given = inputs_of(model, chunk) if self.media else chunk
                if self.stream:
                    self._stream(model, given, search, writer, first_row=done)
                else:
                    for file, answer in zip(chunk, answerer.generate(given, first_row=done, **search), strict=True):
                        self._write(answer, writer, count=count, file=file if self.media else None)
                    writer.flush()
                done += len(chunk)
        self._say_cost(chosen)
        return 0

    def _answer_many(self) -> int:
        rerank = None
        if self.rerank is not None:
            given = {"candidates": self.candidates, "weight": self.rerank_weight}
            rerank = {"by": self.rerank, **{name: value for name, value in given.items() if value is not None}}
        shards = text_shards(self.inputs, source_field=self.source_field, details=self.json)
        if all(shard.kind == "lines" for shard in shards):
            self._check_no_table(shards[0].title)
        unreadable = {} if self.failures is not None or self.bad_rows is None else {"on_failure": self.bad_rows}
        job = {
            "task": "generate",
            "shards": tuple(shards),
            "models": (self.model, *self.ensemble),
            "search": with_seed(self.search, self.seed),
            "rerank": rerank,
            "source_field": self.source_field,
            "added_field": self.target_field or "answer",
            "details": self.json,
            "quantize": self.quantize,
            **unreadable,
        }
        run_command(self, job)
        return 0

    def _check_no_table(self, file: str) -> None:
        """UsageError for a flag of tables, if the inputs are lines of text."""
        if self.target_field is not None or self.bad_rows is not None:
            flag = "--target-field" if self.target_field is not None else "--bad-rows"
            raise UsageError(f"`{flag}` needs --source-field, since `{file}` has no column `source`.")

    def _reranker(self, model: Translator) -> Reranker | None:
        """The reranking of the answers; None without --rerank."""
        if self.rerank is None:
            return None
        from antiphon.evaluation.reranking.rerank import DEFAULT_CANDIDATES, Reranker

        weight = 0.5 if self.rerank_weight is None else self.rerank_weight
        return Reranker(model, self.rerank, candidates=self.candidates or DEFAULT_CANDIDATES, weight=weight)

    def _say_cost(self, reranker: Reranker | None) -> None:
        if reranker is not None:
            self.say(f"antiphon: reranked by {self.rerank}: {reranker.cost}")

    def _table(self) -> AnsweredTable | None:
        """The table of --input; None for lines of text."""
        from antiphon.data.whole_rows import InputTable, source_column

        field = source_column(self.input) if self.source_field is None else self.source_field
        if field is None:
            self._check_no_table(self.input)
            self.say(f"antiphon: {self.input} is read line by line; --source-field NAME asks a column of a table")
            return None
        self._one_answer_a_row(self.search.get("n_best", 1))
        table = InputTable(self.input, field)
        kind = output_kind(self.output, table.kind, json=self.json)
        names = table.names()
        if names is None and self.target_field is not None and kind != ".jsonl":
            raise UsageError(
                f"`--target-field` names a column of a header, but `{self.input}` is read without one, since "
                f"--source-field is {self.source_field}. Give a name, or drop --target-field."
            )
        target = self.target_field or "answer"
        return AnsweredTable(table=table, kind=kind, target=target, names=names, details=self.json)

    def _one_answer_a_row(self, count: int) -> None:
        if self.stream:
            raise UsageError("`--stream` shows lines, so it cannot be given with a table. Drop it.")
        if count > 1 and not self.json:
            raise UsageError(f"a row of a table has one answer, but n_best is {count}. Give `--n-best 1` or --json.")

    def _answer_table(
        self,
        model: Translator | Reranker,
        table: AnsweredTable,
        search: dict[str, Any],
        *,
        count: int,
        reads: Translator,
    ) -> None:
        from antiphon.data.bad_rows import BadRows
        from antiphon.generation.requests import sources_of_table

        self._one_answer_a_row(count)
        bad = BadRows(self.bad_rows or "error", setting="--bad-rows skip")
        done = 0
        with (
            output(self.output, reads=self.input, adds=self.resume) as writer,
            saying_what_is_answered(self.output, lambda: done),
        ):
            done, begun = kept_rows(self.output, table) if self.resume else (0, False)
            for chunk in without(done, row_chunks(table, bad), self.output, unit="rows"):
                with placed(chunk, done):
                    sources = sources_of_table(reads, [row.whole for row in chunk], self.input)
                    answers = model.generate(sources, first_row=done, **search)
                if not begun:
                    writer.write(table.first_line())
                    begun = True
                for row, answer in zip(chunk, answers, strict=True):
                    writer.write(table.line(row.whole, answer.as_json()))
                writer.flush()
                done += len(chunk)
            if not begun:
                writer.write(table.first_line())
        if bad.count:
            self.say(f"antiphon: {bad.count} bad {'row is' if bad.count == 1 else 'rows are'} left out")

    def _stream(
        self, model: Translator, texts: Sequence[str], search: dict[str, Any], writer: Writer, *, first_row: int
    ) -> None:
        for row, text in enumerate(texts, first_row):
            for piece in model.stream(text, first_row=row, **search):
                writer.write(piece.replace("\n", " "))
                writer.flush()
            writer.write("\n")
            writer.flush()

    def _write(self, answer: Generation, writer: Writer, *, count: int, file: str | None) -> None:
        if self.json:
            named = {} if file is None else {"file": file}
            writer.write(json.dumps({**named, **answer.as_json()}, ensure_ascii=False) + "\n")
            return
        texts = [answer.text, *(other.text for other in answer.alternatives)]
        for text in padded(texts, count):
            writer.line(text)


def padded(texts: list[str], count: int) -> Iterator[str]:
    """`texts` padded to `count` with empty texts, so that every input has the same number of lines."""
    for place in range(count):
        yield texts[place] if place < len(texts) else ""
