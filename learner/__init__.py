"""The learner: turns trajectories into training sequences, batches, losses and a checkpoint.

It knows neither the distillation method nor how the data was collected.
"""
