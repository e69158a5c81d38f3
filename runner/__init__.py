"""Config-driven experiment runner for hyper-parameter tuning."""

__version__ = "0.1.0"
