"""The generated tables and figures of docs/, one file per subject; `make_tables.py` writes them."""
