"""Distinct titles and descriptions for groups of texts, with a language model or without."""
