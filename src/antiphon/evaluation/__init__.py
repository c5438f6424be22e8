"""How good answers are: metrics (`metrics.py`), their intervals (`bootstrap.py`), a model on pairs (`evaluate.py`)."""
