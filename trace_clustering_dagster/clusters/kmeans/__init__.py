"""The numeric core: plain functions on arrays, without Dagster or ClickHouse."""
