"""Tokenizers of pretrained folders, without transformers. Entry point: `antiphon.text.load_pretrained_tokenizers`."""
