"""Any OpenAI-compatible `/chat/completions`: one question with pictures, one answer in JSON, or why there is none.

The whole call has a deadline, and the answer a size: a server that trickles, hangs or never stops costs no more than
that (a name server that hangs costs its own time). Nothing is tried again. It blocks: it has a loop of its own and is
not to be called from one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

from edge.errors import ConfigError
from server.config import Draft

ANSWER_MOST = 1 << 20  # bytes
_SHOWN = 80  # characters of what a server says of its error
Json = dict[str, Any]


class Fallback(Exception):  # noqa: N818  (an outcome that is provided for: the template does)
    """Why no answer of a model can be used: "timeout", "HTTP 500", "invalid JSON", ..."""

    @property
    def reason(self) -> str:
        return str(self)


class Picture(NamedTuple):
    """A key frame, and what the question calls it."""

    name: str
    jpeg: bytes


class Message(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    message: Message
    finish_reason: str | None = None


class Completion(msgspec.Struct):
    """Of an answer, what we read; there is more in it."""

    choices: list[Choice]


class Endpoint:
    """Raises ConfigError for a key or certificates that cannot be read."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.model = draft.model
        self._headers = {"Accept-Encoding": "identity"}
        key_read = False
        try:
            if draft.key_file:
                self._headers["Authorization"] = f"Bearer {Path(draft.key_file).read_text(encoding='ascii').strip()}"
            key_read = True
            self._tls = ssl.create_default_context(cafile=draft.ca or None)
        except (OSError, ValueError) as exc:
            raise ConfigError(f"draft.{'ca' if key_read else 'key_file'}: {exc}") from exc

    @property
    def frames_most(self) -> int:
        return self._draft.frames_most

    def ask(self, system: str, text: str, pictures: Sequence[Picture], schema: Json) -> Any:
        """The answer's JSON, of no form yet. Raises Fallback."""
        body = json.dumps(self._body(system, text, pictures, schema)).encode()
        try:
            content = asyncio.run(asyncio.wait_for(self._post(body), self._draft.timeout_s))
        except (TimeoutError, asyncio.TimeoutError, httpx.TimeoutException) as exc:
            raise Fallback("timeout") from exc
        except httpx.ConnectError as exc:
            raise Fallback("not reached") from exc
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as exc:
            raise Fallback(f"connection lost: {type(exc).__name__}") from exc
        return _json(_text(content))

    def _body(self, system: str, text: str, pictures: Sequence[Picture], schema: Json) -> Json:
        parts: list[Json] = [{"type": "text", "text": text}]
        for picture in pictures[: self.frames_most]:
            url = f"data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}"
            parts += [{"type": "text", "text": picture.name}, {"type": "image_url", "image_url": {"url": url}}]
        return {
            "model": self.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": parts}],
            "temperature": 0,
            "max_tokens": self._draft.tokens_most,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "sentences", "strict": True, "schema": schema},
            },
        }

    async def _post(self, body: bytes) -> bytes:
        """No proxy of the environment's: pictures go to that server and nowhere else."""
        headers = self._headers | {"Content-Type": "application/json"}
        async with (
            httpx.AsyncClient(verify=self._tls, timeout=self._draft.timeout_s, trust_env=False) as client,
            client.stream("POST", f"{self._draft.url}/chat/completions", content=body, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                raise Fallback(f"HTTP {answer.status_code}")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise Fallback("compressed answer")
            content = b""
            async for part in answer.aiter_raw():
                content += part
                if len(content) > ANSWER_MOST:
                    raise Fallback("answer too large")
            return content


def _text(content: bytes) -> str:
    """What the model said. Raises Fallback."""
    try:
        completion = msgspec.json.decode(content, type=Completion)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise Fallback("no completion") from exc
    if not completion.choices:
        raise Fallback("empty")
    choice = completion.choices[0]
    if choice.finish_reason != "stop":
        raise Fallback(f"cut off: {str(choice.finish_reason)[:_SHOWN]}")
    if not (choice.message.content or "").strip():
        raise Fallback("empty")
    return choice.message.content or ""


def _json(text: str) -> Any:
    """With line ends inside strings, as models write them."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError) as exc:
        raise Fallback("invalid JSON") from exc


def schema(sections: Mapping[str, int], ids: Sequence[str]) -> Json:
    """So many sentences a section at most, each citing facts.

    `maxLength` breaks constrained decoding in xgrammar, and a pattern that lets a quotation mark pass breaks
    llama.cpp's: hence a pattern of the signs that a sentence may have.
    """
    sentence = {
        "type": "object",
        "properties": {
            "cites": {"type": "array", "items": {"enum": list(ids)}, "minItems": 1, "maxItems": max(1, len(ids))},
            "text": {"type": "string", "pattern": "^[A-Za-z0-9ÄÖÜäöüß“”„ ,.;:()%'-]{1,300}$"},
        },
        "required": ["cites", "text"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {name: {"type": "array", "items": sentence, "maxItems": most} for name, most in sections.items()},
        "required": list(sections),
        "additionalProperties": False,
    }
