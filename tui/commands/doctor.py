"""`hone doctor`."""


def doctor() -> None:
    """(being built)"""
