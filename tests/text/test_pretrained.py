"""Tokenizers of published folders against transformers' own, on odd texts: ids of both sides, and text again."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from counts import count

from antiphon.errors import ConfigError, ModelError
from antiphon.text import Tokenizer, clean_text, load_pretrained_tokenizers, pretrained_files

hub = pytest.importorskip("text.hub", reason="needs transformers, the reference", exc_type=ImportError)

ODD = [
    "", " ", "   ", "\t", "a", "Hello, world!", "two  spaces   three", " leading", "trailing ",
    "first line\nsecond line", "ends with crlf\r\n", "left\x0bright\x0c\x1c\x85\u2028\u2029end",
    "no\u00a0break\u202fspace\u2003wide\u3000", "\ufeffBOM", "zero\u200bwidth\u200d\u2060", "NUL \0 inside",
    "café cafe\u0301 ﬁne ½ Ⅷ ﾊﾝｶｸ", "İstanbul ıI ẞ ß ŉ", "שלום مرحبا \u202eabc\u202c", "日本語です。今日は",
    "👩‍👧 👍🏽 🇩🇪", "\U0010ffff \ufffe \ue000", "▁ ▁▁a Ġ Ċ @@ ##ing", "<extra_id_0> and <extra_id_1>.",
    "a <mask> b<mask>c", "<mask_1><mask_2> <unk_2>", ">>fra<< Hello", "it 's , isn't . !", "$1,234.50 (3 %)",
    "<0xC3> <0x00>", "x" * 500, "don't " * 60, "&amp; <b>bold</b> \\n", "\ud800 lone",
]  # fmt: skip
STEERING = ["</s>", "in <pad> it<pad>", "<s>a</s>", "a<unk>", "en_XX x", "eng_Latn", "__fr__ hello", "de_DE"]


class Case(NamedTuple):
    """A folder of a name of `hub.FOLDERS`, and both sides' tokenizers in ours."""

    name: str
    made: hub.HubFolder
    source: Tokenizer
    target: Tokenizer

    def theirs(self, side: str, text: str) -> list[int]:
        reference = self.made.reference
        return (reference(text) if side == "source" else reference(text_target=text))["input_ids"]

    @property
    def sides(self) -> dict[str, Tokenizer]:
        return {"source": self.source, "target": self.target}


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Each folder once."""

    @functools.cache
    def case(name: str) -> Case:
        made = hub.make(name, tmp_path_factory.mktemp(name), hub.sentences())
        return Case(name, made, *load_pretrained_tokenizers(made.path, made.config))

    return case


@pytest.fixture(params=hub.FOLDERS)
def case(request: pytest.FixtureRequest, make: Callable[[str], Case]) -> Case:
    return make(request.param)


def steering(tokenizer: Tokenizer) -> set[int]:
    """The ids that no text gives: those of the model, not of its texts."""
    marked = {id for id in tokenizer.vocabulary.specials.control if tokenizer.vocabulary.piece(id) in MARKED}
    return set(tokenizer.vocabulary.specials.control) - marked - {tokenizer.unk_id}


MARKED = {"<mask>", "<mask_1>", "<mask_2>", *(f"<extra_id_{i}>" for i in range(125))}


def differences(case: Case, texts: Sequence[str]) -> Iterator[tuple[str, str, object, object]]:
    """Where an id or a text differs from theirs, but for tokens that steer the model, which are plain text to us."""
    for side, ours in case.sides.items():
        control = {ours.vocabulary.piece(id) for id in steering(ours)} | {"<unk>"}
        for text in map(clean_text, texts):
            ids = ours.encode(text)
            if any(name in text for name in control if name):
                assert steering(ours).isdisjoint(ours.bare(ids)), text
                continue
            if ids != (theirs := case.theirs(side, text)):
                yield side, text, ids, theirs
            if side == "source" and ours.vocab_size != case.target.vocab_size:
                continue  # their `decode` reads the target's ids only
            said = case.made.reference.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            if ours.decode(ids) != said:
                yield side, text, ours.decode(ids), said


def test_ids_and_text_are_theirs(case: Case) -> None:
    assert list(differences(case, [*ODD, *hub.sentences()[:20]])) == []


def test_what_steers_the_model_is_plain_text_in_a_text(case: Case) -> None:
    for tokenizer in (case.source, case.target):
        for text in STEERING:
            ids = tokenizer.bare(tokenizer.encode(text))
            assert steering(tokenizer).isdisjoint(ids), text
            assert tokenizer.unk_id in ids or tokenizer.decode(tokenizer.encode(text)).split() == text.split()


@pytest.mark.data
def test_ids_and_text_are_theirs_on_the_odd_inputs(case: Case, data_folder: Path) -> None:
    lines = (data_folder / "odd-inputs" / "odd_lines.jsonl").read_text(encoding="utf-8").split("\n")
    texts = [json.loads(line)["text"] for line in lines if line]
    texts += json.loads((data_folder / "odd-inputs" / "blns" / "blns.json").read_text(encoding="utf-8"))
    assert len(texts) > 600
    share = max(1, len(texts) // count("published_odd_texts"))  # others for each folder: all texts are read by some
    own = texts[list(hub.FOLDERS).index(case.name) % share :: share]
    assert list(differences(case, own)) == []


def test_saved_and_loaded_it_is_the_same(case: Case, tmp_path: Path) -> None:
    texts = [clean_text(text) for text in ODD]
    pairs = {"both": case.source.paired(case.target)} if case.source.shares(case.target) else case.sides
    for name, tokenizer in pairs.items():
        tokenizer.save(tmp_path, name)
    loaded = {name: Tokenizer.load(tmp_path / f"{name}.kind.json") for name in pairs}
    again = {side: loaded.get(side) or loaded["both"] for side in case.sides}
    for side, before in case.sides.items():
        after = again[side].as_target() if side == "target" else again[side]
        assert after.encode_batch(texts) == before.encode_batch(texts)
        assert (after.frame, after.languages, after.language) == (before.frame, before.languages, before.language)
        assert after.vocabulary.specials == before.vocabulary.specials and after.vocab_size == before.vocab_size
        rows = before.encode_batch(texts)
        assert [after.decode(ids) for ids in rows] == [before.decode(ids) for ids in rows]
        assert after.forced_first() == before.forced_first()


@pytest.mark.parametrize("case", ["mbart", "mbart50", "nllb", "m2m"], indirect=True)
def test_the_languages_of_a_folder(case: Case) -> None:
    """The codes, and what another language changes: the frame of a text, and the first token of an answer."""
    reference, sides = case.made.reference, case.made.sides
    assert (case.source.language, case.target.language) == (sides["source"], sides["target"])
    codes = case.source.languages
    assert len(codes) >= 25 and {*sides.values()} <= {*codes}
    for code in codes[:3]:
        reference.src_lang = reference.tgt_lang = code
        try:
            assert case.source.in_language(code).encode("Hello 3") == reference("Hello 3")["input_ids"]
            assert case.target.in_language(code).encode("Hello 3") == reference(text_target="Hello 3")["input_ids"]
        finally:
            reference.src_lang, reference.tgt_lang = sides["source"], sides["target"]
        token = f"__{code}__" if case.made.config["model_type"] == "m2m_100" and "_" not in code else code
        id, other = reference.convert_tokens_to_ids(token), case.target.in_language(code)
        starts = case.made.config["decoder_start_token_id"] != 2
        assert (other.start_id if starts else other.forced_first()) == id
        assert case.target.forced_first(code) == (None if starts else id)
    near = codes[4][:-1] + "q"
    with pytest.raises(ConfigError, match=rf"`source_language` must be a language of the model .*, but is `{near}`"):
        case.source.in_language(near)
    with pytest.raises(ConfigError, match=rf"`target_language` .* did you mean `{codes[4]}`"):
        case.target.in_language(codes[4] + "q")


@pytest.mark.parametrize("case", ["t5_spm", "marian", "bart", "byt5"], indirect=True)
def test_a_language_for_a_model_without_any(case: Case) -> None:
    assert case.source.languages == () and case.source.language is None
    with pytest.raises(ConfigError, match="needs a model that knows languages, but this one's tokenizer has none"):
        case.source.in_language("de")


def test_transformers_reads_what_is_given_back(case: Case, tmp_path: Path) -> None:
    texts = [clean_text(text) for text in ODD if "</s>" not in text]
    config = case.made.config
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name, content in pretrained_files(case.source, case.target).items():
        (tmp_path / name).write_bytes(content)
    theirs = type(case.made.reference).from_pretrained(tmp_path)
    again = load_pretrained_tokenizers(tmp_path, config)
    for text in texts:
        assert theirs(text)["input_ids"] == case.theirs("source", text)
        assert theirs(text_target=text)["input_ids"] == case.theirs("target", text)
    for before, after in zip((case.source, case.target), again, strict=True):
        assert after.encode_batch(texts) == before.encode_batch(texts) and after.language == before.language


@pytest.mark.parametrize("case", ["mbart_spm", "nllb", "m2m"], indirect=True)
def test_what_is_given_back_says_the_languages(case: Case, tmp_path: Path) -> None:
    source, target = (
        case.source.in_language(case.source.languages[3]),
        case.target.in_language(case.source.languages[5]),
    )
    (tmp_path / "config.json").write_text(json.dumps(case.made.config))
    for name, content in pretrained_files(source, target).items():
        (tmp_path / name).write_bytes(content)
    theirs = type(case.made.reference).from_pretrained(tmp_path)
    assert theirs("Hello 3")["input_ids"] == source.encode("Hello 3")
    assert theirs(text_target="Hello 3")["input_ids"] == target.encode("Hello 3")


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("t5_spm", "spiece.model", None, r"must hold a tokenizer \(tokenizer.json, spiece.model, .*but has none"),
        ("t5_spm", "spiece.model", b"", "spiece.model` must be a working sentencepiece model"),
        ("t5_spm", "spiece.model", 0.6, "spiece.model` must be a working sentencepiece model, but fails"),
        ("t5", "tokenizer.json", 0.9, "tokenizer.json` must be a working tokenizer.json, but fails"),
        ("marian", "target.spm", None, "must hold target.spm beside source.spm, but does not"),
        ("marian", "vocab.json", 0.5, "vocab.json` must be JSON, but cannot be read"),
        ("marian", "vocab.json", b'{"a": 0, "b": 0}', "vocab.json` must map each of its tokens to an id of its own"),
        ("marian", "source.spm", 0.5, "must be a working sentencepiece model, but fails"),
        ("marian_apart", "target_vocab.json", None, "must hold target_vocab.json beside source.spm"),
        ("m2m", "vocab.json", b"[]", "vocab.json` must hold a JSON object, but holds list"),
        ("bart_old", "merges.txt", None, "must hold a tokenizer .*but has none that can be read"),
        ("bart_old", "merges.txt", b"q w e\n", "must join tokens to tokens of vocab.json, but has `q w e`"),
    ],
)
def test_a_missing_or_broken_file_is_one_line(
    make: Callable[[str], Case], tmp_path: Path, name: str, file: str, content: bytes | float | None, said: str
) -> None:
    made = make(name).made
    folder = Path(shutil.copytree(made.path, tmp_path / "folder"))
    if content is None:
        (folder / file).unlink()
    else:
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(content if isinstance(content, bytes) else whole[: int(len(whole) * content)])
    with pytest.raises(ModelError, match=said) as caught:
        load_pretrained_tokenizers(folder, made.config)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_a_language_that_the_folder_itself_lacks(make: Callable[[str], Case], tmp_path: Path) -> None:
    made = make("mbart_spm").made
    folder = Path(shutil.copytree(made.path, tmp_path / "folder"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"src_lang": "en_XX", "tgt_lang": "xx_YY"}))
    with pytest.raises(ModelError, match=r"must have the language of its texts among its tokens, but lacks `xx_YY`"):
        load_pretrained_tokenizers(folder, made.config)


def test_a_tokenizer_that_does_not_fit_the_table(make: Callable[[str], Case]) -> None:
    made = make("t5_spm").made
    with pytest.raises(ModelError, match=r"must have at most 99 ids, the rows of the model's table \(`vocab_size`"):
        load_pretrained_tokenizers(made.path, {**made.config, "vocab_size": 99})


@pytest.mark.parametrize("ending", [b"\r\n", b"\n", b"\r\n\r\n"])
def test_merges_with_line_ends_of_windows(make: Callable[[str], Case], tmp_path: Path, ending: bytes) -> None:
    # F15: a carriage return was read as a part of the second token.
    made = make("bart_old").made
    folder = Path(shutil.copytree(made.path, tmp_path / "folder"))
    content = (folder / "merges.txt").read_bytes().replace(b"\n", ending)
    (folder / "merges.txt").write_bytes(content)
    plain, other = (load_pretrained_tokenizers(path, made.config)[0] for path in (made.path, folder))
    for text in ("in 3 hours", "Häuser\r\nund  Straßen", "東京"):
        assert other.encode(text) == plain.encode(text)
