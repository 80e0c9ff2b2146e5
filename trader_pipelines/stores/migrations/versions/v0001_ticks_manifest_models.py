"""The first tables: instruments, hot ticks, the manifest, models and champions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTRUMENTS = """
create table instruments (
    instrument_id int4 generated always as identity primary key,
    venue text not null,
    symbol text not null,
    price_scale int2 not null,
    size_scale int2 not null,
    unique (venue, symbol)
)
"""

# Fixed width and not null throughout: rows travel as binary COPY, read back as one numpy record.
HOT_TICKS = """
create table hot_ticks (
    day date not null,
    instrument_id int4 not null,
    id int8 not null,
    ts_event int8 not null,
    price int8 not null,
    size int8 not null,
    fills int4 not null,
    side int2 not null,
    primary key (day, instrument_id, id)
)
"""

MANIFEST = """
create sequence manifest_revision;

create table certificates (
    venue text not null,
    symbol text not null,
    day date not null,
    status text not null,
    count int8 not null,
    fills int8 not null,
    first_id int8,
    last_id int8,
    missing jsonb not null,
    content_hash text not null,
    source text not null,
    synthetic bool not null,
    reconciled jsonb not null,
    ts_ingest timestamptz not null default now(),
    revision int8 not null default nextval('manifest_revision'),
    primary key (venue, symbol, day)
);
create index certificates_by_revision on certificates (venue, revision);

create table datasets (
    dataset text not null,
    venue text not null,
    symbol text not null,
    day date not null,
    path text not null,
    rows int8 not null,
    bytes int8 not null,
    sha256 text not null,
    content_hash text,
    schema_version int4 not null,
    code_version text not null,
    status text not null,
    synthetic bool not null,
    inputs jsonb not null,
    metadata jsonb not null,
    written_at timestamptz not null default now(),
    revision int8 not null default nextval('manifest_revision'),
    primary key (dataset, venue, symbol, day)
);
"""

MODELS = """
create table models (
    version text primary key,
    venue text not null,
    week date not null,
    snapshot_hash text not null,
    feature_version text not null,
    params jsonb not null,
    scores jsonb not null,
    path text not null,
    file_sha256 text not null,
    status text not null,
    synthetic bool not null,
    created_at timestamptz not null default now()
);

create table champions (
    venue text not null,
    week date not null,
    version text references models,
    reason text not null,
    decision jsonb not null,
    decided_at timestamptz not null default now(),
    primary key (venue, week)
);
"""


def upgrade() -> None:
    connection = op.get_bind()
    _extension(connection, "vector")
    timescale = _extension(connection, "timescaledb")
    op.execute(INSTRUMENTS)
    if timescale:
        op.execute(HOT_TICKS)
        # No retention policy: those go by the wall clock and would drop historical days at once.
        op.execute(
            "select create_hypertable('hot_ticks', 'day', chunk_time_interval => interval '1 day')"
        )
    else:
        op.execute(f"{HOT_TICKS} partition by range (day)")
    op.execute(MANIFEST)
    op.execute(MODELS)


def _extension(connection: sa.Connection, name: str) -> bool:
    """Create an extension where the server offers it and we may; whether it is there."""
    named = {"name": name}
    there = sa.text("select 1 from pg_extension where extname = :name")
    if connection.execute(there, named).first() is not None:
        return True
    offered = sa.text("select 1 from pg_available_extensions where name = :name")
    if connection.execute(offered, named).first() is None:
        return False
    # Creating a timescaledb that is not preloaded would end the session; its settings show it is.
    loaded = sa.text("select 1 from pg_settings where name like 'timescaledb.%'")
    if name == "timescaledb" and connection.execute(loaded).first() is None:
        return False
    try:
        with connection.begin_nested():
            connection.execute(sa.text(f"create extension {name}"))
    except DBAPIError:
        return False
    return True
