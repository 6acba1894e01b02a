"""`python -m tests.evals.run_words URL FOLDER`: one run of the words task, for tests that kill it."""

import sys
from pathlib import Path

from evals.harness import run_task
from evals.samples import Samples
from evals.subjects import connector, remote
from tests.evals.words_task import Words

if __name__ == "__main__":
    url, folder = sys.argv[1:]
    (subject,) = remote(url, None, [])
    with Samples(Path(folder)) as store:
        run_task(Words(count=20), subject, connector(2), store, None, concurrency=2, show=False)
