"""Tasks, environments, prompts, engines, the episode loop, the trajectory record and its store."""
