"""Ends of an evaluation that are no verdict on a model."""

from assistant.errors import HoneError


class NotHeldOut(HoneError):
    """Nothing may be evaluated: the files were trained on, or no manifest says what was held out."""


class HarnessFault(HoneError):
    """The evaluation itself is broken; it reports no score."""

    exit_code = 3
