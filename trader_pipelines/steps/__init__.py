"""What assets, sensors and commands do, without Dagster: one module a stage."""
