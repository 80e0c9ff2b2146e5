"""Azure: the real client against Azurite, with faults between them, bad keys, leases and tokens."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trader_pipelines.core.errors import ChecksumError, SettingsError, TraderError
from trader_pipelines.platform import Platform
from trader_pipelines.stores.cold.azure import Azure
from trader_pipelines_tests.stores.cold.azurite import (
    ACCOUNT,
    CONTAINER,
    KEY,
    Fault,
    Faults,
    azure,
    environment,
    faulty,
    service,
)

OLD, NEW = b"old" * 50_000, b"new" * 50_000

#: Each operation on a store that holds OLD as `day`, and what the store holds afterwards.
OPERATIONS: dict[str, tuple[Callable[[Azure], object], object, dict[str, bytes]]] = {
    "create": (lambda s: s.create("other", NEW), None, {"day": OLD, "other": NEW}),
    "replace": (lambda s: s.replace("day", NEW), None, {"day": NEW}),
    "get": (lambda s: s.get("day"), OLD, {"day": OLD}),
    "get_spans": (
        lambda s: s.get_spans("day", [(1, 9), (140_001, 140_009)]),
        [OLD[1:9], OLD[140_001:140_009]],
        {"day": OLD},
    ),
    "names": (lambda s: s.names(), ["day"], {"day": OLD}),
    "remove": (lambda s: s.remove("day"), None, {}),
}

PASSING: list[list[Fault]] = [
    [429], [503], ["cut before"], ["cut after"], ["cut before", 500],
]  # fmt: skip
#: Faults that the client cannot get over by itself: it is told, and is worth another try.
TOLD: list[list[Fault]] = [[409], [412], [503] * 3, ["cut before"] * 3]


def held(store: Azure) -> dict[str, bytes]:
    return {name: store.get(name) for name in store.names()}


@pytest.mark.parametrize("faults", PASSING, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_azure_fault_that_passes_is_not_noticed(azurite: int, operation: str, faults: list[Fault]):
    act, answer, after = OPERATIONS[operation]
    direct = azure(azurite, os.urandom(4).hex())
    direct.create("day", OLD)
    injected = Faults(list(faults))
    with faulty(azurite, injected) as port:
        assert act(azure(port, direct.prefix)) == answer
    assert injected.queue == []
    assert held(direct) == after


@pytest.mark.parametrize("faults", TOLD, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_azure_fault_that_stays_is_told_and_the_next_try_succeeds_once(
    azurite: int, operation: str, faults: list[Fault]
):
    act, answer, after = OPERATIONS[operation]
    direct = azure(azurite, os.urandom(4).hex())
    direct.create("day", OLD)
    # The two requests of `get_spans` run at once: each gets its share of the faults.
    injected = Faults(faults * (2 if operation == "get_spans" else 1))
    with faulty(azurite, injected) as port:
        store = azure(port, direct.prefix, retries=2)
        with pytest.raises(TraderError) as caught:
            act(store)
        assert caught.value.retry
        assert f"az://{CONTAINER}/{direct.prefix}" in caught.value.where
        assert held(direct) == {"day": OLD}
        injected.queue.clear()
        assert act(store) == answer
    assert held(direct) == after


@pytest.mark.parametrize("operation", ["get", "get_spans"])
def test_azure_answer_cut_in_its_body_is_fetched_again(azurite: int, operation: str):
    act, answer, _ = OPERATIONS[operation]
    direct = azure(azurite, os.urandom(4).hex())
    direct.create("day", OLD)
    injected = Faults(["cut in body", "cut in body"])
    with faulty(azurite, injected) as port:
        assert act(azure(port, direct.prefix)) == answer
    assert injected.queue == []


def test_azure_list_cut_in_its_body_is_never_a_shorter_list(azurite: int):
    direct = azure(azurite, os.urandom(4).hex())
    names = [f"day={n:02}" for n in range(20)]
    for name in names:
        direct.create(name, b"")
    with faulty(azurite, Faults(["cut in body"])) as port:
        store = azure(port, direct.prefix)
        with pytest.raises(TraderError) as caught:
            store.names()
        assert caught.value.retry
        assert store.names() == names


@pytest.mark.parametrize("status", [409, 412])
def test_azure_conflict_with_another_content_is_refused(azurite: int, status: int):
    direct = azure(azurite, os.urandom(4).hex())
    direct.create("day", OLD)
    with faulty(azurite, Faults([status])) as port, pytest.raises(ChecksumError, match="day"):
        azure(port, direct.prefix).create("day", NEW)
    assert held(direct) == {"day": OLD}


def test_azure_writers_of_one_name_at_once_leave_the_first(azurite: int):
    store = azure(azurite, os.urandom(4).hex())
    refused: list[bytes] = []

    def write(content: bytes) -> None:
        try:
            store.create("day", content)
        except ChecksumError:
            refused.append(content)

    contents = [bytes([n]) * 1_000 for n in range(8)]
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted([*refused, store.get("day")]) == contents


def test_azure_leased_blob_is_neither_replaced_nor_removed_until_released(azurite: int):
    store = azure(azurite, os.urandom(4).hex())
    store.create("day", OLD)
    blob = service(azurite).get_blob_client(CONTAINER, f"{store.prefix}/day")
    lease = blob.acquire_lease(60)
    for operation in ("replace", "remove"):
        with pytest.raises(TraderError, match="holds a lease") as caught:
            OPERATIONS[operation][0](store)
        assert (caught.value.retry, caught.value.where) == (True, store.where("day"))
    store.create("day", OLD)
    assert held(store) == {"day": OLD}
    lease.release()
    store.replace("day", NEW)
    store.remove("day")
    assert held(store) == {}


@pytest.mark.parametrize("operation", [*OPERATIONS, "present"])
def test_azure_without_its_container_says_so(azurite: int, operation: str):
    nowhere = azure(azurite, "p", container="nowhere")
    with pytest.raises(SettingsError, match="no container 'nowhere'") as caught:
        nowhere.present() if operation == "present" else OPERATIONS[operation][0](nowhere)
    assert caught.value.where == "az://nowhere/p"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_azure_refusing_the_key_says_so_without_the_key(azurite: int, operation: str):
    wrong = "A" * 86 + "=="
    store = azure(azurite, "p", account_key=wrong)
    with pytest.raises(SettingsError, match="refuses the credentials") as caught:
        OPERATIONS[operation][0](store)
    assert wrong not in str(caught.value) + repr(store)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def signature(hours: int, permission: str) -> str:
    from azure.storage.blob import generate_container_sas

    expiry = datetime.now(UTC) + timedelta(hours=hours)
    return generate_container_sas(
        ACCOUNT, CONTAINER, account_key=KEY, permission=permission, expiry=expiry
    )


def test_azure_with_a_signature_works_for_what_it_allows(azurite: int):
    prefix = os.urandom(4).hex()
    store = azure(azurite, prefix, sas_token=signature(1, "rwdl"))
    store.create("day", OLD)
    assert held(store) == {"day": OLD}
    read = azure(azurite, prefix, sas_token=signature(1, "rl"))
    assert held(read) == {"day": OLD}
    token = signature(1, "rl")
    for refused in (read, azure(azurite, prefix, sas_token=signature(-1, "rwdl"))):
        with pytest.raises(SettingsError, match="refuses the credentials") as caught:
            refused.create("other", NEW)
        assert "sig=" not in str(caught.value) + repr(refused)
        assert token not in str(caught.value)
    assert held(store) == {"day": OLD}


def test_azure_without_an_account_says_what_to_set(monkeypatch: pytest.MonkeyPatch):
    for name in list(os.environ):
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)
    with pytest.raises(SettingsError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        Azure("ticks").get("day")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "someone")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "not base64 ??")
    with pytest.raises(SettingsError, match="is missing or not one") as caught:
        Azure("ticks").get("day")
    assert "base64" not in str(caught.value)


def test_platform_keeps_cold_files_in_azure_by_the_environment(
    azurite: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    for name, value in environment(azurite).items():
        monkeypatch.setenv(name, value)
    prefix = os.urandom(4).hex()
    monkeypatch.setenv("TRADER_COLD_URL", f"az://{CONTAINER}/{prefix}/cold")
    monkeypatch.setenv("TRADER_HOME", str(tmp_path))
    cold = Platform().cold
    assert cold.present()
    cold.create("a/day", OLD)
    assert held(azure(azurite, prefix)) == {"cold/a/day": OLD}
    assert list(tmp_path.iterdir()) == []
    # The key alone taken away, a signature in its place.
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", signature(1, "rl"))
    assert Platform().cold.get("a/day") == OLD


@contextmanager
def tokens(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """A server that hands out a token as a managed identity does, and a blob to its bearer."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path.partition("?")[0])
            token = {
                "access_token": "its-token",
                "token_type": "Bearer",
                "expires_on": "4102444800",
            }
            if self.path.startswith("/identity"):
                return self.answer(200, json.dumps(token).encode())
            bearer = self.headers.get("Authorization") == "Bearer its-token"
            return self.answer(200 if bearer else 403, content if bearer else b"")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        server.server_close()


