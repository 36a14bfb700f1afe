"""The commands: thin, they call the control API or read the files of an instance."""
