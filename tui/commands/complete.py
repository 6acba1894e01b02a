"""`hone complete`."""


def complete() -> None:
    """(being built)"""
