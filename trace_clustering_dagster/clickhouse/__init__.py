"""ClickHouse: one connection protocol, for a server and for the embedded engine."""
