"""Fits on other processes than this machine's loky workers: clusters of dask and of ray."""
