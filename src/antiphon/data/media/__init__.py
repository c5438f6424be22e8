"""Images and sound as data: references.py names files, archives.py reads folders and tar archives, rows.py makes
examples of them, loaders.py loads these beside the training."""
