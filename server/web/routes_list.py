"""The list of procedures and boxes, and the stream that tells open pages what changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from server import guard, listing, sessions
from server.errors import RefusedError
from server.guard import Person
from server.listing import Box, Entry, Wanted
from server.store.database import Database
from server.web.boxes import Seen, seen
from server.web.live import Event, Live
from server.web.pages import part, render
from server.web.routes_review import Reader

router = APIRouter()
STATES = {"": "all", "none": "no draft yet", "draft": "draft", "final": "signed", "amended": "signed, amended"}
_BOXES_AT_MOST = 60
WATCHER = [Depends(guard.person("viewer", touch=False))]


@router.get("/")
def the_list(request: Request, who: Reader) -> Response:
    """Query: the fields of `listing.Wanted`."""
    wanted = _wanted(request)
    with guard.database(request).read() as connection:
        found, after = listing.entries(connection, wanted)
        boxes, pipelines = listing.all_boxes(connection), listing.pipelines(connection)
    note_list(request, who)
    values: dict[str, Any] = {
        "person": who,
        "wanted": wanted,
        "states": STATES,
        "entries": found,
        "after": after,
        "pipelines": pipelines,
        "devices": [box.device for box in boxes],
        "boxes": recent(boxes),
        "plain": wanted == Wanted(),
        "query": {name: getattr(wanted, name) for name in ("text", "state", "device", "pipeline")},
    }
    return render("list.html", values, request=request)


def note_list(request: Request, who: Person) -> None:
    """It names patients: that somebody looked is known, what was looked for may be a name and is not."""
    guard.note_read(request, who, "list.read", "", "")


def recent(boxes: list[Box]) -> list[Seen]:
    """Those that come in lately or may yet, by name."""
    lately = sorted((box for box in boxes if not box.revoked), key=lambda box: box.seen_at, reverse=True)
    return sorted(map(seen, lately[:_BOXES_AT_MOST]), key=lambda box: box.device)


def _wanted(request: Request) -> Wanted:
    """Raises RefusedError."""
    told = {name: text for name, text in request.query_params.items() if name in Wanted.__struct_fields__}
    try:
        return msgspec.convert(told, Wanted)
    except msgspec.ValidationError as exc:
        raise RefusedError(f"what is looked for: {exc}") from exc


# --------------------------------------------------------------------------------------------------- live


def show(new: list[Entry] | list[Box]) -> list[Event]:
    """What streams are told of rows or boxes."""
    entries = [one for one in new if isinstance(one, Entry)]
    boxes = [one for one in new if isinstance(one, Box)]
    events = []
    if entries:
        events.append(Event(name="rows", data=part("_list.html", "rows", entries)))
        for entry in entries:
            data = json.dumps({"revision": entry.key.revision, "number": entry.number})
            events.append(Event(name="report", data=data, of=(entry.key.device, entry.key.procedure)))
    if boxes:
        events.append(Event(name="boxes", data=part("_list.html", "boxes", recent(boxes))))
    return events


@router.get("/live", dependencies=WATCHER)
async def live(request: Request, device: str = "", procedure: str = "") -> Response:
    """Server-sent events: of one procedure, or (without one) what the list shows."""
    told = _told(request, (device, procedure))
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
    return StreamingResponse(told, media_type="text/event-stream", headers=headers)


async def _told(request: Request, of: tuple[str, str]) -> AsyncIterator[str]:
    feed: Live = request.app.state.live
    token = request.cookies.get(guard.cookie(request), "")
    with feed.stream() as stream:
        yield "retry: 2000\n\n"
        async for event in stream.events():
            if event is None:
                if await run_in_threadpool(_gone, guard.database(request), token):
                    yield _event("ended", "")
                    return
                yield ": \n\n"
            elif event.of == of or (not any(of) and event.name != "report"):
                yield _event(event.name, event.data)


def _gone(database: Database, token: str) -> bool:
    return sessions.find(database, token, touch=False) is None


def _event(name: str, data: str) -> str:
    lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    return f"event: {name}\n{lines}\n"
