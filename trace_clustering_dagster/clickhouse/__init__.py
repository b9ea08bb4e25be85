"""ClickHouse: one resource for a server or the embedded engine, and every query there is."""
