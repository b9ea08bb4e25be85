"""Benchmarks, one module each. Each writes its own section of RESULTS.md."""
