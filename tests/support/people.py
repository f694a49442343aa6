"""People at the report server: the application, and browsers that are logged in to it."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.testclient import TestClient

from server import accounts, app, guard, serving
from server.config import Config, Http
from server.keep import Folder
from server.store.database import Database
from tests.support import waiting

PASSWORD = "the blue door squeaks"
ORIGIN = "http://testserver"


def application(database: Database, config: Config | None = None, routers: Iterable[APIRouter] = ()) -> FastAPI:
    """The server's own, with more routes."""
    config = config or Config()
    made = app.create(config, database, Folder(config.folder / "frames"))
    for router in routers:
        made.include_router(router)
    return made


@contextlib.contextmanager
def served(made: FastAPI, http: Http | None = None, boxes: Path | None = None) -> Iterator[str]:
    """By the server's own uvicorn, at a free port of this machine; its URL."""
    http = http or Http(port=0)
    listener = serving.listen(http)
    server = serving.server(made, http, boxes)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="uvicorn")
    thread.start()
    try:
        waiting.wait_for(lambda: server.started, "uvicorn serves")
        yield serving.base_url(http, listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def browser(made: FastAPI, url: str = ORIGIN) -> TestClient:
    """Sends what a browser would, and follows no redirect."""
    return TestClient(made, url, headers={"Origin": url, "Sec-Fetch-Site": "same-origin"}, follow_redirects=False)


def person(made: FastAPI, name: str, role: str, url: str = ORIGIN) -> TestClient:
    """A browser in which that person is logged in, with a CSRF header."""
    database = made.state.database
    if name not in {account.name for account in accounts.everybody(database)}:
        accounts.create(database, name, name.capitalize(), role, PASSWORD, by="cli:root")
    client = browser(made, url)
    answer = client.post("/login", data={"name": name, "password": PASSWORD})
    assert answer.status_code == 303, answer.text
    client.headers[guard.CSRF_HEADER] = csrf(client.get("/account").text)
    return client


def csrf(page: str) -> str:
    """The token in a page's forms."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]
