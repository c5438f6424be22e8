"""`antiphon explain`: which source tokens each word of an answer depends on, and how faithful a method is."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from antiphon.cli.command import Command, columns, import_modules
from antiphon.cli.flags import Flag, Positional
from antiphon.cli.generate import SEARCH
from antiphon.cli.streams import chunks
from antiphon.errors import UsageError
from antiphon.settings import Count

if TYPE_CHECKING:
    from antiphon.generation.translator import Translator

METHOD = Literal["integrated-gradients", "input-x-gradient", "rollout", "leave-one-out"]
DEFAULT = "integrated-gradients"


@dataclass(frozen=True, kw_only=True)
class Explain(Command):
    """Show which tokens of the source each word of the answer depends on, or for a classification its label.

    Each method is shown with its caveat and a test of faithfulness: tokens are deleted in its order and in random
    order. With --input the methods are only tested, on many sources: a table of Markdown.
    """

    model: Annotated[str, Positional("MODEL")]
    """A run folder or a model folder."""
    source: Annotated[str | None, Positional("SOURCE")] = None
    """The source text."""
    target: Annotated[str | None, Positional("TARGET")] = None
    """The answer to explain; default: the model's own."""
    method: Annotated[METHOD | None, Flag(default=DEFAULT)] = None
    """How attributions are computed; with --input, default: each of them."""
    units: Literal["words", "tokens"] = "words"
    """Cut the answer into words or tokens."""
    output: Annotated[str | None, Flag("FILE", default="the terminal")] = None
    """Write a self-contained .html page, or .json."""
    json: bool = False
    """Print one JSON object with all attributions."""
    skip_test: bool = False
    """Leave the test of faithfulness out, which takes most of the time."""
    input: Annotated[str | None, Flag("FILE")] = None
    """Test the methods on these lines, with the model's own answers, instead of explaining one answer."""
    limit: Annotated[Count, Flag("N")] = 100
    """Lines of --input that are tested, at equal distances."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with parts of your own that the model needs."""
    search: Annotated[dict[str, Any], SEARCH] = field(default_factory=dict)

    def check(self) -> None:
        if (self.source is None) == (self.input is None):
            given = "both" if self.source is not None else "neither"
            raise UsageError(f"`antiphon explain` needs a SOURCE text or --input FILE, but {given} is given.")
        if self.input is not None and (self.output is not None or self.json or self.skip_test):
            raise UsageError("`--input` prints a table of the test; it takes no --output, --json or --skip-test.")

    def run(self) -> int:
        from antiphon.evaluation.explain.explanation import check_ending

        if self.output is not None:
            check_ending(self.output)
        import_modules(self.imports)
        device = self.start()
        from antiphon.generation.load import load

        model = load(self.model, device=device, dtype=self.dtype)
        return self._explain(model) if self.input is None else self._test(model, self.input)

    def _explain(self, model: Translator) -> int:
        from rich.console import Console

        from antiphon.evaluation.explain import explain
        from antiphon.evaluation.explain.terminal import lines

        assert self.source is not None
        found = explain(
            model,
            self.source,
            self.target,
            method=self.method or DEFAULT,
            units=self.units,
            test=not self.skip_test,
            seed=self.seed or 0,
            **self.search,
        )
        if self.output is not None:
            self.say(f"written to `{found.save(self.output)}`")
        if self.json:
            sys.stdout.write(json.dumps(found.as_json(), ensure_ascii=False) + "\n")
        elif self.output is None:
            width = columns() or 80
            console = Console(file=sys.stdout, highlight=False, width=width)
            for line in lines(found, width=max(width, 60)):
                console.print(line, soft_wrap=True)
        return 0

    def _test(self, model: Translator, file: str) -> int:
        from antiphon.evaluation.explain import METHODS, faithfulness_of
        from antiphon.evaluation.explain.terminal import table_lines

        texts = [text for chunk in chunks(file) for text in chunk if text.strip()]
        count = min(self.limit, len(texts))
        chosen = [texts[place * len(texts) // count] for place in range(count)]
        methods = list(METHODS) if self.method is None else [self.method]
        tests = faithfulness_of(model, chosen, methods=methods, units=self.units, seed=self.seed or 0, **self.search)
        for line in table_lines(tests):
            sys.stdout.write(line + "\n")
        incomplete = sum(sum(test.incomplete) for test in tests.values())
        if incomplete:
            self.say(f"antiphon: the integrated gradients of {incomplete} answers are not complete")
        return 0
