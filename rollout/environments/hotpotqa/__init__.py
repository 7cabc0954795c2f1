"""The HotpotQA environment: ReAct's search, lookup and finish over a local corpus."""