def test_azure_without_key_and_signature_asks_the_managed_identity(
    monkeypatch: pytest.MonkeyPatch,
):
    for name in list(os.environ):
        if name.startswith(("AZURE_", "IDENTITY_", "MSI_")):
            monkeypatch.delenv(name)
    with tokens(OLD) as (port, asked):
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"http://127.0.0.1:{port}/identity")
        monkeypatch.setenv("AZURE_ENDPOINT", f"http://127.0.0.1:{port}/{ACCOUNT}")
        monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
        store = Azure("ticks", seconds=5)
        assert store.get("day") == OLD
        assert store.get("day") == OLD
    assert asked == ["/identity", *[f"/{ACCOUNT}/ticks/day"] * 2]


@pytest.mark.parametrize("url", ["az://", "az:///", "az://ticks?sig=its-secret"])
def test_address_that_is_none_or_holds_a_signature_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str
):
    monkeypatch.setenv("TRADER_COLD_URL", url)
    with pytest.raises(SettingsError, match="TRADER_COLD_URL") as caught:
        Platform().settings  # noqa: B018
    assert "its-secret" not in str(caught.value)


def test_folder_of_an_azure_store_is_not_made_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRADER_COLD_URL", "az://ticks/a")
    assert Platform().cold == Azure("ticks", "a")
    with pytest.raises(SettingsError, match="do not lie in a folder"):
        Platform().settings.cold_root  # noqa: B018
