"""What the documentation site needs beside Sphinx; docs/conf.py registers it."""
