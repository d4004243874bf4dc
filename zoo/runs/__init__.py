"""What a run leaves: its folder, its checkpoints, its best weights. All writes are atomic."""
