"""Reads the tokenizer settings in the config files of a Hugging Face folder: roles of tokens, added tokens, flags.

The files are config.json, tokenizer_config.json, special_tokens_map.json and added_tokens.json. The second takes
precedence over the third.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import ModelError
from antiphon.text.pretrained.files import TokenizerFolder, token_text
from antiphon.text.pretrained.record import Kind, TokenizerRecord
from antiphon.text.vocabulary import MAX_IDS

CONFIG_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
MASK_ROLES = ("mask_token", "mask_token_sent")  # may be written out in a text
TOKEN_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", *MASK_ROLES)
DEFAULT_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


class TokenizerSource:
    """The tokenizer settings of a folder: tokens by role, and added tokens. `config` is the parsed config.json."""

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.folder, self.config, self.where = TokenizerFolder(path), config, str(path)
        own = self.folder.mapping("tokenizer_config.json") or {}
        self.own = {**(self.folder.mapping("special_tokens_map.json") or {}), **own}
        self.model_type = str(config.get("model_type", ""))
        self.kind = str(self.own.get("tokenizer_class") or config.get("tokenizer_class") or "")

    def config_files(self) -> dict[str, bytes]:
        """The config files, by suffix, that a folder needs when it is written again, with the class of config.json."""
        found = {f".{name}": content for name in CONFIG_FILES if (content := self.folder.read(name)) is not None}
        if self.kind and not isinstance(self.own.get("tokenizer_class"), str):
            own = {**(self.folder.mapping(CONFIG_FILES[0]) or {}), "tokenizer_class": self.kind}
            found[f".{CONFIG_FILES[0]}"] = json.dumps(own, ensure_ascii=False).encode()
        return found

    def role_tokens(self) -> dict[str, str]:
        """The token of each role that the folder sets."""
        return {role: text for role in TOKEN_ROLES if (text := token_text(self.own.get(role)))}

    def extra_special_tokens(self) -> list[str]:
        """The additional special tokens, in order."""
        found: list[object] = []
        for key in ("additional_special_tokens", "extra_special_tokens"):
            value = self.own.get(key)
            found += value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        return list(dict.fromkeys(text for each in found if (text := token_text(each))))

    def token_ids(self) -> dict[str, int]:
        """The tokens with an id in the config files."""
        found: dict[str, object] = dict(self.folder.mapping("added_tokens.json") or {})
        decoder = self.own.get("added_tokens_decoder")
        for id, token in (decoder if isinstance(decoder, dict) else {}).items():
            if (text := token_text(token)) and str(id).isdecimal() and len(str(id)) < 10:
                found[text] = int(id)
        wrong = next((text for text, id in found.items() if type(id) is not int or not 0 <= id < MAX_IDS), None)
        if wrong is not None:
            raise ModelError(f"`{self.where}` must give its added tokens ids, but `{wrong:.40}` has none. Correct it.")
        return {text: id for text, id in found.items() if isinstance(id, int)}

    def text_tokens(self) -> set[str]:
        """The added tokens that are not special: part of a text, as users add them."""
        decoder = self.own.get("added_tokens_decoder")
        entries = list(decoder.values()) if isinstance(decoder, dict) else []
        special = {token_text(each) for each in entries if isinstance(each, Mapping) and each.get("special") is True}
        return set(self.token_ids()) - special - set(self.role_tokens().values()) - set(self.extra_special_tokens())

    def stripping_tokens(self) -> set[str]:
        """The tokens that consume the space before them."""
        decoder = self.own.get("added_tokens_decoder")
        entries = [*(decoder.values() if isinstance(decoder, dict) else ()), *map(self.own.get, TOKEN_ROLES)]
        found = (token_text(each) for each in entries if isinstance(each, Mapping) and each.get("lstrip") is True)
        return {text for text in found if text}

    def number(self, key: str, otherwise: int) -> int:
        """A number of config.json; the first one of a list, which newer families have for their ends."""
        value = self.config.get(key)
        value = value[0] if isinstance(value, list) and value else value
        if value is None:
            return otherwise
        if type(value) is not int or not 0 <= value <= MAX_IDS:
            raise ModelError(f"`{key}` in the config.json of `{self.where}` must be a number, but is {value!r:.40}.")
        return value

    def text_setting(self, key: str) -> str | None:
        """A string of tokenizer_config.json."""
        value = self.own.get(key)
        return value if isinstance(value, str) else None

    def flag(self, key: str, otherwise: bool = False) -> bool:
        """A flag of tokenizer_config.json."""
        value = self.own.get(key, otherwise)
        return value is True

    def base(self, kind: Kind, ids: Mapping[str, int], *, size_key: str = "vocab_size") -> TokenizerRecord:
        """A record without a frame. Special ids come from config.json, else from the tokens' roles and `ids`.

        ModelError if the model has fewer embeddings than there are tokens.
        """
        names = {**DEFAULT_TOKENS, **self.role_tokens()}
        tokens = 1 + max(ids.values(), default=-1)
        size = self.number(size_key, self.number("vocab_size", tokens))
        if tokens > size:
            raise ModelError(
                f"the tokenizer of `{self.where}` must have at most {size} ids, the rows of the model's table "
                f"(`{size_key}` in config.json), but has {tokens}. Use the tokenizer that belongs to the model."
            )
        end = self.number("eos_token_id", ids.get(names["eos_token"], -1))
        if end < 0:
            raise ModelError(f"`{self.where}` must have an end, but neither config.json nor its tokens have one.")
        pad = self.number("pad_token_id", ids.get(names["pad_token"], end))
        start = self.number("decoder_start_token_id", self.number("bos_token_id", pad))
        return TokenizerRecord(kind=kind, size=size, pad=pad, start=start, end=end, unk=ids.get(names["unk_token"]))
