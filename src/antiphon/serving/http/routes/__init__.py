"""The routes, one file for each family."""

from __future__ import annotations

from antiphon.serving.http.routes import deepl, documents, files, generate, health, libretranslate, models, openai

ROUTERS = (
    health.router,
    generate.router,
    documents.router,
    models.router,
    files.router,
    libretranslate.router,
    deepl.router,
    openai.router,
)
