"""History: what was certified before, the cold files of it, and hashes of a file's parts."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Null: the file is older than these hashes and is checked whole.
SEALS = "alter table datasets add column seals text"

CERTIFICATE_HISTORY = """
create table certificate_history (
    venue text not null,
    symbol text not null,
    day date not null,
    revision int8 not null,
    status text not null,
    count int8 not null,
    content_hash text not null,
    source text not null,
    ts_ingest timestamptz not null,
    primary key (venue, symbol, day, revision)
)
"""

DATASET_HISTORY = """
create table dataset_history (
    dataset text not null,
    venue text not null,
    symbol text not null,
    day date not null,
    content_hash text not null,
    path text not null,
    rows int8 not null,
    bytes int8 not null,
    sha256 text not null,
    seals text,
    schema_version int4 not null,
    superseded_at timestamptz not null default clock_timestamp(),
    primary key (dataset, venue, symbol, day, content_hash)
)
"""


def upgrade() -> None:
    op.execute(SEALS)
    op.execute(CERTIFICATE_HISTORY)
    op.execute(DATASET_HISTORY)
