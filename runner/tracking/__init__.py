"""Logging runs elsewhere: what a run's folder says, in MLflow or as TensorBoard's event files."""
