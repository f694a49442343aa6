"""Pages out of templates, and the files beside them. `render` is for every page of the server.

Whatever a record or a person said is escaped, and signs that turn the direction of text or cannot be seen are shown as
a replacement character: a label may not dress as something else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

from server.errors import RefusedError
from server.export.words import clock, term
from server.reports import Key

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
LOOKS = ("auto", "dark", "light")
_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_WILD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


class File(NamedTuple):
    content: bytes
    kind: str
    digest: str  # a part of its sha256: another content has another address


def _files() -> dict[str, File]:
    found = {}
    for file in sorted(_FOLDER.rglob("*")):
        if file.suffix in _TYPES:
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:12]
            found[file.relative_to(_FOLDER).as_posix()] = File(content, _TYPES[file.suffix], digest)
    return found


FILES = _files()


def static(name: str) -> str:
    """Its address."""
    return f"/static/{FILES[name].digest}/{name}"


def static_file(name: str, digest: str) -> Response:
    """Kept for ever by browsers, if it is the version that they asked for. Raises RefusedError."""
    found = FILES.get(name)
    if found is None:
        raise RefusedError("no such file", 404)
    lasting = "public, max-age=31536000, immutable" if digest == found.digest else "no-store"
    return Response(found.content, media_type=found.kind, headers={"Cache-Control": lasting})


def inert(value: Any) -> Any:
    """What every expression of a template goes through before it is escaped."""
    return _WILD.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value


def place(key: Key, *parts: str) -> str:
    """Where a procedure's page is, or a part of it."""
    return "/".join(["/procedures", *(quote(str(part), safe="") for part in (*key, *parts))])


def when(text: str) -> str:
    """RFC 3339, UTC → for people. What is no time is shown as it is."""
    found = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)", text)
    return f"{found[1]} {found[2]} UTC" if found else text


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("server.web"), jinja2.PrefixLoader({"export": jinja2.PackageLoader("server.export")})]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=inert,
    )
    made.globals.update(static=static, place=place, when=when, clock=clock, term=term)
    made.globals.update(person=None, theme="auto", large=False)  # of a page that nobody is logged in to
    return made


ENVIRONMENT = _environment()


def warm() -> None:
    """Reads all templates, so that the first reader need not wait for it."""
    for name in ENVIRONMENT.list_templates(extensions=["html"]):
        ENVIRONMENT.get_template(name)


def render(
    template: str,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    request: Request | None = None,
) -> Response:
    """`values["person"]`: who is logged in, where somebody is. `request`: whose look it gets."""
    shown = {**look(request), **values} if request is not None else values
    text = ENVIRONMENT.get_template(template).render(shown)
    return HTMLResponse(text, status, {"Content-Security-Policy": CSP, **(headers or {})})


def part(template: str, macro: str, *arguments: Any) -> str:
    """What a template's macro makes."""
    made: str = getattr(ENVIRONMENT.get_template(template).module, macro)(*arguments)
    return str(made)


def look(request: Request) -> dict[str, Any]:
    """Dark or light, and how large; from a cookie, so that a page is painted once."""
    theme, _, large = request.cookies.get("look", "").partition(".")
    return {"theme": theme if theme in LOOKS else "auto", "large": large == "large"}


def is_part(request: Request) -> bool:
    """Asked by htmx for a part of a page."""
    return request.headers.get("hx-request") == "true"


def error_page(request: Request, status: int, sentence: str) -> Response:
    """For whatever went wrong on a page."""
    values = {"said": sentence, "person": getattr(request.state, "person", None)}
    return render("refused.html", values, status=status, request=request)
