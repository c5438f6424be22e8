"""Training objectives other than plain cross-entropy: distillation and R-Drop."""
