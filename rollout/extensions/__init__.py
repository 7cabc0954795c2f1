"""Extension by other packages: registries filled by entry points, and settings selected from them by name."""
