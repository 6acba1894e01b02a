"""The report of a dry run for people."""

from dataclasses import replace

from tuning.dryrun import SHOWN, DryRun

DROPPED = [
    {"source": 0, "path": f"vendor/v{number}.py", "verdict": "vendored", "reason": "in a folder vendor/"}
    for number in range(SHOWN + 2)
]
FOUND = DryRun(
    name="mine",
    base="tiny",
    sources=(),
    summary={
        "verdicts": {"vendored": len(DROPPED), "taken": 4, "contaminated": 1},
        "languages": {"python": 3, "go": 1},
        "licences": {"MIT": 2, "unknown": 2},
        "redactions": {"Email": 1200},
        "sides": {"train": 2, "validation": 1, "test": 1},
    },
    dropped=(
        *DROPPED[:5],
        {"source": 0, "path": "exam.py", "verdict": "contaminated", "reason": "1 run of 13 words in common with A/1"},
        *DROPPED[5:],
    ),
    taken=(),
    examples={"code": 30, "infilling": 9},
    preflight={},
    samples=("⟦short⟧", "\n".join(f"line {number}" for number in range(40))),
    lines=("39 rows", "memory 1.0 GB"),
)


def test_every_count_and_reason_is_told():
    text = FOUND.text()
    lines = text.splitlines()
    assert lines[:2] == ["Files", "       4  taken"]
    # Together by verdict, whatever order they came in.
    assert lines[2:4] == ["       1  contaminated", "          exam.py: 1 run of 13 words in common with A/1"]
    assert lines[4] == f"{len(DROPPED):8}  vendored"
    assert lines[5 : 5 + SHOWN] == [f"          vendor/v{number}.py: in a folder vendor/" for number in range(SHOWN)]
    assert lines[5 + SHOWN] == "          and 2 more (--json names all)"
    for told in (
        "Languages   python 3, go 1",
        "Licences    MIT 2, unknown 2",
        "Replaced    Email 1,200",
        "Split       train 2, validation 1, test 1",
        "Examples    code 30, infilling 9",
    ):
        assert told in lines
    assert lines[-3:] == ["39 rows", "memory 1.0 GB", "nothing was trained"]


def test_samples_are_numbered_and_long_ones_are_shortened():
    lines = FOUND.text().splitlines()
    first = lines.index("Example 1 of 2 (what is learnt between ⟦ and ⟧)")
    second = lines.index("Example 2 of 2 (what is learnt between ⟦ and ⟧)")
    assert lines[first + 1 : second] == ["    ⟦short⟧", ""]
    shown = lines[second + 1 : lines.index("", second)]
    assert (shown[0], shown[-1]) == ("    line 0", "    line 39")
    assert "    [28 lines]" in shown
    assert len(shown) == 13


def test_a_corpus_without_secrets_says_so():
    clean = {**FOUND.summary, "redactions": {}}
    assert "Replaced    nothing" in replace(FOUND, summary=clean).text().splitlines()
