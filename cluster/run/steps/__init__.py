"""The steps of a run, one file each: planned from the recipe, executed by the driver."""
