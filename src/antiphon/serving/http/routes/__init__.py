"""The routes, one file for each family."""

from __future__ import annotations

from antiphon.serving.http.routes import generate, health, models

ROUTERS = (health.router, generate.router, models.router)
