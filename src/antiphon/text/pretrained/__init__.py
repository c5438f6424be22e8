"""Tokenizers of pretrained folders, without transformers; `antiphon.text.load_pretrained_tokenizers` is the way in."""
