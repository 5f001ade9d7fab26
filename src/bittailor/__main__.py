"""`python -m bittailor` is the command line."""

from bittailor.cli.main import main

main()
