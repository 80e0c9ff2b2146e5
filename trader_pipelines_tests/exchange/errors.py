"""Refusals with a body, as each venue words them."""

import json
from typing import Any

from aiohttp import web


class VenueError(Exception):
    """Ends a request with a status, a JSON body and headers."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = headers or {}

    def response(self) -> web.Response:
        """The answer itself."""
        return web.Response(
            status=self.status,
            body=json.dumps(self.body).encode(),
            content_type="application/json",
            headers=self.headers,
        )


def binance(status: int, code: int, message: str, **headers: str) -> VenueError:
    """Binance's ``{"code", "msg"}``."""
    return VenueError(status, {"code": code, "msg": message}, headers)


def alpaca(status: int, message: str) -> VenueError:
    """Alpaca's ``{"message"}``."""
    return VenueError(status, {"message": message})


#: What a venue says with a status when nothing more fitting is known.
BINANCE_WORDS = {
    500: (-1000, "An unknown error occurred while processing the request."),
    502: (-1001, "Internal error; unable to process your request. Please try again."),
    503: (
        -1008,
        "Server is currently overloaded with other requests. Please try again in a few minutes.",
    ),
    504: (
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; execution status"
        " unknown.",
    ),
    451: (0, "Service unavailable from a restricted location."),
}
ALPACA_WORDS = {
    401: "unauthorized",
    403: "forbidden.",
    429: "too many requests.",
    500: "internal server error",
}
BLOCKED = b"<HTML><HEAD><TITLE>ERROR: The request could not be satisfied</TITLE></HEAD></HTML>"


def failure(endpoint: str, status: int) -> web.Response:
    """The answer of a venue in trouble."""
    if status in (403, 502) and endpoint.startswith("binance"):
        return web.Response(status=status, body=BLOCKED, content_type="text/html")
    if endpoint.startswith("binance"):
        code, message = BINANCE_WORDS.get(status, (-1000, "An unknown error occurred."))
        return binance(status, code, message).response()
    if endpoint.startswith("archive"):
        return missing_file(status)
    return alpaca(status, ALPACA_WORDS.get(status, "internal server error")).response()


def missing_file(status: int = 404) -> web.Response:
    """The archive's XML."""
    body = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>"
    return web.Response(status=status, body=body + b"</Error>", content_type="application/xml")
