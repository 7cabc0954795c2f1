"""What a run consists of: its plan, its folder, its status and its report. No Ray."""
