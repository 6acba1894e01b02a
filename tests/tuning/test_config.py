"""The configuration of a run: which source wins, what is refused and in which words, and that it survives printing."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant import config as settings
from assistant.errors import HoneError
from tuning.config import Configuration, assigned, configure, flattened, own_files, read_file, to_toml, toml_value
from tuning.plan import KEYS, NULLABLE, Plan, PlanError, from_json, to_json
from tuning.plan_checks import check_base


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        file = tmp_path / "tune.toml"
        file.write_text(text, "utf-8")
        return file

    return write


def of(*assignments: str) -> Configuration:
    return configure([assigned(assignments)])


def refused(*assignments: str) -> str:
    with pytest.raises(HoneError) as caught:
        of(*assignments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_given_is_two_epochs_of_the_defaults():
    made = configure([])
    assert made.plan == Plan(epochs=2.0)
    assert set(made.origins.values()) == {"default"}
    assert set(made.origins) == set(KEYS)
    assert not made.given - {"epochs"}


def test_each_later_layer_wins_and_every_value_says_where_it_came_from(write):
    file = write("learning_rate = 2e-4\nminutes = 20\n[lora]\nrank = 8\nalpha = 8\n")
    made = configure([read_file(file), assigned(["lora.rank=4"])])
    assert (made.plan.learning_rate, made.plan.lora.rank, made.plan.lora.alpha) == (2e-4, 4, 8)
    assert made.origins["learning_rate"] == str(file)
    assert made.origins["lora.rank"] == "--set lora.rank"
    assert made.origins["seed"] == "default"


def test_a_later_limit_replaces_an_earlier_one_of_another_kind(write):
    made = configure([read_file(write("minutes = 20")), assigned(["steps=3"])])
    assert (made.plan.steps, made.plan.minutes, made.plan.epochs) == (3, None, None)
    assert made.origins["minutes"] == "default"


def test_other_sources_leave_nothing_of_earlier_weights(write):
    file = read_file(write('[corpus]\nsources = ["a", "b"]\nweights = [1, 2]'))
    assert configure([file]).plan.corpus.weights == (1.0, 2.0)
    made = configure([file, assigned(['corpus.sources=["c"]'])])
    assert (made.plan.corpus.sources, made.plan.corpus.weights) == (("c",), ())
    made = configure([file, assigned(["corpus.weights=[3, 4]"])])
    assert (made.plan.corpus.sources, made.plan.corpus.weights) == (("a", "b"), (3.0, 4.0))


def test_a_task_changes_defaults_and_no_more():
    made = of("examples.task=review")
    assert (made.plan.examples.review_rate, made.plan.examples.code_rate) == (1.0, 0.0)
    assert made.plan.corpus.replay_source == "installed:all"
    assert made.origins["examples.review_rate"] == "task review"
    assert of("examples.task=review", "examples.review_rate=0.9").plan.examples.review_rate == 0.9


def test_a_start_that_needs_exact_weights_sets_the_number_format_that_is_left_open():
    made = of("lora.init=pissa")
    assert (made.plan.dtype, made.origins["dtype"]) == ("float32", "lora.init pissa")
    assert of("lora.init=pissa", "dtype=auto").plan.dtype == "float32"
    assert of("lora.init=gaussian").plan.dtype == "auto"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lerning_rate = 1", "'lerning_rate' is no setting; the nearest one is 'learning_rate'"),
        ("lr = 1", "'lr' is no setting; the nearest one is 'learning_rate'"),
        ("[lora]\nrnk = 1", "'lora.rnk' is no setting; the nearest one is 'lora.rank'"),
        ("[lora]\nlearning_rate = 1", "'lora.learning_rate' is no setting; the nearest one is 'learning_rate'"),
        ("[corpus]\nlicenses = []", "'corpus.licenses' is no setting; the nearest one is 'corpus.licences'"),
        ('"lora.rank" = 1', "'lora.rank' is no setting"),
        ("[lora.rank]\nx = 1", "lora.rank = {'x': 1} is not possible; allowed: a valid integer"),
        ("lora = 3", "'lora' is no setting"),
        ("steps = 1.5", 'steps = 1.5 is not possible; allowed: a valid integer or "none"'),
        ("steps = true", "steps = True is not possible"),
        ("rows_per_step = 0", "rows_per_step = 0 is not possible; allowed: greater than or equal to 1"),
        ("learning_rate = 0", "learning_rate = 0 is not possible; allowed: greater than 0"),
        ("learning_rate = nan", "learning_rate = nan is not possible"),
        ("minutes = inf", "minutes = inf is not possible"),
        ("seed = 1979-05-27", "seed = datetime.date(1979, 5, 27) is not possible; allowed: a valid integer"),
        ('dtype = "fp16"', "dtype = 'fp16' is not possible; allowed: 'auto', 'float32' or 'bfloat16'"),
        ("[corpus]\nweights = [0]", "corpus.weights = [0] is not possible; allowed: greater than 0"),
        ("[corpus]\nnear_duplicates = 0.2", "0.2 is not possible; allowed: greater than or equal to 0.3"),
        ('[lora]\nrank_pattern = {q = "8"}', "lora.rank_pattern = {'q': '8'} is not possible"),
    ],
)
def test_what_a_file_cannot_say_is_one_line_with_file_key_and_what_is_allowed(write, text: str, words: str):
    file = write(text)
    with pytest.raises(HoneError) as caught:
        configure([read_file(file)])
    line = str(caught.value)
    assert line.startswith(f"{file}: ")
    assert words in line
    assert "\n" not in line


def test_a_file_that_is_no_toml_or_not_there_is_one_line(write, tmp_path: Path):
    with pytest.raises(HoneError, match=r"tune\.toml is not valid TOML: .*line 2"):
        read_file(write("steps = 1\nlora = ,\n"))
    with pytest.raises(HoneError, match=r"cannot read .*missing\.toml: No such file"):
        read_file(tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["steps=1", "minutes=1"], "--set steps, --set minutes: give only one of steps, minutes and epochs"),
        (["patience=5"], "--set patience: patience 5 could never end a run of 3 validations; raise checks"),
        (["patience=1", "corpus.validation_share=0"], "no file is held out"),
        (["corpus.redact=false", 'corpus.sources=["a.jsonl", "src"]'], "redaction cannot be switched off for src"),
        (
            ["corpus.redact=false", 'corpus.sources=["a.jsonl"]', "corpus.replay=0.1", "corpus.replay_source=../lib"],
            "redaction cannot be switched off for ../lib",
        ),
        (["corpus.redact=false", 'corpus.sources=["a.jsonl@HEAD"]'], "cannot be switched off for a.jsonl@HEAD"),
        (["corpus.weights=[1]"], "1 weights for 0 sources"),
        (["corpus.min_bytes=9", "corpus.max_bytes=8"], "no file has at least 9 and at most 8 bytes"),
        (['corpus.languages=["pyton"]'], "'pyton' is no language that is known here; the nearest is 'python'"),
        (['corpus.licences=["MIT"]', 'corpus.excluded_licences=["MIT"]'], "MIT is both allowed and excluded"),
        (["corpus.replay=0.1"], "set corpus.replay_source"),
        (["examples.teach_fim=true", "examples.fim_rate=0"], "would teach no infilling"),
        (["examples.task=review", "examples.review_rate=0"], "would learn no review"),
        (['examples.held_out_operators=["wrong-ke"]'], "'wrong-ke' is no bug operator that is known here"),
        (["lora.init=pisa"], "'pisa' is not possible; allowed: default, gaussian, orthogonal, olora, pissa"),
        (["lora.init=pissa_niter_0"], "is not possible"),
        (["lora.init=pissa", "dtype=bfloat16"], "bfloat16 cannot hold exactly"),
        (["lora.init=olora", "quantize=4bit"], "4bit weights cannot hold exactly"),
        (["lora.init=pissa", "lora.use_dora=true"], "with DoRA they could not be given back"),
        (["adapter_scales=[0.5]", "lora.init=pissa"], "an adapter of pissa is used as it was trained"),
        (["lora.init=orthogonal", "lora.rank=3"], "needs even ranks"),
        (["lora.rank_pattern={'q_(' = 4}"], "'q_(' is no regular expression"),
        (["sweep={seed=[1, 2]}"], "a sweep cannot try 'seed'"),
        (["sweep={learning_rate=[1e-3]}"], "nothing to choose from"),
        (["sweep={learning_rate=[1e-3, 0]}"], "learning_rate = 0 is not possible; allowed: greater than 0"),
        (["sweep={'lora.use_dora'=[true, false], 'lora.init'=['pissa', 'default']}"], "changes the base's weights"),
        (["sweep={learning_rate=[1e-3, 1e-4]}", "corpus.validation_share=0"], "a sweep picks by validation"),
        (["sweep={learning_rate=[1e-3, 1e-4]}", "minutes=9", "sweep_share=0.5"], "leave no time for the run"),
        (["lora.rnk=1"], "--set lora.rnk=1: 'lora.rnk' is no setting; the nearest one is 'lora.rank'"),
        (["lora.rank"], "write key=value"),
        (["lora.rank=abc"], "--set lora.rank: lora.rank = 'abc' is not possible; allowed: a valid integer"),
    ],
)
def test_contradictions_are_one_line(assignments: list[str], words: str):
    assert words in refused(*assignments)


def test_records_can_go_without_redaction_and_a_folder_that_is_called_like_some_cannot(tmp_path: Path):
    records = 'corpus.sources=["a.jsonl", "b.jsonl.gz", "hf:some/set@train"]'
    assert not of("corpus.redact=false", records).plan.corpus.redact
    folder = tmp_path / "code.jsonl"
    folder.mkdir()
    assert "switched off for" in refused("corpus.redact=false", f'corpus.sources=["{folder}"]')


def test_defaults_that_do_not_fit_a_base_are_no_contradiction_but_what_was_asked_for_is():
    made = configure([])
    check_base(made.plan, made.given, "smollm2-135m", fim=False, gguf=True)
    asked = of("examples.fim_rate=0.7")
    with pytest.raises(HoneError, match=r"smollm2-135m has no fill-in-the-middle tokens.*--teach-fim"):
        check_base(asked.plan, asked.given, "smollm2-135m", fim=False, gguf=True)
    check_base(asked.plan, asked.given, "qwen", fim=True, gguf=True)
    taught = of("examples.teach_fim=true", "examples.fim_rate=0.7")
    check_base(taught.plan, taught.given, "smollm2-135m", fim=False, gguf=True)
    with pytest.raises(HoneError, match="tokens of its own"):
        check_base(taught.plan, taught.given, "qwen", fim=True, gguf=True)
    dora = of("lora.use_dora=true")
    with pytest.raises(HoneError, match="DoRA cannot be served from smollm2-135m's GGUF file"):
        check_base(dora.plan, dora.given, "smollm2-135m", fim=False, gguf=True)
    check_base(dora.plan, dora.given, "folder", fim=False, gguf=False)


VALUES: dict[str, st.SearchStrategy] = {
    "steps": st.integers(1, 10**9),
    "minutes": st.floats(0.01, 1e6),
    "learning_rate": st.floats(1e-300, 1),
    "activation_checkpointing": st.booleans(),
    "patience": st.one_of(st.just("none"), st.integers(1, 3)),
    "adapter_scales": st.lists(st.floats(0.01, 2), min_size=1, max_size=4),
    "lora.target_modules": st.one_of(st.just("all-linear"), st.lists(st.text(), min_size=1, max_size=3)),
    "lora.rank_pattern": st.dictionaries(st.sampled_from(["q_proj", "a\\.b", 'say "x"', "é\t"]), st.integers(1, 64)),
    "corpus.include": st.lists(st.text(), max_size=3),
    "corpus.near_duplicates": st.one_of(st.just("none"), st.floats(0.3, 1)),
    "examples.fim_rate": st.floats(0, 1),
}


@given(st.fixed_dictionaries({}, optional=VALUES).filter(lambda chosen: not {"steps", "minutes"} <= chosen.keys()))
def test_what_is_printed_is_read_back_to_the_same_plan(tmp_path_factory, chosen: dict):
    sections: dict = {}
    for key, value in chosen.items():
        section, _, name = key.rpartition(".")
        (sections.setdefault(section, {}) if section else sections)[name] = value
    made = configure([flattened(sections, "a file\nwith a line end")])
    file = tmp_path_factory.mktemp("printed") / "printed.toml"
    file.write_text(to_toml(made), "utf-8")
    assert configure([read_file(file)]).plan == made.plan


def test_a_printed_default_configuration_fits_every_base_that_the_default_fits(write):
    again = configure([read_file(write(to_toml(configure([]))))])
    check_base(again.plan, again.given, "smollm2-135m", fim=False, gguf=True)


def test_every_printed_line_says_where_its_value_came_from():
    lines = [line for line in to_toml(of("lora.rank=4")).splitlines() if line and not line.startswith("[")]
    assert len(lines) == len(KEYS)
    assert [line.rpartition("  # ")[2] for line in lines if line.startswith("rank ")] == ["--set lora.rank"]
    assert all("  # " in line for line in lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("2e-4", 2e-4),
        ("true", True),
        ("word", "word"),
        ('"two words"', "two words"),
        ("two words", "two words"),
        ("[1, 2]", [1, 2]),
        ("{q_proj = 8}", {"q_proj": 8}),
        ("a@b/c.py", "a@b/c.py"),
        ("1\nseed = 3", "1\nseed = 3"),
    ],
)
def test_values_on_the_command_line_are_toml_or_the_text_itself(text: str, value: object):
    assert toml_value(text) == value


def test_a_plan_survives_json():
    plan = of("lora.rank_pattern={q_proj = 8}", "sweep={'lora.rank' = [4, 8]}", "corpus.include=['*.py']").plan
    assert from_json(json.loads(json.dumps(to_json(plan)))) == plan
    assert from_json({}) == Plan()
    with pytest.raises(PlanError, match=r"lora\.rnk is no setting"):
        from_json({"lora": {"rnk": 1}})
    with pytest.raises(PlanError, match="not Unicode"):
        from_json({"corpus": {"include": ["\udc80"]}})


def test_every_default_is_within_its_own_bounds_and_every_key_can_be_set():
    defaults = to_json(Plan())
    assert from_json(defaults) == Plan()
    for key in KEYS:
        section, _, name = key.rpartition(".")
        value = (defaults[section] if section else defaults)[name]
        layer = assigned([f"{key}={json.dumps('none' if value is None else value)}"])
        assert configure([layer]).plan == Plan(epochs=2.0), key
    fields = {one.name for one in dataclasses.fields(Plan)}
    assert {key.split(".")[0] for key in KEYS} == fields
    assert {"steps", "patience", "lora.alpha", "corpus.max_surprise"} <= NULLABLE


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's config.toml (not written yet), in a repository that is the current folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    file = settings.user_file()
    file.parent.mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    return file


def test_the_tune_tables_of_the_own_files_count_and_the_settings_of_the_assistant_stay_strict(user_file: Path):
    Path("hone.toml").write_text('model = "m"\n[tune]\nminutes = 5\n[tune.lora]\nrank = 4\n')
    user_file.write_text("[tune.lora]\nrank = 8\n")
    made = configure(own_files())
    assert (made.plan.minutes, made.plan.lora.rank) == (5, 8)
    assert made.origins["lora.rank"] == f"{user_file} [tune]"
    assert settings.load_settings().model == "m"
    Path("hone.toml").write_text("[tuna]\nminutes = 5\n")
    with pytest.raises(HoneError, match="unknown key 'tuna'"):
        settings.load_settings()
    Path("hone.toml").write_text("tune = 3\n")
    with pytest.raises(HoneError, match=r"'tune' must be a table, \[tune\]"):
        own_files()


@pytest.mark.parametrize("line", ['tracker = "mlflow"', 'corpus.sources = ["/etc"]', "corpus.redact = false"])
def test_a_repository_does_not_decide_what_is_read_learnt_or_sent(user_file: Path, line: str):
    Path("hone.toml").write_text(f"[tune]\n{line}\n")
    with pytest.raises(HoneError, match="cannot be set by a repository"):
        own_files()
    Path("hone.toml").unlink()
    user_file.write_text(f"[tune]\n{line}\n")
    assert own_files()
