"""The training set: sequences, plans of steps, and the reader of their batches."""
