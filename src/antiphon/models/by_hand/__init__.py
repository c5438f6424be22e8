"""Networks that were put together in Python, or taken from torch.nn, as configurations that can be saved."""
