"""One script for each way to run the same search; each prints a JSON line."""
