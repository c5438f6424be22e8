"""Logging and display of a run: metrics, samples, live displays."""
