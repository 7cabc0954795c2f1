"""Code that runs inside the sandbox. It uses only the standard library: no other package is available there."""
