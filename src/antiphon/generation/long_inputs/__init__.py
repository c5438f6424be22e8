"""Sources longer than the model reads: cut into parts, each with its task prefix, and the answers joined."""
