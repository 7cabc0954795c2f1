"""What runs on the sandbox's side, with the standard library only: it is started without ours or any other package."""
