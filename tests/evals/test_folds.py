import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from evals.folds import assign, spread


@given(st.sets(st.text("abc/", min_size=1, max_size=6), min_size=2, max_size=30), st.integers(2, 8), st.integers(0, 3))
def test_every_file_is_in_one_fold_and_folds_are_of_one_size(paths: set[str], folds: int, seed: int) -> None:
    if folds > len(paths):
        with pytest.raises(HoneError, match="cannot be shared out"):
            assign(paths, folds, seed)
        return
    found = assign(sorted(paths, reverse=True), folds, seed)
    assert found == assign(paths, folds, seed)
    assert set(found) == paths
    sizes = [list(found.values()).count(number) for number in range(folds)]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == len(paths)


def test_one_fold_is_refused() -> None:
    with pytest.raises(HoneError, match="2 or more"):
        assign(["a", "b"], 1, 0)


def row(path: str, exact: bool, similarity: float, f1: float | None, finish: str = "stop") -> dict[str, object]:
    return {"path": path, "exact": exact, "similarity": similarity, "identifier_f1": f1, "finish_reason": finish}


def test_figures_of_each_fold_their_spread_and_what_changes() -> None:
    folds = {"a.py": 0, "b.py": 1, "c.py": 1}
    one = [row("a.py", True, 1.0, 1.0), row("a.py", False, 0.5, None, "length"), row("b.py", False, 0.2, 0.0)]
    two = [row("a.py", True, 1.0, 1.0), row("a.py", True, 1.0, None), row("b.py", False, 0.4, 0.5)]
    scored = {
        "1": [{"path": "a.py", "bits": 30.0, "bytes": 10}, {"path": "c.py", "bits": 20.0, "bytes": 10}],
        "2": [{"path": "a.py", "bits": 20.0, "bytes": 10}, {"path": "c.py", "bits": 20.0, "bytes": 10}],
    }
    completed = {"1": {"line": {"without_retrieval": one}}, "2": {"line": {"without_retrieval": two}}}
    models = [{"name": "first", "digest": "1"}, {"name": "second", "digest": "2"}]
    found = spread(models, completed, scored, folds)
    assert (found["count"], found["files"]) == (2, [1, 2])
    figures = found["models"][0]["figures"]
    assert figures["bits_per_byte"]["folds"] == [3.0, 2.0]
    assert figures["bits_per_byte"]["mean"] == pytest.approx(2.5)
    assert figures["bits_per_byte"]["deviation"] == pytest.approx(0.5**0.5)
    assert figures["line.without_retrieval.exact_match"]["folds"] == [0.5, 0.0]
    assert figures["line.without_retrieval.edit_similarity"]["folds"] == [0.75, 0.2]
    assert figures["line.without_retrieval.identifier_f1"]["folds"] == [1.0, 0.0]
    assert figures["line.without_retrieval.stop_rate"]["folds"] == [0.5, 1.0]
    (change,) = found["comparisons"]
    assert (change["first"], change["second"]) == ("first", "second")
    assert change["figures"]["bits_per_byte"]["folds"] == [-1.0, 0.0]
    assert change["figures"]["line.without_retrieval.exact_match"]["folds"] == [0.5, 0.0]


def test_a_fold_without_anything_to_measure_has_no_value() -> None:
    completed = {"1": {"body": {"with_retrieval": [row("a.py", True, 1.0, None)]}}}
    scored = {"1": [{"path": "a.py", "bits": 8.0, "bytes": 4}]}
    found = spread([{"name": "m", "digest": "1"}], completed, scored, {"a.py": 0, "b.py": 1})
    figures = found["models"][0]["figures"]
    assert figures["bits_per_byte"] == {"folds": [2.0, None], "mean": 2.0, "deviation": None}
    assert figures["body.with_retrieval.identifier_f1"] == {"folds": [None, None], "mean": None, "deviation": None}
