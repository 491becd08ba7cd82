"""The defaults of a compression. Nothing is imported here, because `sdk --help` reads it."""

SPARSITY = 0.7  # share of the weights that becomes zero
CLUSTERS = 32  # centroids per layer, zero included
EPOCHS = 30  # of training, at most
