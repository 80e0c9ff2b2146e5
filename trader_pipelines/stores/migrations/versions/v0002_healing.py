"""Healing: days that got rows after they were certified, and outages with their evidence."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REOPENED = """
create table reopened (
    venue text not null,
    symbol text not null,
    day date not null,
    reason text not null,
    at timestamptz not null default now(),
    primary key (venue, symbol, day)
)
"""

# `lacks` is the range for a person, and the key: a venue without sequential ids has no range.
OUTAGES = """
create table outages (
    venue text not null,
    symbol text not null,
    day date not null,
    lacks text not null,
    first_id int8,
    last_id int8,
    evidence jsonb not null,
    opened_at timestamptz not null,
    asked_at timestamptz not null,
    closed_at timestamptz,
    primary key (venue, symbol, day, lacks)
)
"""

# What has changed since a revision is asked every half minute.
BY_REVISION = "create index datasets_by_revision on datasets (venue, revision)"


def upgrade() -> None:
    op.execute(REOPENED)
    op.execute(OUTAGES)
    op.execute(BY_REVISION)
