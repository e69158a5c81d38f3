"""Verbs that look at runs without training anything, and without its heavy imports."""
