"""Azure Blob for tests: Azurite in a process of its own, and a proxy that spoils what passes."""

import contextlib
import http.client
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from trader_pipelines.stores.cold.azure import Azure

ACCOUNT = "devstoreaccount1"
# Azurite's published key.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "ticks"
VERSION = "3.35.0"

#: A status to answer with (0: none, the request passes), or where to cut the connection: before Azure has the request, when it
#: has done what was asked, or in the middle of its answer's body.
Fault = int | str


def started(folder: Path) -> Iterator[int]:
    """The port of an Azurite with the container `ticks`, for as long as it is asked for."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not there to install Azurite with")
    cache = Path.home() / ".cache" / f"trader-azurite-{VERSION}"
    program = cache / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--silent", f"azurite@{VERSION}"]
        done = subprocess.run(install, cwd=cache, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"npm could not install azurite@{VERSION}")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [str(program), "--blobPort", str(port), "--location", str(folder), "--silent"]
    process = subprocess.Popen(
        [*command, "--skipApiVersionCheck", "--disableTelemetry"], stdout=subprocess.DEVNULL
    )
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        service(port).create_container(CONTAINER)
        yield port
    finally:
        process.terminate()
        process.wait()


def endpoint(port: int) -> str:
    """Where the account answers."""
    return f"http://127.0.0.1:{port}/{ACCOUNT}"


def service(port: int) -> Any:
    """Azure's own client, for what the store itself never does."""
    from azure.storage.blob import BlobServiceClient

    return BlobServiceClient(endpoint(port), credential=KEY)


def azure(
    port: int, prefix: str, container: str = CONTAINER, retries: int = 8, **credentials: str
) -> Azure:
    """The store under test, below a prefix of its own."""
    options = {
        "account_name": ACCOUNT,
        "endpoint": endpoint(port),
        "client_options": {"allow_http": True, "timeout": "5s"},
        **(credentials or {"account_key": KEY}),
    }
    return Azure(container, prefix, options, seconds=5, retries=retries)


def environment(port: int) -> dict[str, str]:
    """What a user sets to reach it."""
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        "AZURE_ENDPOINT": endpoint(port),
        "AZURE_ALLOW_HTTP": "true",
    }


class Faults:
    """What a proxy does to the requests that come: one fault each, in order, then none.

    Parameters
    ----------
    queue : list
    only : str or None
        Method of the requests meant; others pass. None for all.
    """

    def __init__(self, queue: list[Fault] | None = None, only: str | None = None) -> None:
        self.queue = queue or []
        self.only = only
        self.seen: list[str] = []
        self._lock = threading.Lock()

    def next(self, method: str) -> Fault | None:
        """The fault of a request."""
        with self._lock:
            self.seen.append(method)
            meant = self.queue and self.only in {None, method}
            return self.queue.pop(0) if meant else None


@contextlib.contextmanager
def faulty(port: int, faults: Faults) -> Iterator[int]:
    """A proxy before a port; the port it listens on."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = faults.next(self.command)
            if isinstance(fault, int) and fault:
                return self.answer(fault, {}, b"")
            if fault == "cut before":
                return self.cut()
            there = http.client.HTTPConnection("127.0.0.1", port)
            there.request(self.command, self.path, body, dict(self.headers))
            told = there.getresponse()
            content = told.read()
            if fault == "cut after":
                return self.cut()
            half = len(content) // 2 if fault == "cut in body" else None
            return self.answer(told.status, dict(told.getheaders()), content, half)

        def answer(
            self, status: int, headers: dict[str, Any], content: bytes, upto: int | None = None
        ) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                    self.send_header(name, value)
            length = headers.get("content-length", headers.get("Content-Length"))
            own = self.command != "HEAD" or length is None
            self.send_header("Content-Length", str(len(content)) if own else str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[:upto])
            if upto is not None:
                self.cut()

        def cut(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *arguments: object) -> None:
            pass

        do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = pass_on  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
