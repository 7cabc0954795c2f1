"""The recipe: settings, loading and error messages."""
