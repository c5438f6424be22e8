"""Sound as a source: files, features and augmentations."""
