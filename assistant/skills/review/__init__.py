"""The review skill. Nothing here prints or knows of a terminal.

    run.review(request: request.Request, model: run.Model | None = None, progress: request.Progress | None = None,
               cancelled: Callable[[], bool] | None = None) -> findings.Review

is its one entry point. `model` is the reviewer and how to reach it (`run.find_model(name)` finds it); None reviews with
the analyzers alone. It blocks, may be called in any thread, and raises `request.CancelledError` soon after `cancelled`
answers True.
"""
