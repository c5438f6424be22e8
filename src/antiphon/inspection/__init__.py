"""What is in the data of a recipe: counts, lengths, and faults with examples and the filters that remove them.

scan.py reads a data set once, in chunks, with the functions that the filters of a recipe use (data/checks); repeats.py
finds duplicates on disk; report.py is the result, which terminal.py and page.py show.
"""
