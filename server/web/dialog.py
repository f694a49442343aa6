"""A form that somebody opens from a report: alone on a page, or as a part of one."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import Response

from server.guard import Person
from server.web.pages import is_part, part, render
from server.web.routes_review import html
from server.web.view import View


def dialog(request: Request, name: str, who: Person, shown: View, values: dict[str, Any], status: int) -> Response:
    """`NAME.html`, or the macro `form` of `_NAME.html`: with who it is, and whether they have to prove it."""
    told = {
        **values,
        "view": shown,
        "person": who,
        "csrf": who.session.csrf,
        "ask_password": not who.session.proven and who.session.local,
        "prove_elsewhere": not who.session.proven and not who.session.local,
    }
    if not is_part(request):
        return render(f"{name}.html", {**told, "values": told}, status=status, request=request)
    return html(part(f"_{name}.html", "form", told), status)
