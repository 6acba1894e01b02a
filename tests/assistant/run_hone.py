"""`python -m tests.assistant.run_hone`: the `hone` command, wherever it is installed."""

from tui.cli import main

main()
