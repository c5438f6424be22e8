"""The HTTP interface: routes of LibreTranslate, DeepL, OpenAI and our own over a `ModelService`."""
