"""The README says what is there."""

import re
from pathlib import Path

from trader_pipelines.settings import Settings, variable

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_settings_table_names_every_setting_with_its_meaning() -> None:
    rows = dict(
        re.findall(r"^\| `((?:TRADER|ALPACA)_\w+)` \| .*? \| (.*) \|$", README, re.MULTILINE)
    )
    assert rows == {
        variable(name): field.description for name, field in Settings.model_fields.items()
    }


def test_readme_pictures_are_there() -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_readme_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_locks_carry_hashes_and_no_index_address() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        lock = (ROOT / name).read_text(encoding="utf-8")
        pins = re.findall(r"^[a-z0-9][\w.\-\[\]]*==", lock, re.MULTILINE)
        assert len(pins) > 100
        assert lock.count("--hash=sha256:") >= len(pins)
        assert "://" not in lock
