"""Processes that read, filter and tokenize beside the training: reader_pool.py is on its side, process.py on theirs."""
