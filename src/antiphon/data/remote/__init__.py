"""Data files at URLs of fsspec: reading.py reads one, retrying.py survives broken connections, cache.py keeps copies."""
