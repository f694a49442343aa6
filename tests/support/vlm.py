"""An OpenAI-compatible endpoint over a real socket, which can lie in every way.

`reply` gets the request and says what to answer; `asked` keeps the requests. An honest one is `parrot`: it gives the
facts back as they are.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Asked = dict[str, Any]
SECTIONS = ("procedure", "quality", "landmarks", "findings", "summary", "not_recorded")


class Reply(NamedTuple):
    """What goes over the wire: headers, then the body; `after` runs between them with the socket's writer."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    length: int | None = None  # as the header has it; None: the body's
    trickle_s: float = 0.0  # between single bytes of the body
    hang: bool = False  # nothing is sent until the client goes
    drop: bool = False  # the connection is cut in the middle of the body
    endless: bytes = b""  # after the body, for ever


class Vlm(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, reply: Callable[[Asked], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply
        self.asked: list[Asked] = []
        self.keys: list[str] = []
        self.sent = 0  # bytes of bodies
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up."""


@contextlib.contextmanager
def serving(reply: Callable[[Asked], Reply]) -> Iterator[Vlm]:
    server = Vlm(reply)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="vlm")
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Vlm
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/chat/completions"
        self.server.asked.append(json.loads(body))
        self.server.keys.append(self.headers["Authorization"] or "")
        reply = self.server.reply(self.server.asked[-1])
        with contextlib.suppress(OSError):
            self._send(reply)
        self.close_connection = True

    def _send(self, reply: Reply) -> None:
        if reply.hang:
            self.server.over.wait(20)
            return
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
        self.end_headers()
        body = reply.body[: len(reply.body) // 2] if reply.drop else reply.body
        if reply.trickle_s:
            for byte in body:
                self._write(bytes((byte,)))
                time.sleep(reply.trickle_s)
        else:
            self._write(body)
        while reply.endless and not self.server.over.is_set():
            self._write(reply.endless)

    def _write(self, content: bytes) -> None:
        self.wfile.write(content)
        self.server.sent += len(content)


# --------------------------------------------------------------------------------------------------- replies


def completion(content: str | None, finish: str | None = "stop") -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return Reply(body=json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}).encode())


def facts(asked: Asked) -> list[dict[str, Any]]:
    """What the request told."""
    told = json.loads(asked["messages"][1]["content"][0]["text"])
    return list(told["facts"] if isinstance(told, dict) else told)


def said(asked: Asked, sentences: list[tuple[str, list[str], str]]) -> Reply:
    """Section, ids, text: in the form that was asked for."""
    if "answer" in asked["response_format"]["json_schema"]["schema"]["properties"]:
        return completion(json.dumps({"answer": [{"cites": ids, "text": text} for _, ids, text in sentences]}))
    report: dict[str, list[dict[str, Any]]] = {section: [] for section in SECTIONS}
    for section, ids, text in sentences:
        report[section].append({"cites": ids, "text": text})
    return completion(json.dumps(report))


def parrot(asked: Asked) -> Reply:
    return said(asked, [(fact.get("section", "summary"), fact["cites"], fact["fact"]) for fact in facts(asked)])


def liar(lies: list[str], seed: int = 0) -> Callable[[Asked], Reply]:
    """Every second fact with a lie after it, and each lie once for itself."""

    def reply(asked: Asked) -> Reply:
        chance, told = random.Random(seed), facts(asked)
        sentences = [
            (fact.get("section", "summary"), fact["cites"], fact["fact"] + (f" {chance.choice(lies)}" * (n % 2)))
            for n, fact in enumerate(told)
        ]
        ids = sorted({id for fact in told for id in fact["cites"]})
        sentences += [("findings", ids[:2], lie) for lie in lies]
        return said(asked, sentences)

    return reply


BROKEN: dict[str, tuple[Callable[[Asked], Reply], str]] = {  # a way to fail → what it does, and what is said of it
    "cut off": (lambda asked: completion(parrot_text(asked)[:200], "length"), "cut off: length"),
    "cut off without a word": (lambda asked: completion(parrot_text(asked)[:200], None), "cut off: None"),
    "whitespace": (lambda asked: completion('{"procedure": [' + "\n \t" * 20_000, "length"), "cut off: length"),
    "filtered": (lambda asked: completion(None, "content_filter"), "cut off: content_filter"),
    "half a JSON": (lambda asked: completion(parrot_text(asked)[:200]), "invalid JSON"),
    "prose": (lambda asked: completion("Certainly! Here is the report."), "invalid JSON"),
    "deep JSON": (lambda asked: completion("[" * 100_000), "invalid JSON"),
    "another form": (lambda asked: completion('{"findings": [{"text": 3}]}'), "wrong form"),
    "another key": (lambda asked: completion('{"sizes": []}'), "wrong form"),
    "a list": (lambda asked: completion("[]"), "wrong form"),
    "nothing": (lambda asked: completion(""), "empty"),
    "null": (lambda asked: completion(None), "empty"),
    "no sentence": (lambda asked: said(asked, []), "empty"),
    "no choices": (lambda asked: Reply(body=b'{"choices": []}'), "empty"),
    "no completion": (lambda asked: Reply(body=b'{"error": "overloaded"}'), "no completion"),
    "no JSON": (lambda asked: Reply(body=b"<html>"), "no completion"),
    "foreign ids": (lambda asked: said(asked, [("findings", ["F999"], "Seen.")]), "unknown ids"),
    "wild ids": (lambda asked: said(asked, [("findings", ["polyp"], "Seen.")]), "wrong form"),
    "too many": (lambda asked: said(asked, [("findings", ["T1"], "Seen.")] * 500), "too many sentences"),
    "500": (lambda asked: Reply(status=500, body=b"{}"), "HTTP 500"),
    "429": (lambda asked: Reply(status=429, body=b"{}"), "HTTP 429"),
    "elsewhere": (lambda asked: Reply(status=307, headers=(("Location", "http://127.0.0.1:9/"),)), "HTTP 307"),
    "compressed": (lambda asked: Reply(body=b"\x1f\x8b", headers=(("Content-Encoding", "gzip"),)), "compressed answer"),
    "2 GB": (lambda asked: Reply(length=2 << 30, endless=b" " * 65_536), "answer too large"),
    "dropped": (lambda asked: parrot(asked)._replace(drop=True), "connection lost: RemoteProtocolError"),
    "hangs": (lambda asked: Reply(hang=True), "timeout"),
    "trickles": (lambda asked: parrot(asked)._replace(trickle_s=0.01), "timeout"),
}  # fmt: skip


def parrot_text(asked: Asked) -> str:
    content: str = json.loads(parrot(asked).body)["choices"][0]["message"]["content"]
    return content
