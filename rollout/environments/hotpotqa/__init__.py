"""The encyclopaedia world: ReAct's search, lookup and finish over a local corpus."""
