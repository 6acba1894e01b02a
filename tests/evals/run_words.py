"""`python -m tests.evals.run_words URL FOLDER [FILE]`: a run of the words task with one judge, for tests that kill it.

While there is a FILE, no answer of the model gets its verdict.
"""

import sys
import time
from pathlib import Path
from unittest import mock

from assistant import cores
from evals.harness import run_task
from evals.samples import Samples
from evals.subjects import connector, remote
from evals.tasks.base import Answer, Item
from tests.evals.words_task import Words


def run(url: str, folder: str, *files: str) -> None:
    def wait(item: Item, answer: Answer) -> None:
        # Known answers took no time.
        while answer.seconds and any(Path(file).exists() for file in files):
            time.sleep(0.01)

    (subject,) = remote(url, None, [])
    with Samples(Path(folder)) as store, mock.patch.object(cores, "usable", return_value=1):
        run_task(Words(count=20, before=wait), subject, connector(2), store, None, concurrency=2, show=False)


if __name__ == "__main__":
    run(*sys.argv[1:])
