"""Filters for faults of texts: wrong languages, copies, broken encodings, numbers, overlap with held-out data."""
