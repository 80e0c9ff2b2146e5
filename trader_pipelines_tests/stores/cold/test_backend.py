"""Disk and Azure behave alike; Azure is Azurite, with faults between it and the real client."""

import contextlib
import http.client
import os
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

from trader_pipelines.core.errors import (
    ChecksumError,
    MissingDataError,
    SettingsError,
    TraderError,
)
from trader_pipelines.stores.cold.backend import Azure, Backend, Disk, open_backend

ACCOUNT = "devstoreaccount1"
# Azurite's published key.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an Azurite with the container `ticks`."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not there to install Azurite with")
    cache = Path.home() / ".cache" / "trader-azurite-3.35.0"
    program = cache / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["npm", "install", "--silent", "azurite@3.35.0"],
            cwd=cache,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip("npm could not install azurite@3.35.0")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    folder = tmp_path_factory.mktemp("azurite")
    command = [str(program), "--blobPort", str(port), "--location", str(folder), "--silent"]
    process = subprocess.Popen(
        [*command, "--skipApiVersionCheck", "--disableTelemetry"], stdout=subprocess.DEVNULL
    )
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        make_container(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def make_container(port: int) -> None:
    from azure.storage.blob import BlobServiceClient

    address = f"http://127.0.0.1:{port}/{ACCOUNT}"
    BlobServiceClient(address, credential=KEY).create_container("ticks")


def azure(port: int, prefix: str, container: str = "ticks", key: str = KEY) -> Azure:
    options = {
        "account_name": ACCOUNT,
        "account_key": key,
        "endpoint": f"http://127.0.0.1:{port}/{ACCOUNT}",
        "client_options": {"allow_http": True, "timeout": "5s"},
    }
    return Azure(container, prefix, options, seconds=5)


@pytest.fixture(params=["disk", "azure"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "disk":
        return Disk(tmp_path)
    return azure(request.getfixturevalue("azurite"), os.urandom(4).hex())


def test_backend_keeps_files_and_never_overwrites(backend: Backend):
    backend.create("a/b/one.parquet", b"1" * 100_000)
    backend.create("a/two.parquet", b"")
    backend.create("a/b/one.parquet", b"1" * 100_000)
    with pytest.raises(ChecksumError, match=r"a/b/one\.parquet"):
        backend.create("a/b/one.parquet", b"2")
    assert backend.get("a/b/one.parquet") == b"1" * 100_000
    assert backend.get("a/two.parquet") == b""
    assert backend.names() == ["a/b/one.parquet", "a/two.parquet"]
    assert backend.names("a/b") == ["a/b/one.parquet"]
    for _ in range(2):
        backend.remove("a/two.parquet")
    assert backend.names("a") == ["a/b/one.parquet"]
    with pytest.raises(MissingDataError, match=r"a/two\.parquet"):
        backend.get("a/two.parquet")


def test_azure_without_its_container_says_so(azurite: int):
    with pytest.raises(SettingsError, match="no container 'nowhere'"):
        azure(azurite, "", container="nowhere").create("x", b"1")
    with pytest.raises(SettingsError, match="no container 'nowhere'"):
        azure(azurite, "", container="nowhere").get("x")


def test_azure_refusing_the_key_says_so_without_the_key(azurite: int):
    wrong = "A" * 86 + "=="
    with pytest.raises(SettingsError, match="refuses the credentials") as caught:
        azure(azurite, "", key=wrong).get("x")
    assert wrong not in str(caught.value)
    assert wrong not in repr(azure(azurite, "", key=wrong))


@contextlib.contextmanager
def faulty(port: int, faults: list[str | int]) -> Iterator[int]:
    """A proxy that spends one fault a request, then passes on; the port it listens on."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = faults.pop(0) if faults else "none"
            if isinstance(fault, int):
                return self.answer(fault, {}, b"")
            if fault == "cut before":
                return self.cut()
            there = http.client.HTTPConnection("127.0.0.1", port)
            there.request(self.command, self.path, body, dict(self.headers))
            told = there.getresponse()
            content = told.read()
            if fault == "cut after":
                return self.cut()
            return self.answer(told.status, dict(told.getheaders()), content)

        def answer(self, status: int, headers: dict[str, Any], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                    self.send_header(name, value)
            length = headers.get("content-length", headers.get("Content-Length"))
            own = self.command != "HEAD" or length is None
            self.send_header("Content-Length", str(len(content)) if own else str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def cut(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *arguments: object) -> None:
            pass

        do_GET = do_PUT = do_DELETE = do_HEAD = pass_on  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "faults", [[429], [503, 503], ["cut before"], ["cut after"], [503, "cut after"]], ids=str
)
def test_azure_faults_that_pass_leave_one_whole_file(azurite: int, faults: list[str | int]):
    prefix = os.urandom(4).hex()
    with faulty(azurite, faults) as port:
        store = azure(port, prefix)
        for _ in range(2):  # the second as its caller would, told to retry
            with contextlib.suppress(TraderError):
                store.create("day.parquet", b"x" * 1_000)
    assert azure(azurite, prefix).names() == ["day.parquet"]
    assert azure(azurite, prefix).get("day.parquet") == b"x" * 1_000
    assert faults == []


@pytest.mark.parametrize("status", [409, 412])
def test_azure_conflict_with_another_content_is_refused(azurite: int, status: int):
    prefix = os.urandom(4).hex()
    azure(azurite, prefix).create("day.parquet", b"first")
    with faulty(azurite, [status]) as port, pytest.raises(ChecksumError, match=r"day\.parquet"):
        azure(port, prefix).create("day.parquet", b"second")
    assert azure(azurite, prefix).get("day.parquet") == b"first"


def test_azure_that_stays_away_is_worth_a_retry(azurite: int):
    with faulty(azurite, [503] * 1_000) as port, pytest.raises(TraderError) as caught:
        azure(port, "p").create("day.parquet", b"x")
    assert caught.value.retry
    assert "az://ticks/p/day.parquet" in caught.value.where


@pytest.mark.parametrize("url", ["s3://bucket", "az://", "file://host/x"])
def test_address_of_no_store_is_refused(url: str):
    with pytest.raises(SettingsError, match="TRADER_COLD_URL"):
        open_backend(url)


def test_addresses_open_their_stores(tmp_path: Path):
    assert open_backend(str(tmp_path)) == Disk(tmp_path)
    assert open_backend(f"file://{tmp_path}") == Disk(tmp_path)
    assert open_backend("az://ticks/a/b") == Azure("ticks", "a/b")
    assert open_backend("az://ticks") == Azure("ticks", "")
