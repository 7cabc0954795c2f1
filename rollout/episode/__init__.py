"""How an agent chooses what it does: plainly, by trying several actions, or held to the actions that are allowed."""
