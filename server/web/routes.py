"""All of the review page's routes, and what they need of the application."""

from __future__ import annotations

import threading

from fastapi import APIRouter, FastAPI

from server.config import Config
from server.web import (
    pages,
    routes_ask,
    routes_edit,
    routes_files,
    routes_list,
    routes_patient,
    routes_review,
    routes_sign,
    routes_worklist,
)
from server.web.live import Live

router = APIRouter()
PARTS = (
    routes_list,
    routes_files,
    routes_edit,
    routes_sign,
    routes_patient,
    routes_worklist,
    routes_ask,
    routes_review,
)
for part in PARTS:
    router.include_router(part.router)


def prepare(app: FastAPI) -> None:
    """`app.state.live.close()` belongs before the server waits for its streams to end."""
    config: Config = app.state.config
    app.state.turns = threading.BoundedSemaphore(config.draft.at_once)  # with the language model, of people who ask
    app.state.live = Live(app.state.database, routes_list.show)
    app.state.pages = pages.ENVIRONMENT
    app.state.error_page = pages.error_page
