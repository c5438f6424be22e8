"""Languages: which model has a pair, by which codes, and how a language is detected."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.serving.http.errors import ApiError
from antiphon.serving.http.language_names import name_of
from antiphon.serving.http.languages import Direction, Languages, detect
from antiphon.serving.service import ModelInfo, ModelStatus
from antiphon.serving.settings import ServerSettings

GERMAN = "Das ist ein schönes Haus am Ende der Straße, und wir gehen jetzt hinein."
FRENCH = "C'est une belle maison au bout de la rue, et nous y entrons maintenant."


def status(
    name: str, *, sources: Any = (), targets: Any = (), task: str = "translation", input: Any = "text"
) -> ModelStatus:
    info = ModelInfo(task=task, input=input, source_languages=tuple(sources), target_languages=tuple(targets))
    return ModelStatus(name=name, state="ready", info=info)


MANY = status("many", sources=["en_XX", "de_DE", "fr_XX"], targets=["en_XX", "de_DE", "fr_XX"])
NLLB = status("nllb", sources=["eng_Latn", "zho_Hans", "zho_Hant"], targets=["deu_Latn", "zho_Hans"])
PLAIN = status("plain")


def choose(statuses: list[ModelStatus], source: str | None, target: str | None, *pairs: str, **more: Any) -> Direction:
    languages = Languages(ServerSettings(languages=pairs).language_pairs())
    return languages.choose(statuses, source, target, **{"text": "", **more})


def test_codes_of_models_are_the_short_ones() -> None:
    assert choose([MANY], "de", "fr") == Direction(
        "many", "de", "fr", {"source_language": "de_DE", "target_language": "fr_XX"}
    )
    for source in ("de", "DE", "de-AT", "de_DE", "deu"):
        assert choose([MANY], source, "en").settings["source_language"] == "de_DE"
    assert choose([NLLB], "en-US", "de").settings == {"source_language": "eng_Latn", "target_language": "deu_Latn"}
    assert choose([NLLB], "zh", "de").settings["source_language"] == "zho_Hans"
    assert choose([NLLB], "zho_Hant", "de").settings["source_language"] == "zho_Hant"


def test_pairs_by_the_command_line() -> None:
    found = choose([PLAIN], "EN", "DE", "en-de")
    assert (found.model, found.source, found.target, found.settings) == ("plain", "en", "de", {})
    assert choose([PLAIN, status("other")], "de", "en", "en-de", "other=de-en").model == "other"
    assert choose([PLAIN], "en", None, "en-de").target == "de"


def test_a_model_that_names_no_language_takes_any_code() -> None:
    assert choose([PLAIN], "xx", "yy") == Direction("plain", "xx", "yy", {})
    assert choose([PLAIN], None, None) == Direction("plain", None, None, {})
    # Unless another one is known to have the pair, or not to have it.
    assert choose([PLAIN, MANY], "en", "de").model == "many"
    with pytest.raises(ApiError, match="`source` must be one of de, en, fr, but is `xx`"):
        choose([PLAIN, MANY], "xx", "yy")
    assert choose([PLAIN, MANY], "xx", "yy", model="plain").model == "plain"


@pytest.mark.parametrize(
    ("source", "target", "field", "words"),
    [
        ("it", "de", "source", "must be one of de, en, fr, but is `it`"),
        ("en", "it", "target", "must be one of de, fr for this source, but is `it`"),
        ("en", "en", "target", "must be one of de, fr"),
        ("en", None, "target", "is not given"),
        ("auto", "it", "target", "must be one of de, en, fr"),
    ],
)
def test_pairs_that_there_are_not(source: str, target: str | None, field: str, words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        choose([MANY], source, target)
    assert (caught.value.status, caught.value.field) == (422, field)
    with pytest.raises(ApiError) as caught:
        choose([MANY], source, target, fields=("source_lang", "target_lang"))
    assert caught.value.field == f"{field}_lang" and f"`{field}_lang`" in caught.value.message


def test_models_that_do_not_translate_are_left_out() -> None:
    others = [
        status("ears", input="speech"),
        status("labels", task="classification"),
        status("short", task="summarization"),
    ]
    assert choose([*others, PLAIN], "en", "de").model == "plain"
    for name in ("ears", "labels", "short"):
        with pytest.raises(ApiError, match="translates texts"):
            choose([*others, PLAIN], "en", "de", model=name)
    with pytest.raises(ApiError, match="none is served"):
        choose(others, "en", "de")


def test_detection_is_among_the_sources_that_have_the_target() -> None:
    found = choose([MANY], "auto", "en", text=GERMAN)
    assert found.source == "de" and found.detected is not None and found.detected[1] > 0.9
    assert choose([MANY], None, "en", text=FRENCH).source == "fr"
    # A text in the target language is read as another one, since nothing translates it.
    assert choose([MANY], None, "de", text=GERMAN).source in ("en", "fr")
    assert choose([PLAIN], "auto", "de", "en-de", text=FRENCH).detected == ("en", 1.0)


def test_detection() -> None:
    ranked = detect(GERMAN, ["en_XX", "de_DE", "xx"], "q")
    assert [code for code, _ in ranked] == ["de_DE", "en_XX"]
    assert sum(share for _, share in ranked) == pytest.approx(1.0)
    assert detect("", ["en", "de"], "q")[0][1] <= 1
    with pytest.raises(ApiError, match="--languages") as caught:
        detect("a", ["xx"], "q")
    assert caught.value.field == "q"
    with pytest.raises(ApiError):
        detect("a", [], "q")


def test_lists_of_languages() -> None:
    languages = Languages({})
    assert languages.listed([NLLB, MANY]) == {
        "en": ["de", "zh", "fr"],
        "zh": ["de"],
        "zho_Hant": ["de", "zh"],
        "de": ["en", "fr"],
        "fr": ["en", "de"],
    }
    assert languages.listed([PLAIN]) == {"auto": ["auto"]}
    assert languages.listed([status("ears", input="speech")]) == {}


def test_names() -> None:
    assert [name_of(code) for code in ("de", "deu_Latn", "pt-BR", "xx")] == ["German", "German", "Portuguese", "xx"]
