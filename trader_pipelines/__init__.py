"""Market data and signals for quant teams, on Dagster."""
