"""The sample warehouse: made-up traces of three teams, in the layout of the ClickHouse tables.

It lets a newcomer see real-looking clusters within a minute, offline, without a server or a key.
"""
