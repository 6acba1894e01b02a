"""`hone evaluate`."""


def evaluate() -> None:
    """(being built)"""
