"""Titles and descriptions for clusters, with a language model or without."""
