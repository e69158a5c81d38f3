"""Verbs that use runs without training anything; those that look at them import nothing heavy."""
