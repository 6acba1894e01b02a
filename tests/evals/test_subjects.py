"""Models of this machine as what is measured: a small one that llama.cpp serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from assistant.models import serving_form
from evals.harness import run_task
from evals.sampled import Job, job
from evals.samples import Samples, key
from evals.subjects import Connect, Connected, Endpoint, Subject, connector, local
from evals.tasks.base import Ask, Item
from tests.evals.eval_fixtures import samples_of
from tests.evals.words_task import Words
from tests.small_models import write_folder
from tests.tuning import tiny_gguf


@contextmanager
def nothing(subject: Subject) -> Iterator[Connected]:
    raise AssertionError("the model was asked for")
    yield


def asked(subject: Subject) -> Job:
    return job("words@1", subject, Item("a", "a", {}), 0, Ask("x", (), (), 4), 0.0, 0)


def test_the_form_in_which_weights_are_served_is_told(hone_home: Path, tmp_path: Path) -> None:
    copied = local(str(tiny_gguf.write_base(tmp_path / "q4.gguf", "Q4_1")))
    assert copied.form == copied.facts["served"] == "Q8_0 copy, form 1"
    assert "xllamacpp" in str(copied.engine)
    wide = local(str(tiny_gguf.write_base(tmp_path / "wide.gguf", "F16")))
    assert wide.form == wide.facts["served"] == "as it is"
    folder = local(str(write_folder(tmp_path / "folder")))
    assert folder.form == "as it is"
    # llama.cpp does not serve these.
    assert "transformers" in str(folder.engine)


def test_equal_work_is_of_equal_served_weights() -> None:
    facts = {"name": "m", "digest": "d"}
    subjects = [
        Subject("m", "m", "d", facts, engine=engine, form=form)
        for engine in ("xllamacpp 1", "xllamacpp 2")
        for form in ("as it is", "Q8_0 copy, form 1", "Q8_0 copy, form 2")
    ]
    keys = {asked(subject).key for subject in subjects}
    assert len(keys) == len(subjects)


def test_what_was_kept_of_a_servers_model_before_forms_were_told_still_counts() -> None:
    found = asked(Subject("m", "m", "d", {}, Endpoint("http://127.0.0.1:1/v1")))
    parts = {
        "task": "words@1",
        "item": "a",
        "data": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "attempt": 0,
        "model": "d",
        "prompt": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        "stop": [],
        "max_tokens": 4,
        "parse_special": False,
        "temperature": 0.0,
        "seed": found.seed,
        "engine": None,
    }
    assert found.key == key(**parts)


def test_samples_of_a_former_form_are_made_again(
    hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = tiny_gguf.write_base(tmp_path / "q4.gguf", "Q4_1")
    task = Words(count=1, samples_per_item=1, temperature=0.0)

    def measured(connect: Connect | None = None) -> None:
        subject = local(str(gguf))
        with Samples(tmp_path / "out") as store:
            run_task(task, subject, connect or connector(1), store, None, show=False)

    measured()
    assert len(samples_of(tmp_path / "out")) == 1
    measured(nothing)
    monkeypatch.setattr(serving_form, "_COPY", "another form")
    with pytest.raises(AssertionError, match="the model was asked for"):
        measured(nothing)
    measured()
    assert len(samples_of(tmp_path / "out")) == 2


def test_the_rendered_prompt_is_what_the_models_own_template_makes(hone_home: Path, tmp_path: Path) -> None:
    subject = local(str(tiny_gguf.write_base(tmp_path / "tiny.gguf")))
    assert subject.asks == {"prompt", "messages"}
    with Samples(tmp_path / "out") as store:
        run_task(Words(count=1, samples_per_item=1, chat=True), subject, connector(1), store, None, show=False)
    (row,) = samples_of(tmp_path / "out")
    assert row["ask"]["messages"] == [{"role": "user", "content": "Question 0\n"}]
    written = "<|im_start|>user\nQuestion 0\n<|im_end|>\n<|im_start|>assistant\n"
    assert row["ask"]["rendered"] == {"prompt": written, "verbatim": []}
