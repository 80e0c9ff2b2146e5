"""Where an archive lies: a folder or an address, told without its secrets."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from trader_pipelines.core.errors import DamagedFileError, SettingsError

MAX_ZIP_BYTES = 1 << 30


def check_base(base: str) -> None:
    """Refuse a base that is neither a folder nor a file, http or https address.

    Raises
    ------
    SettingsError
        Saying which forms there are; the base itself is not repeated, it may hold a password.
    """
    try:
        parts = urlsplit(base)
        by_scheme = {
            "http": bool(parts.hostname) and parts.port != 0,
            "https": bool(parts.hostname) and parts.port != 0,
            "file": parts.hostname in (None, "localhost") and parts.path.startswith("/"),
        }
        # A folder may look like an address: "C:\data" parses as one of scheme "c".
        good = by_scheme.get(parts.scheme, bool(base) and "://" not in base)
    except ValueError:
        good = False
    if not good:
        raise SettingsError(
            "the archive's base is neither a folder nor an address that can be read",
            where="archive base",
            remedy="give a folder, file:///folder, http://host/… or https://host/… that holds "
            "data/spot/daily/aggTrades",
        )


def safe_location(base: str, path: str) -> str:
    """Name a file of the archive without user, password or query of the base."""
    parts = urlsplit(base)
    if parts.scheme in ("http", "https"):
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}/{path}"
    return str(folder(base) / path)


def too_large(size: int, limit: int, where: str) -> DamagedFileError:
    """Build the error for a file or member that claims to be impossibly large."""
    return DamagedFileError(
        f"it claims {size:,} bytes, more than the {limit:,} that a day can have",
        where=where,
        remedy="check where the file came from; it is not a day of Binance's archive",
    )


def folder(base: str) -> Path:
    return Path(unquote(urlsplit(base).path) if base.startswith("file://") else base).expanduser()
