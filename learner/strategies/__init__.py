"""Training strategies: plain torch, FSDP2 and DeepSpeed."""
