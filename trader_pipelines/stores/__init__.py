"""Where things are kept: Postgres, Parquet, the model registry."""
