"""`hone tune`."""


def tune() -> None:
    """(being built)"""
