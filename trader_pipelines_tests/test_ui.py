"""What a person sees: the real webserver over a real instance, in a real browser."""

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trader_pipelines import demo
from trader_pipelines.core.errors import TraderError
from trader_pipelines.platform import Platform
from trader_pipelines_tests.browser import chromium, page, web_ui
from trader_pipelines_tests.tapes import to_csv, write_csv
from trader_pipelines_tests.venues.made_up import DAY, TRADES_OF_DAY

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator["Page"]:
    if (executable := chromium()) is None:
        pytest.skip("no Chromium on the PATH and none could be installed")
    with page(executable) as tab:
        yield tab


def platform(tmp_path: Path, url: str, **overrides: object) -> Platform:
    return Platform({"home": tmp_path, "database_url": url, **overrides})


def test_ui_after_a_run_shows_the_bars_picture(
    tmp_path: Path, database_url: str, browser: "Page"
) -> None:
    here = platform(tmp_path, database_url, synthetic_trades=2_000)
    day = date(2024, 1, 1)
    demo.run(here, demo.plan(here, "synthetic", ("ALPHAUSD",), day, day))
    with web_ui(tmp_path, {"TRADER_HOME": str(tmp_path)}) as address:
        browser.goto(f"{address}/assets/synthetic/bars?view=events")
        browser.get_by_text("[Show Markdown]").last.click(timeout=60_000)
        picture = browser.locator("img[alt=picture]")
        picture.wait_for(timeout=30_000)
        assert picture.evaluate("image => image.naturalWidth") > 300
        browser.goto(f"{address}/assets/synthetic/hot_ticks?view=events")
        browser.get_by_text("ALPHAUSD").first.wait_for(timeout=30_000)
        assert browser.get_by_text("complete").first.is_visible()


def test_ui_after_a_damaged_file_shows_what_where_and_remedy(
    tmp_path: Path, database_url: str, browser: "Page"
) -> None:
    archive = tmp_path / "archive"
    write_csv(archive, "BTCUSDT", DAY, to_csv(TRADES_OF_DAY))
    (zipped,) = archive.rglob("*.zip")
    zipped.write_bytes(zipped.read_bytes()[:-30])
    here = platform(tmp_path, database_url, archive_url=str(archive))
    with pytest.raises(TraderError) as told:
        demo.run(here, demo.plan(here, "binance", ("BTCUSDT",), DAY, DAY))
    run_id = told.value.where.split()[1]
    with web_ui(tmp_path, {"TRADER_HOME": str(tmp_path)}) as address:
        browser.goto(f"{address}/runs")
        browser.get_by_text(run_id).first.click(timeout=60_000)
        browser.get_by_text("View full message").first.click(timeout=60_000)
        browser.get_by_text("remedy").first.wait_for(timeout=30_000)
        said = browser.content()
    assert zipped.name in said
    assert "ChecksumError" in said


def test_ui_over_nothing_shows_every_venue(tmp_path: Path, browser: "Page") -> None:
    shutil.rmtree(tmp_path / "dagster", ignore_errors=True)
    with demo.open_instance(Platform({"home": tmp_path})):
        pass
    with web_ui(tmp_path, {"TRADER_HOME": str(tmp_path)}) as address:
        # The list draws only the rows that fit.
        browser.set_viewport_size({"width": 1_400, "height": 4_000})
        browser.goto(f"{address}/assets")
        for venue in ("alpaca", "binance", "kraken", "synthetic"):
            browser.get_by_text(venue).first.wait_for(timeout=60_000)
