"""Alembic's revisions of our tables; each is one step, from the first to `database.HEAD`."""
