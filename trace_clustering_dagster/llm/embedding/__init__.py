"""Vectors of texts, from a server, in the process, or without a model."""
