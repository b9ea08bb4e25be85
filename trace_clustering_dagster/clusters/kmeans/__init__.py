"""The numeric core: plain functions on arrays. It knows neither Dagster nor ClickHouse."""
