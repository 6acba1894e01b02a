"""`hone serve`."""


def serve() -> None:
    """(being built)"""
