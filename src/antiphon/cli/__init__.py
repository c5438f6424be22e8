"""The command line: one file a command, its fields the flags (`command.py`); `main.py` chooses, `flags.py` reads."""
