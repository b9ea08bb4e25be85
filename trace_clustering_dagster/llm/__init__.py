"""One chat model within a budget, and what must be kept from it."""
