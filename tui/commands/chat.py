"""`hone chat`."""


def chat() -> None:
    """(being built)"""
