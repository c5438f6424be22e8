"""`antiphon tokenizer`: trains a tokenizer, or encodes text with one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from antiphon.cli.command import Command, import_modules, over
from antiphon.cli.flags import Flag, Positional
from antiphon.cli.streams import chunks, output
from antiphon.config import TokenizerConfig
from antiphon.errors import UsageError

if TYPE_CHECKING:
    from antiphon.text import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TokenizerEncode(Command):
    """Print the ids of each line of the input, separated by spaces, or with --tokens its tokens."""

    model: Annotated[str, Positional("MODEL")]
    """A run folder, a model folder (Hugging Face's too), or a tokenizer file."""
    input: Annotated[str, Flag("FILE")] = "-"
    """Lines of text, also .gz; - is standard input."""
    output: Annotated[str, Flag("FILE")] = "-"
    """The file for the ids; - is standard output."""
    side: Literal["source", "target"] = "source"
    """The side whose tokenizer to use, if they differ."""
    language: Annotated[str | None, Flag("CODE")] = None
    """The language of the texts, for a multilingual tokenizer; default: that of the folder."""
    tokens: bool = False
    """Print tokens instead of ids (a space is shown as ▁), without the end."""

    def run(self) -> int:
        tokenizer = _load(self.model, self.side).in_language(self.language)
        with output(self.output, reads=self.input) as writer:
            for chunk in chunks(self.input):
                if self.tokens:
                    rows = [tokenizer.tokens(line) for line in chunk]
                else:
                    rows = [[str(id) for id in ids] for ids in tokenizer.encode_batch(chunk)]
                for row in rows:
                    writer.line(" ".join(row))
                writer.flush()
        return 0


@dataclass(frozen=True, kw_only=True)
class TokenizerTrain(Command):
    """Train only the tokenizer of a recipe, on its training data."""

    recipe: Annotated[str, Positional("RECIPE.yaml")]
    """The recipe; its `tokenizer` may name the result in later runs: {kind: FOLDER/tokenizer.json}."""
    output: Annotated[str, Flag("DIR")]
    """The folder for tokenizer.json, or for source.json and target.json if they are not shared."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module that registers the recipe's task."""

    tokenizer: Annotated[dict[str, Any], over(TokenizerConfig, "tokenizer")] = field(default_factory=dict)

    def run(self) -> int:
        from antiphon.recipe import read_recipe

        import_modules(self.imports)
        folder = Path(self.output)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"`--output` must be a folder that is not there yet, or empty, but `{folder}` is neither.")
        config = read_recipe(self.recipe, self.tokenizer)
        from antiphon.text import load_task
        from antiphon.workflows.labels import with_labels
        from antiphon.workflows.media import with_media
        from antiphon.workflows.tokenizers import build_tokenizers

        task = with_labels(with_media(load_task(config.task, folder=Path(config.folder or ".")), config), config)
        source, target = build_tokenizers(config, task)
        named = {"tokenizer": source} if source is target else {"source": source, "target": target}
        for name, tokenizer in named.items():
            file = tokenizer.save(folder, name)
            self.say(f"antiphon: {file}, {tokenizer.vocab_size} ids")
        return 0


def _load(model: str, side: str) -> Tokenizer:
    """The tokenizer of a side, from a file, a model folder, or the model of a run folder."""
    from antiphon.text import Tokenizer, load_pretrained_tokenizers, pretrained_config

    folder = Path(model)
    if (folder / "model").is_dir():
        folder = folder / "model"
    if (config := pretrained_config(folder)) is not None:
        return load_pretrained_tokenizers(folder, config)[side == "target"]
    names = (f"{side}{suffix}" for suffix in (".kind.json", ".json", ".spm"))
    file = next((folder / name for name in names if (folder / name).is_file()), folder)
    tokenizer = Tokenizer.load(file)
    return tokenizer.as_target() if side == "target" else tokenizer
