"""From the command line to a checked, typed experiment configuration."""
