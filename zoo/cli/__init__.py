"""The command line: one file a command, each imported when its command is called."""
