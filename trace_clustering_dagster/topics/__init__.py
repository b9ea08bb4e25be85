"""Topics that keep their identity from day to day."""
