"""Where batches come from: the plan of steps, and reading them ahead."""
