"""How Alembic runs our revisions: on the connection it is given, in one transaction."""

from alembic import context

# A table of our own: other programs in the same database (Dagster's storage) use Alembic too.
context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
)
with context.begin_transaction():
    context.run_migrations()
