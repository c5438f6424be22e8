"""Model folders, ours and those of published families: reading, writing and checking them."""
