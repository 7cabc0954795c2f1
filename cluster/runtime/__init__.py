"""Where the parts of a run execute: this process or a Ray cluster."""
