"""Networks that are built in Python or from torch.nn modules, and their configurations for saving."""
