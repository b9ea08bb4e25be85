"""The sample warehouse: synthetic raw traces of three teams, as OpenTelemetry writes them.

It shows a newcomer realistic clusters within a minute, offline, without a server or a key.
"""
