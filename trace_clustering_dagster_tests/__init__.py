"""Tests, through the public surface: ``dagster.materialize``, the command lines, real engines."""
