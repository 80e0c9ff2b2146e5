"""Dagster and nothing else: assets, checks and automation, by stage."""
