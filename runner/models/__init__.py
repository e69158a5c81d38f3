"""Model factories: plain functions that return Keras models."""
