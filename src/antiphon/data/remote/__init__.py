"""Data files at URLs of fsspec: reading.py reads one, retrying.py goes on after broken connections,
cache.py stores copies."""
