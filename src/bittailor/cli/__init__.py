"""The command line: `main.py` has the commands, `show.py` what they print, `actions.py` what they do."""
