"""The venue `archive`: days from Binance's public data files, in a folder or behind http."""

from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.archive_csv import parse
from trader_pipelines.venues.archive_files import read_files, unzip, verify_checksum
from trader_pipelines.venues.archive_place import check_base, safe_location
from trader_pipelines.venues.base import DayTrades, RangeTrades
from trader_pipelines.venues.days import Today, check_day, utc_today
from trader_pipelines.venues.patience import PATIENCE, Patience

#: Where Binance itself publishes: https://github.com/binance/binance-public-data.
BINANCE_PUBLIC_DATA = "https://data.binance.vision"


@dataclass(frozen=True, slots=True)
class BinanceArchive:
    """Spot aggregate trades as Binance publishes them, one zip and checksum a symbol and day.

    Parameters
    ----------
    base : str
        What holds ``data/spot/daily/aggTrades/…``: a folder, or a ``file://``, ``http://`` or
        ``https://`` address. User, password and query of an address are used and never shown.
    name : str
        The venue's name in the universe.
    today : callable
        Tells the current UTC day.
    patience : Patience
        Time-out and retries of an http base.

    Raises
    ------
    SettingsError
        When `base` is none of these.
    """

    base: str = field(repr=False)
    name: str = "binance"
    today: Today = utc_today
    patience: Patience = PATIENCE
    _latest: dict[tuple[Instrument, date], DayTrades] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_base(self.base)

    @property
    def synthetic(self) -> bool:
        """False: these are real trades."""
        return False

    @property
    def sequential_ids(self) -> bool:
        """True: Binance counts a symbol's aggregate trades by one."""
        return True

    def fetch_day(self, instrument: Instrument, day: date) -> DayTrades:
        """All aggregate trades of one UTC day, after their checksum was found right.

        Parameters
        ----------
        instrument : Instrument
            Of this venue, listed on `day`.
        day : date
            A UTC day that is over.

        Returns
        -------
        DayTrades
            `reconciled` holds ``archive_sha256``, ``archive_rows``, and ``archive_void_ids`` on
            the few days on which Binance declared ids void.

        Raises
        ------
        UnknownSymbolError, DayNotOverError
            When there can be no such day.
        MissingDataError
            When the zip is not there, or its checksum is not.
        DamagedFileError, ChecksumError
            When the zip is not the file that was published, or no zip of one CSV.
        BadTradeError
            When a row cannot be a trade of that instrument and day.
        VenueUnreachableError
            When an http base does not answer, or a folder cannot be read.
        """
        check_day(self.name, instrument, day, self.today)
        path = archive_path(instrument.symbol, day)
        where = safe_location(self.base, path)
        zipped, checksum = read_files(self.base, (path, f"{path}.CHECKSUM"), self.patience)
        if zipped is None:
            raise self._missing(instrument, day, where)
        if checksum is None:
            raise MissingDataError(
                f"{_file(path)} is there but its .CHECKSUM is not, so nothing proves its content",
                where=f"{where}.CHECKSUM",
                remedy="fetch the .CHECKSUM from where the zip came from and put it beside the zip",
            )
        sha256 = verify_checksum(zipped, checksum, name=_file(path), where=where)
        rows = parse(unzip(zipped, where=where), instrument, day, file=where)
        reconciled: dict[str, str | int] = {"archive_sha256": sha256, "archive_rows": rows.count}
        if rows.void_ids:
            reconciled["archive_void_ids"] = ",".join(map(str, rows.void_ids))
        return DayTrades(
            rows.trades,
            source=f"aggTrades archive, {path}",
            reconciled=reconciled,
            void_ids=rows.void_ids,
        )

    def fetch_range(self, instrument: Instrument, day: date, first: int, last: int) -> RangeTrades:
        """What the day's file has of the ids `first` to `last`, both included.

        The file is read once for all ranges of the day that was asked for last.

        Raises
        ------
        TraderError
            As `fetch_day`.
        """
        whole = self._latest.get((instrument, day))
        if whole is None:
            whole = self.fetch_day(instrument, day)
            self._latest.clear()
            self._latest[instrument, day] = whole
        return RangeTrades(
            whole.trades.filter(pl.col("id").is_between(first, last)),
            whole.source,
            tuple(void for void in whole.void_ids if first <= void <= last),
        )

    def _missing(self, instrument: Instrument, day: date, where: str) -> MissingDataError:
        fresh = day >= self.today() - timedelta(days=2)
        return MissingDataError(
            f"the archive has no file for {instrument.symbol} on {day}",
            where=where,
            remedy=(
                "try again later: Binance publishes a day's file some hours after the day closes"
                if fresh
                else "check the symbol, the day and the archive's address; Binance publishes a "
                "day's file some hours after the day closes"
            ),
            retry=fresh,
        )


def archive_path(symbol: str, day: date) -> str:
    """Path of a day's zip below the base, as Binance lays its public data out."""
    return f"data/spot/daily/aggTrades/{symbol}/{symbol}-aggTrades-{day.isoformat()}.zip"


def _file(path: str) -> str:
    return path.rpartition("/")[2]
