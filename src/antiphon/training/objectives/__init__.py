"""Losses beside cross-entropy: distillation and R-Drop."""
