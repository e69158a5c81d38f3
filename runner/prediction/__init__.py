"""Predictions of saved models for new rows, from files or from Python."""
