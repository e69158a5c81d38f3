"""Training Keras models fast: whole epochs in one graph, compiled models used again."""
