"""Ends of an evaluation that are no verdict on a model."""

from assistant.errors import HoneError


class NotHeldOutError(HoneError):
    """Nothing may be evaluated: the files were trained on, or no manifest says what was held out."""


class HarnessError(HoneError):
    """The evaluation itself is broken; it reports no score."""

    exit_code = 3
