"""Models of families that transformers computes (extra `hf`)."""
