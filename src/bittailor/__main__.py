"""`python -m bittailor` is the command line."""

from bittailor.cli import main

main()
