"""The sample warehouse: synthetic traces of three teams, in the layout of the ClickHouse tables.

It shows a newcomer realistic clusters within a minute, offline, without a server or a key.
"""
