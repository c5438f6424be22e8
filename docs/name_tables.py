"""Writes the tables of docs/coming-from-transformers.md from antiphon/synonyms.py, between their marks:

python docs/name_tables.py
"""

from __future__ import annotations

import re
from pathlib import Path

from antiphon.synonyms import ADAPTERS, FAIRSEQ, LOAD, METHODS, NETWORK, PUBLIC, SEARCH, SPEECH, TRAINING, Synonym

PAGE = Path(__file__).with_name("coming-from-transformers.md")
_SECTIONS = {"generation": "generate", "load": "load"}


def main() -> None:
    """Rewrite the page with the tables as they are now."""
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def renewed(page: str) -> str:
    """The page with each table between `<!-- names: … -->` and `<!-- end -->` made anew."""
    return re.sub(
        r"(<!-- names: (\w+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}",
        page,
        flags=re.DOTALL,
    )


def settings_table(entries: list[Synonym]) -> str:
    """A row for each name: ours with the value to give, and what differs."""
    rows = [f"| `{entry.name}` | {_ours(entry)} | {_sentence(entry.note)} |" for entry in entries]
    return "\n".join([f"| {entries[0].library} | here | |", "|---|---|---|", *rows, ""])


def names_table(names: dict[str, str], head: str) -> str:
    """A row for each class, function or attribute."""
    rows = [f"| `{name}` | {_sentence(here)} |" for name, here in names.items()]
    return "\n".join([f"| {head} | here |", "|---|---|", *rows, ""])


def _ours(entry: Synonym) -> str:
    shown = []
    for setting in entry.ours:
        section, _, last = setting.rpartition(".")
        name = f"`{last}` of `{_SECTIONS[section]}`" if section in _SECTIONS else f"`{setting}`"
        shown.append(f"{name}{entry.value and f', value `{entry.value}`'}")
    return "; ".join(shown) or "none"


def _sentence(text: str) -> str:
    text = text if text.startswith(("`", "antiphon")) else text[:1].upper() + text[1:]
    return (text.rstrip(".") + ".") if text else ""


TABLES = {
    "search": lambda: settings_table(SEARCH),
    "speech": lambda: settings_table(SPEECH),
    "load": lambda: settings_table(LOAD),
    "training": lambda: settings_table(TRAINING),
    "network": lambda: settings_table(NETWORK),
    "adapters": lambda: settings_table(ADAPTERS),
    "fairseq": lambda: settings_table(FAIRSEQ),
    "public": lambda: names_table(PUBLIC, "name"),
    "methods": lambda: names_table(METHODS, "attribute"),
}

if __name__ == "__main__":
    main()
