"""A task: one function that turns a record of the data into a source and its target.

    def verdict(record):                       # recipe: `task: mymodule:verdict`
        return record["review"], record.get("verdict")

A record maps field names to texts: the columns of a TSV or CSV file, the keys of a JSON line, or "source" and "target"
for a pair of text files. A target of None stands for a record without an answer.

The built-in tasks use "source" and "target" (set by `source_field` and `target_field`), or else fields of these names:

| task           | source                                          | target                                  |
|----------------|-------------------------------------------------|-----------------------------------------|
| text           |                                                 |                                         |
| translation    |                                                 |                                         |
| summarization  | document, article, dialogue, text               | summary, highlights                     |
| classification | audio, image, sentence, text                    | label; it must be one of the labels     |
| transcription  | audio, image                                    | text, transcription, transcript         |
| caption        | image                                           | caption, text                           |

With `model.input: audio` or `image` the source is the name of a file, and the field `prompt` (or `question`) is a text
that stands beside it, which the decoder reads before it answers. A model of texts with images reads that text in the
source: see `Task.image_and_text`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from antiphon.errors import ConfigError, DataError
from antiphon.registry import lookup, nearest, register

CLASSIFICATION = "classification"  # the name of the task with labels as targets
_OF_IMAGES = ("caption", "transcription")

Split = Callable[[Mapping[str, str]], tuple[str, str | None]]


@dataclass(frozen=True)
class Task:
    """A named task. `split` is its function; use `pair`, which calls it and checks the result.

    `labels` (classification only) maps each label in the data to its name in answers. `media`: sources are the names of
    files of images or sound. `images_in_texts`: sources are texts, of which each may have an image.
    """

    name: str
    split: Split
    labels: Mapping[str, str] = field(default_factory=dict)
    media: bool = False
    images_in_texts: bool = False

    def pair(self, record: Mapping[str, str], *, where: object = "") -> tuple[str, str | None]:
        """The source and the target of `record`. DataError, which names `where` (file:line), if it has none."""
        try:
            result = self.split(record)
        except KeyError as error:
            field, place = str(error.args[0]) if error.args else "", _at(where)
            raise DataError(
                f"a record must have the field `{field}`, but has {', '.join(record) or 'none with a text'}{place}"
                f"{nearest(field, record) or '.'} Set `source_field` and `target_field`, or `task`."
            ) from error
        except Exception as error:  # a user's function may raise anything
            problem = f"raised {type(error).__name__}: {error}"
            raise DataError(f"the task `{self.name}` {problem}{_at(where)}. Correct its function.") from error
        if not (
            isinstance(result, tuple)
            and len(result) == 2
            and isinstance(result[0], str)
            and isinstance(result[1], str | None)
        ):
            raise DataError(
                f"the task `{self.name}` must return a source and a target (str or None), "
                f"but returned {reprlib.repr(result)}{_at(where)}."
            )
        source, target = result
        return (source, target) if target is None or not self.labels else (source, self._label(target, where))

    def prompt(self, record: Mapping[str, str]) -> str:
        """The text beside an image or sound; "" if there is none."""
        return record.get(_field(record, "prompt", "question"), "")

    def image_and_text(self, record: Mapping[str, str], source: str) -> tuple[str, str]:
        """The name of the image, "" for none, and the text of a record whose source is `source`, if `images_in_texts`.

        The image is the field `image`. Where that is the source itself, as in the built-in tasks of images, the text is
        the field `prompt` or `question`; else it is the source. The source of a caption or a transcription is an image.
        """
        image = record.get("image", source if self.name in _OF_IMAGES else "")
        return image, source if source not in ("", image) else self.prompt(record)

    def _label(self, target: str, where: object) -> str:
        """The name of the label `target`; a name is returned unchanged."""
        if target in self.labels:
            return self.labels[target]
        if target in self.labels.values():
            return target
        known = list(self.labels)
        raise DataError(
            f"a label must be one of {_some(known)}, but is `{target:.60}`{_at(where)}{nearest(target, known) or '.'} "
            "Correct the row, or add the label to `data.labels` and train with examples of it."
        )


def _at(where: object) -> str:
    """A location in brackets, for a message; it is formatted only then."""
    return f" ({where})" if where else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"`{name:.60}`" for name in names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


@register("task", "text")
@register("task", "translation")
def source_and_target(record: Mapping[str, str]) -> tuple[str, str | None]:
    """The fields "source" and "target", unchanged."""
    return record["source"], record.get("target")


@register("task", "summarization")
def document_and_summary(record: Mapping[str, str]) -> tuple[str, str | None]:
    """A document and its summary."""
    source = _field(record, "source", "document", "article", "dialogue", "text")
    return record[source], record.get(_field(record, "target", "summary", "highlights"))


@register("task", CLASSIFICATION)
def text_and_label(record: Mapping[str, str]) -> tuple[str, str | None]:
    """A text, sound or image and its label."""
    source = _field(record, "source", "audio", "image", "sentence", "text")
    return record[source], record.get(_field(record, "target", "label"))


@register("task", "transcription")
def recording_and_text(record: Mapping[str, str]) -> tuple[str, str | None]:
    """Sound, or an image of writing, and the text in it."""
    source = _field(record, "source", "audio", "image")
    return record[source], record.get(_field(record, "target", "text", "transcription", "transcript"))


@register("task", "caption")
def image_and_caption(record: Mapping[str, str]) -> tuple[str, str | None]:
    """An image and a text about it."""
    source = _field(record, "source", "image", "audio")
    return record[source], record.get(_field(record, "target", "caption", "text"))


@register("task", "right_to_left")
def source_and_reversed_target(record: Mapping[str, str]) -> tuple[str, str | None]:
    """The fields "source" and "target", with the words of the target in reverse order (Liu et al. 2016)."""
    target = record.get("target")
    return record["source"], None if target is None else reverse_words(target)


def reverse_words(text: str) -> str:
    """The words of `text`, separated by single spaces, in reverse order; its own inverse."""
    return " ".join(reversed(text.split(" ")))


def _field(record: Mapping[str, str], *names: str) -> str:
    """The first of `names` that the record has; else names[0], which the error then mentions."""
    return next((name for name in names if name in record), names[0])


def load_task(
    name: str, folder: Path | None = None, *, allow_import: bool = True, labels: Mapping[str, str] | None = None
) -> Task:
    """The task called `name`: registered, or `module:Name` looked up in `folder` and the current one.

    `allow_import=False` is for names from a model folder; `labels` are those of a classification. Raises ConfigError.
    """
    split = lookup("task", name, folder=folder, allow_import=allow_import)
    if not callable(split):
        raise ConfigError(
            f"the task `{name}` must be a function from a record to a pair, but is {reprlib.repr(split)}."
        )
    return Task(name, cast(Split, split), labels or {})
