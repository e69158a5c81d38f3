"""What a run leaves behind: its directory, statistics, tables and pages."""
