"""Trajectories to sequences, batches, losses and a checkpoint. Blind to methods and to how data was collected."""
