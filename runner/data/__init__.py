"""Data sets: where they come from, and how test rows are set apart."""
