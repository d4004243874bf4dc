"""What moves: names become components, components a job, and a job is run.

RunConfig -> assemble (Job) -> run (phases -> loop -> events, checkpoints) -> run folder
"""
