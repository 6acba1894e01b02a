"""`python -m tui` is `hone`."""

from tui.cli import main

main()
