"""`hone tune`'s command line: what reaches the configuration, what is printed, and what is refused in one line."""

import json
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from tui import cli
from tui.commands.tune_settings import FLAGS
from tuning.plan import KEYS


@pytest.fixture
def hone(hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs `hone` in this process, in an empty folder; returns (exit code, standard output, standard error)."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hone", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_flags_win_over_the_file_and_the_result_is_a_file_again(hone, tmp_path: Path):
    file = tmp_path / "tune.toml"
    file.write_text("minutes = 20\n[lora]\nrank = 8\nuse_rslora = true\n")
    code, out, _ = hone("tune", "src", "--config", str(file), "--rank", "4", "--no-rslora", "--print-config")
    assert code == 0
    content = tomllib.loads(out)
    assert (content["minutes"], content["lora"]["rank"], content["lora"]["use_rslora"]) == (20, 4, False)
    assert content["corpus"]["sources"] == ["src"]
    origins = {line.partition(" ")[0]: line.rpartition("# ")[2] for line in out.splitlines() if "# " in line}
    assert (origins["minutes"], origins["rank"], origins["sources"]) == (str(file), "--rank", "CORPUS")
    assert (origins["use_rslora"], origins["seed"]) == ("--no-rslora", "default")
    file.write_text(out)
    again = tomllib.loads(hone("tune", "--config", str(file), "--print-config")[1])
    assert again == content


def test_lists_and_settings_without_a_flag_of_their_own(hone):
    code, out, _ = hone(
        *("tune", "a", "b", "--weights", "1,2.5", "--languages", "python, go", "--include", "*.{py,go}"),
        *("--target-modules", "q_proj,v_proj", "--set", "lora.rank_pattern={q_proj = 8}", "--set", "seed=9"),
        *("--sweep", "lr=2e-4,5e-4", "--sweep", "rank=8,16", "--print-config", "--json"),
    )
    assert code == 0
    plan = json.loads(out)["configuration"]
    assert plan["corpus"]["weights"] == [1.0, 2.5]
    assert plan["corpus"]["languages"] == ["python", "go"]
    assert plan["corpus"]["include"] == ["*.{py,go}"]
    assert plan["lora"]["target_modules"] == ["q_proj", "v_proj"]
    assert plan["lora"]["rank_pattern"] == {"q_proj": 8}
    assert plan["seed"] == 9
    assert plan["sweep"] == {"learning_rate": [2e-4, 5e-4], "lora.rank": [8, 16]}


@pytest.mark.parametrize(("given", "scales"), [("0.6", [0.6]), ("1", [1.0]), ("0.5,1.5", [0.5, 1.5])])
def test_the_scale_of_the_adapter_can_be_fixed(hone, given: str, scales: list[float]):
    code, out, _ = hone("tune", "src", "--adapter-scale", given, "--print-config", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["configuration"]["adapter_scales"] == scales
    assert found["origins"]["adapter_scales"] == "--adapter-scale"
    assert json.loads(hone("tune", "src", "--print-config", "--json")[1])["configuration"]["adapter_scales"] == [
        *(0.5, 0.75, 1.0)
    ]


def test_every_flag_sets_a_setting_that_there_is():
    command = typer.main.get_command(cli.app).commands["tune"]  # type: ignore[attr-defined]
    names = {parameter.name for parameter in command.params}
    assert FLAGS.keys() <= names
    assert set(FLAGS.values()) <= set(KEYS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "x"], "name a git repository to tune on"),
        (["src"], "Give it a --name"),
        (["src", "--name", "x", "--steps", "1", "--epochs", "1"], "--steps, --epochs: give only one of"),
        (["src", "--name", "x", "--lr", "0"], "--learning-rate: learning_rate = 0.0 is not possible"),
        (["src", "--name", "x", "--rank", "0"], "--rank: lora.rank = 0 is not possible; allowed: greater than"),
        (["src", "--name", "x", "--weights", "1,a"], "--weights: corpus.weights = [1, 'a'] is not possible"),
        (["src", "--name", "x", "--weights", "1,2"], "--weights: 2 weights for 1 sources"),
        (["src", "--name", "x", "--adapter-scale", "0"], "--adapter-scale: adapter_scales = [0] is not possible"),
        (["src", "--name", "x", "--adapter-scale", "half"], "--adapter-scale: adapter_scales = ['half'] is not"),
        (["src", "--name", "x", "--adapter-scale", "0.5", "--dora"], "--adapter-scale, --dora: an adapter of DoRA is"),
        (["src", "--name", "x", "--task", "cod"], "allowed: 'code', 'review' or 'chat'"),
        (["src", "--name", "x", "--config", "missing.toml"], "cannot read missing.toml"),
        (["src", "--name", "x", "--set", "lorarank=3"], "the nearest one is 'lora.rank'"),
        (["src", "--name", "x", "--sweep", "lr="], "write key=value,value"),
        (["src", "--name", "x", "--sweep", "lrr=1,2"], "'lrr' is no setting"),
        (["src", "--name", "x", "--sweep", "seed=1,2"], "a sweep cannot try 'seed'"),
        (["src", "--name", "a/b"], "cannot be an adapter's name"),
        (["--resume", "--name", "x", "--seed", "3", "--config", "f"], "leave out --config, --seed"),
        (["--resume"], "Give it a --name"),
    ],
)
def test_what_is_refused_is_one_line(hone, arguments: list[str], words: str):
    code, out, err = hone("tune", *arguments)
    assert code != 0
    assert out == ""
    assert words in err
    assert err.startswith("hone: ")
    assert err.count("\n") == 1


def test_the_help_is_grouped(hone):
    code, out, _ = hone("tune", "--help")
    assert code == 0
    sections = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    own = ["How long:", "Corpus:", "Examples:", "LoRA:", "Training:", "Job:", "Again and again:"]
    assert sections == ["Arguments:", "Options:", *own]
    assert out.index("LoRA:") < out.index("--dora") < out.index("Training:") < out.index("--quantize")


@pytest.mark.model
def test_what_the_embedded_base_cannot_do_is_refused_before_any_work(hone, embedded_home: Path):
    assert "DoRA cannot be served from smollm2-135m's GGUF" in hone("tune", "src", "--name", "x", "--dora")[2]
    assert "has no fill-in-the-middle tokens" in hone("tune", "src", "--name", "x", "--fim-rate", "0.7")[2]
