"""Where the jobs of a sweep run: a file for each place, and what all of them share."""
