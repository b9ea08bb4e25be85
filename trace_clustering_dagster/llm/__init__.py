"""One chat model within a budget, and what must not reach it."""
