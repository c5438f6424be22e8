"""`antiphon attention align`: word alignments of pairs from cross-attention, and their error against gold ones."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Annotated

from antiphon.cli.command import Command, import_modules
from antiphon.cli.flags import Flag, Positional
from antiphon.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class AttentionAlign(Command):
    """Print the word alignment of each pair as `0-0 1-2` (source word, target word); words are between spaces.

    With --gold the alignment error rate against gold alignments is printed (Och and Ney 2003).
    """

    model: Annotated[str, Positional("MODEL")]
    """A run folder or a model folder."""
    source: Annotated[str, Flag("FILE")]
    """Sources, one a line."""
    target: Annotated[str, Flag("FILE")]
    """Their targets."""
    gold: Annotated[str | None, Flag("FILE")] = None
    """Gold alignments, one a line: 0-0 is a sure link, 1?2 a possible one."""
    json: bool = False
    """Print one JSON object with alignment error rate, precision and recall; needs --gold."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with parts of your own that the model needs."""

    def check(self) -> None:
        if self.json and self.gold is None:
            raise UsageError("`--json` prints the errors against gold alignments. Give --gold too.")

    def run(self) -> int:
        from antiphon.evaluation.explain.alignments import alignment_errors, pharaoh, read_gold, word_links
        from antiphon.evaluation.test_set import from_files

        import_modules(self.imports)
        examples = from_files(self.source, [self.target])
        gold = None if self.gold is None else read_gold(self.gold)
        device = self.start()
        from antiphon.generation.load import load

        model = load(self.model, device=device, dtype=self.dtype)
        sources, targets = [one.source or "" for one in examples], [one.references[0] for one in examples]
        links = word_links(model, sources, targets)
        errors = None if gold is None else alignment_errors(links, gold)
        if self.json and errors is not None:
            figures = {"aer": errors.aer, "precision": errors.precision, "recall": errors.recall, "links": errors.found}
            sys.stdout.write(json.dumps(figures) + "\n")
            return 0
        for own in links:
            sys.stdout.write(pharaoh(own) + "\n")
        if errors is not None:
            self.say(str(errors))
        return 0
