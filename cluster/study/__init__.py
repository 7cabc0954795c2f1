"""Studies: several arms of a comparison over several seeds."""
