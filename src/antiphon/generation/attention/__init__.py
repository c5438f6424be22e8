"""Attention maps of a model on a pair of texts."""
