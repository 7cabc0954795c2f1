"""The steps of a run, one file each. A step plans itself from the recipe and can be executed by the driver."""
