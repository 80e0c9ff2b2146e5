"""Pure functions on polars frames and small value types: no I/O, no Dagster."""
