"""Read forms with files, whatever way their clients spell the names of files."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.formparsers import MultiPartException, MultiPartParser

MULTIPART = "multipart/form-data"

FIELDS = "steradian.fields"
"""Under which the names of a form's fields are kept with the request, for messages."""

ENCODINGS = {"iso-8859-1": "iso-8859-1", "us-ascii": "ascii", "windows-1252": "cp1252"}
"""Encodings besides UTF-8, in which clients spell names; Python knows others that decode to no text."""

EXTENDED = re.compile(rb";\s*filename\*\s*=\s*\"?([\w-]+)'[\w-]*'([^;\"\s]+)\"?", re.IGNORECASE)
"""The file name in another spelling, as in ``filename*=UTF-8''caf%C3%A9.png`` (RFC 8187)."""


class FormRoute(APIRoute):
    """A route that takes a part with ``filename*`` alone, as older clients send it, for a file and not for a text."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_form(request: Request) -> Response:
            if request.headers.get("content-type", "").lower().startswith(MULTIPART):
                try:
                    # FastAPI takes a form that was read already as it is.
                    request._form = form = await _Parser(request.headers, request.stream()).parse()
                    request.scope[FIELDS] = list(dict.fromkeys(form))
                except MultiPartException as error:
                    raise HTTPException(400, f"This form cannot be read: {error.message}") from error
            return await answer(request)

        return answer_form


class _Parser(MultiPartParser):
    def on_headers_finished(self) -> None:
        header = self._current_part.content_disposition
        self._current_part.content_disposition = with_plain_name(header) if header is not None else None
        super().on_headers_finished()


def with_plain_name(disposition: bytes) -> bytes:
    """Return a Content-Disposition header whose ``filename*``, if it has one, is its ``filename``, too."""
    found = EXTENDED.search(disposition)
    if found is None:
        return disposition
    content = unquote_to_bytes(found[2])
    encoding = ENCODINGS.get(found[1].decode().lower(), "utf-8")
    name = content.decode(encoding, "backslashreplace")
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
    return disposition + f'; filename="{quoted}"'.encode()
