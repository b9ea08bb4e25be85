"""Measurements, one module each; every one writes its section of RESULTS.md."""
