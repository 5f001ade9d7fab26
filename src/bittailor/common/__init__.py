"""What every package uses: tables of names, files, the cache of downloads, processors, and data."""
