"""How other packages add to the project: registries filled by entry points, and settings chosen among them by name."""
