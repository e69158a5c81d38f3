"""Searches: the space they draw from, and the objects that do the drawing."""
