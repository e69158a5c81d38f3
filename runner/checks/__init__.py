"""What is checked of a request before anything is trained: the model, and the space."""
