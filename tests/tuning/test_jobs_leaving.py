"""A run that is told to leave has a checkpoint of that step, and ends as if it had never left."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.tuning.processes import fresh, make_rows, weights
from tuning import checkpoint
from tuning.checkpoint import Keeper
from tuning.plan import LoraOptions, Plan
from tuning.ready import make_ready
from tuning.train import Left, Progress, train

PLAN = Plan(steps=6, row_length=192, lora=LoraOptions(rank=4, alpha=8), checks=2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_it_leaves_at_once_and_goes_on_to_the_same_end(tmp_path: Path):
    data = make_rows()
    whole = fresh()
    train(make_ready(whole, PLAN), data, PLAN, lambda _: None)
    steps: list[Progress] = []
    # No checkpoint would be due for a long time.
    keeper = Keeper(tmp_path, pytest.fail, every_minutes=1000, leaving=lambda: len(steps) == 3)
    with pytest.raises(Left, match=r"left at step 3 \(50%\) as told; --resume goes on") as left:
        train(make_ready(fresh(), PLAN), data, PLAN, steps.append, keeper=keeper)
    assert left.value.exit_code == 143
    assert [one.step for one in steps] == [1, 2, 3]
    kept = checkpoint.read(tmp_path, pytest.fail)
    assert kept is not None
    assert kept.position.step == 3
    again = fresh()
    train(make_ready(again, PLAN), data, PLAN, lambda _: None, start_from=kept)
    ours, theirs = weights(again), weights(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
