"""Floor 4: the `hone` command line and the Textual app."""
