"""Errors that reach the user as one clear line."""


class HoneError(Exception):
    """Something the user can act on.

    The text is one line: what was wrong and what to do. The command line prints it after `hone: ` and exits with
    `exit_code`; the TUI and the gateway show the same line.
    """

    exit_code = 1


class UsageError(HoneError):
    """The request itself is malformed (a bad location, contradictory options)."""

    exit_code = 2


class UnknownModel(HoneError):
    """No base model, adapter or alias has that name."""


class WrongBase(HoneError):
    """An adapter was asked to run on a base other than the one it was trained on; names both digests."""


class EngineError(HoneError):
    """The inference engine failed or died; the next request starts a new one."""
