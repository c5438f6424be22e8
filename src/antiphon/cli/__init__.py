"""The command line: one file a command, whose fields are its flags (`command.py`); `main.py` chooses, `flags.py` reads."""
