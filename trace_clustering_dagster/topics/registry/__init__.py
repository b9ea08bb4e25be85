"""The registry of a team's topics: births, deaths, splits and mergers, and who belongs where.

Arrays only. Figures that docstrings call measured come from benchmarks/topics.py: replays of
labeled traces with planted births and deaths, one run per day.
"""
