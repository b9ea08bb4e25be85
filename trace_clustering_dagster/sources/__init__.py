"""Raw traces -> the tables that ``traces/`` reads."""
