"""The command line: one file a command, whose fields are its flags. `main.py` dispatches, `flags.py` parses."""
