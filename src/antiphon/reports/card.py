"""The model card of a run: Markdown with the front matter of the Hugging Face hub.

The card is for everybody: of the paths of a recipe it has only the names of files. A card that was written here ends in
a line with a hash of its text, so that a card which somebody has edited is recognised and never replaced.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from antiphon.errors import printable
from antiphon.recipe import dump_yaml
from antiphon.reports.contents import RunContents
from antiphon.reports.facts import (
    Fact,
    cost_facts,
    data_facts,
    data_files,
    energy_of,
    has_python_pairs,
    model_facts,
    public_path,
    start_facts,
    training_facts,
)
from antiphon.reports.results import RankedExample, RunResults

PIPELINES = {"translation": "translation", "summarization": "summarization", "classification": "text-classification"}
LICENSES = {  # what the hub accepts for `license:`; another one is "other" with its name
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigcode-openrail-m", "afl-3.0",
    "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc",
    "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl",
    "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0",
    "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "lppl-1.3c", "ms-pl", "mpl-2.0", "odc-by", "odbl", "openrail++",
    "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "unknown", "other",
}  # fmt: skip
_MARK = re.compile(r"\n<!-- antiphon model card, sha256 ([0-9a-f]{64}) -->\n\Z")
_EXAMPLES = 2  # of each kind


def card_text(run: RunContents, results: RunResults) -> str:
    """The card of a run as Markdown, with its front matter and its mark."""
    front = dump_yaml(front_matter(run, results))
    body = "\n".join(
        [
            f"# {_markdown(run.name)}",
            "",
            _lead(run),
            *_section("Results", _results(run, results)),
            *_section("Examples", _examples(results.examples)),
            *_section("Data", _data(run)),
            *_section("Model", _list(model_facts(run))),
            *_section("Training", _list(training_facts(run))),
            *_section("Cost", _list([*cost_facts(run)] or [("energy", energy_of(run))])),
            *_section("Reproduce", _reproduce(run)),
            *_section("Use", _use(run)),
        ]
    )
    text = f"---\n{front}---\n\n{body}\n"
    return f"{text}\n<!-- antiphon model card, sha256 {_digest(text)} -->\n"


def is_own_card(text: str) -> bool:
    """Whether a card is one of `card_text` that nobody has changed since."""
    mark = _MARK.search(text)
    return mark is not None and mark[1] == _digest(text[: mark.start()])


def front_matter(run: RunContents, results: RunResults) -> dict[str, Any]:
    """The metadata of a card, as the hub defines it."""
    license = run.recipe.get("license")
    found: dict[str, Any] = {"library_name": "antiphon", "tags": ["antiphon", "encoder-decoder"]}
    if run.task in PIPELINES:
        found["pipeline_tag"] = PIPELINES[run.task]
    if license:
        known = str(license).lower() in LICENSES
        found |= {"license": str(license).lower()} if known else {"license": "other", "license_name": str(license)}
    if languages := _languages(run):
        found["language"] = languages
    base = run.section("model").get("base")
    if isinstance(base, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", base):  # a name on the hub
        found["base_model"] = base
    sets = [name.removeprefix("hub:") for name in _train_names(run) if name.startswith("hub:")]
    if sets:
        found["datasets"] = sets
    if results.measured:
        found["metrics"] = list(dict.fromkeys(name.split(":")[0] for name in results.measured))
        found["model-index"] = [_index(run, results)]
    return found


def _index(run: RunContents, results: RunResults) -> dict[str, Any]:
    """The results as the hub lists them."""
    names = [public_path(file.name) for file in data_files(run) if file.side == "valid"]
    metrics = [
        {"type": name.split(":")[0], "name": name, "value": round(result.score, 2), "args": {"sig": result.signature}}
        for name, result in results.measured.items()
    ]
    task = PIPELINES.get(run.task, "text2text-generation")
    name = ", ".join(dict.fromkeys(names)) or "validation pairs"
    dataset = {"name": name, "type": "custom", "split": "validation"}
    return {"name": run.name, "results": [{"task": {"type": task}, "dataset": dataset, "metrics": metrics}]}


def _lead(run: RunContents) -> str:
    shape = run.section("model")
    layers = f"{shape.get('encoder_layers', '?')}+{shape.get('decoder_layers', '?')} layers"
    origin = f"from the base `{public_path(str(shape['base']))}`" if shape.get("base") else f"with {layers}"
    ended = {"running": " It is still being trained.", "stopped": " Its training has not come to its end."}
    return (
        f"An encoder-decoder Transformer {origin} for the task `{_markdown(run.task)}`, trained with "
        f"Antiphon.{ended.get(run.state, '')}"
    )


def _results(run: RunContents, results: RunResults) -> list[str]:
    rows = [
        [
            name,
            f"{result.score:.2f}",
            "" if result.interval is None else f"{result.interval.low:.2f} to {result.interval.high:.2f}",
            f"`{result.signature}`" if result.signature else "",
        ]
        for name, result in results.measured.items()
    ]
    rows += [[name, f"{value:.4f}", "", ""] for name, value in results.logged.items()]
    if not rows:
        return []
    step = "" if results.row is None else f" after step {results.row['step']:,}"
    lead = f"On {len(run.answers):,} validation pairs, on which the model was chosen,{step}:"
    return [lead if run.answers else f"On the validation pairs{step}:", "",
            *_table(["metric", "score", "95 % interval", "signature"], rows)]  # fmt: skip


def _examples(examples: Sequence[RankedExample]) -> list[str]:
    lines: list[str] = []
    for kind in ("typical", "worst", "best"):
        for example in [each for each in examples if each.kind == kind][:_EXAMPLES]:
            answer = example.answer
            row = [kind, answer.source, answer.answer, answer.references[0], f"{example.score:.1f}"]
            lines.append("| " + " | ".join(map(_cell, row)) + " |")
    return ["| kind | source | answer | reference | score |", "|---|---|---|---|---:|", *lines] if lines else []


def _data(run: RunContents) -> list[str]:
    rows = [
        [
            file.side,
            public_path(file.name),
            file.bytes,
            file.fingerprint,
            file.license,
        ]
        for file in data_files(run)
    ]
    table = _table(["side", "data", "bytes", "fingerprint", "licence"], rows) if rows else []
    return [*table, "", *_list(data_facts(run))]


def _reproduce(run: RunContents) -> list[str]:
    lines = ["The recipe is `config.yaml` in the run folder:", "", "```bash", "antiphon train config.yaml", "```"]
    if has_python_pairs(run):
        lines += ["", "Its pairs came from Python, so the recipe alone does not have the data."]
    if run.starts:
        facts = [fact for fact in start_facts(run.starts[-1]) if fact[0] != "command"]  # it may hold paths
        lines += ["", *_list(facts)]
    return lines


def _use(run: RunContents) -> list[str]:
    source = run.answers[0].source if run.answers else "..."
    code = f"model.generate([{printable(source)!r}])[0].text"
    return ["```python", "import antiphon", "", 'model = antiphon.load("path/of/this/folder")', code, "```"]


def _languages(run: RunContents) -> list[str]:
    """The codes of the languages of a multilingual model's answers and sources."""
    generation = run.section("generation")
    codes = [generation.get("source_language"), generation.get("target_language")]
    found = [re.split(r"[_-]", str(code))[0].lower() for code in codes if code]
    return list(dict.fromkeys(code for code in found if re.fullmatch("[a-z]{2,3}", code)))


def _train_names(run: RunContents) -> list[str]:
    return list(dict.fromkeys(file.name for file in data_files(run) if file.side == "train"))


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if any(lines) else []


def _list(facts: Iterable[Fact]) -> list[str]:
    return [f"- {name}: {_markdown(value)}" for name, value in facts]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]


def _cell(text: str) -> str:
    """A text in a cell of a Markdown table; code stays code."""
    code = text.startswith("`") and text.endswith("`") and len(text) > 1 and "`" not in text[1:-1]
    return printable(text).replace("|", "\\|") if code else _markdown(text)


def _markdown(text: str) -> str:
    """A user's text in Markdown: on one line, with a backslash before each character that means something there, so
    that neither markup nor HTML nor a link can arise from it."""
    flat = printable(" ".join(str(text).split()))
    escaped = re.sub(r"([\\`*_\[\]#|~$<>&])", r"\\\1", flat)
    return re.sub(r"(?i)(https?|ftp|mailto|www)([:.])", r"\1\\\2", escaped)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
