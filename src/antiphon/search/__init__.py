"""Greedy, beam and sampling search over the next-token probabilities of a network."""
