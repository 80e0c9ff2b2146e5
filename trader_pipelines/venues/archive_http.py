"""Files of an archive over http(s): bounded, retried, and without a secret in any message."""

from collections.abc import Sequence
from urllib.parse import quote, unquote, urlsplit

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from trader_pipelines.core.errors import VenueUnreachableError
from trader_pipelines.venues.archive_place import (
    MAX_ZIP_BYTES,
    safe_location,
    too_large,
)
from trader_pipelines.venues.patience import Patience

_REMEDY = (
    "check the network and the archive's address, try again later, or give a folder that holds "
    "the same files"
)


class _BusyError(Exception):
    """The server cannot answer now and may later."""


def get_files(base: str, paths: Sequence[str], patience: Patience) -> list[bytes | None]:
    """Read files below an http(s) base whole; None stands for one that is not there (404).

    Server errors (5xx), throttling (429), failed connections and bodies that break off are tried
    again, `patience.attempts` times in all.

    Raises
    ------
    VenueUnreachableError
        When the last try failed too, or the server refuses.
    DamagedFileError
        When a body is larger than any file that was ever published.
    """
    parts = urlsplit(base)
    auth = (unquote(parts.username or ""), unquote(parts.password or ""))
    with httpx.Client(
        auth=auth if any(auth) else None,
        timeout=patience.timeout,
        headers={"Accept-Encoding": "identity"},  # the file's own bytes, and their length
    ) as client:
        return [
            _get(client, safe_location(base, quote(path)), parts.query, patience) for path in paths
        ]


def _get(client: httpx.Client, url: str, query: str, patience: Patience) -> bytes | None:
    retrying = Retrying(
        stop=stop_after_attempt(patience.attempts),
        wait=wait_random_exponential(multiplier=0.5, max=patience.longest_wait),
        retry=retry_if_exception_type((httpx.TransportError, _BusyError)),
        reraise=True,
    )
    try:
        return retrying(_get_once, client, url, query)
    except (httpx.TransportError, _BusyError) as error:
        raise VenueUnreachableError(
            f"the archive does not give the file, {patience.attempts} times: "
            f"{error or type(error).__name__}",
            where=url,
            remedy=_REMEDY,
            retry=True,
        ) from error


def _get_once(client: httpx.Client, url: str, query: str) -> bytes | None:
    # httpx logs the URLs of its requests. A query may be a signature, so it is not part of the URL
    # but only of what is sent: https://www.python-httpx.org/advanced/extensions/#target
    target = httpx.URL(url).raw_path + (b"?" + query.encode() if query else b"")
    with client.stream("GET", url, extensions={"target": target}) as answer:
        status = answer.status_code
        if status == httpx.codes.NOT_FOUND:
            return None
        if status == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
            raise _BusyError(f"it answers {status} {answer.reason_phrase}")
        if status != httpx.codes.OK:
            raise VenueUnreachableError(
                f"the archive refuses the file: it answers {status} {answer.reason_phrase}",
                where=url,
                remedy="check the archive's address and the user, password or query in it",
            )
        content = bytearray()
        for chunk in answer.iter_raw():
            content += chunk
            if len(content) > MAX_ZIP_BYTES:
                raise too_large(len(content), MAX_ZIP_BYTES, url)
        return bytes(content)
