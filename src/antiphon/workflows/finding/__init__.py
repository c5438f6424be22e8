"""What a recipe should have: a learning rate (find_lr.py), a batch size (find_batch.py). Both train some steps."""
