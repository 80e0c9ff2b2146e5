"""The conformance suite on every venue there is."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.archive import BinanceArchive
from trader_pipelines.venues.synthetic import Synthetic
from trader_pipelines_tests import tapes
from trader_pipelines_tests.venues import made_up
from trader_pipelines_tests.venues.conformance import Case, VenueConformance
from trader_pipelines_tests.venues.server import serving


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    tapes.write_csv(tmp_path, "BTCUSDT", made_up.DAY, tapes.to_csv(made_up.TRADES_OF_DAY))
    tapes.write_csv(tmp_path, "BTCUSDT", made_up.NEXT_DAY, tapes.to_csv(made_up.TRADES_OF_NEXT_DAY))
    return tmp_path


def archive_case(base: str, secrets: tuple[str, ...] = ()) -> Case:
    return Case(
        build=lambda today: BinanceArchive(base, today=today, patience=made_up.QUICK),
        instrument=tapes.INSTRUMENTS["BTCUSDT"],
        days=(made_up.DAY, made_up.NEXT_DAY),
        synthetic=False,
        secrets=secrets,
    )


class TestArchiveInFolder(VenueConformance):
    @pytest.fixture
    def case(self, archive: Path) -> Case:
        return archive_case(str(archive))


class TestArchiveAtFileUrl(VenueConformance):
    @pytest.fixture
    def case(self, archive: Path) -> Case:
        return archive_case(archive.as_uri())


class TestArchiveOverHttp(VenueConformance):
    @pytest.fixture
    def case(self, archive: Path) -> Iterator[Case]:
        with serving(archive) as server:
            yield archive_case(server.with_secrets(), secrets=("alice", "s3cr3t", "t0k3n"))


class TestSynthetic(VenueConformance):
    @pytest.fixture(params=["0.01", "0.05", "1"], ids=lambda tick: f"tick {tick}")
    def case(self, request: pytest.FixtureRequest) -> Case:
        tick = Decimal(request.param)
        instrument = Instrument("synthetic", "MADEUP", tick, Decimal("0.001"), date(2024, 1, 1))
        return Case(
            build=lambda today: Synthetic(7, 0.3, 2_000, today=today),
            instrument=instrument,
            days=(date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)),
            synthetic=True,
        )


class TestSyntheticWithOneTradeADay(VenueConformance):
    @pytest.fixture
    def case(self) -> Case:
        instrument = Instrument("quiet", "Q", Decimal("0.01"), Decimal(1), date(2024, 1, 1))
        return Case(
            build=lambda today: Synthetic(1, 0.0, 1, name="quiet", today=today),
            instrument=instrument,
            days=(date(2024, 1, 1), date(2024, 1, 2)),
            synthetic=True,
        )
