import random
import string
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import HoneError
from tests.tuning.planted import code, document, jaccard, with_changes
from tuning.corpus import minhash, ordered
from tuning.corpus.neardup import CROWD, Clusters, Settings, Signatures, find


def clusters_of(folder: Path, texts: list[str], options: Settings | None = None, processes: int = 1) -> Clusters:
    with ordered.on_this_machine(processes) as workers, Signatures(folder, options, workers) as signatures:
        for number, text in enumerate(texts):
            assert signatures.add(document(text, f"{number}.py")) == number
        return find(signatures)


def test_an_exact_and_a_near_copy_are_dropped_and_name_their_original(tmp_path):
    words = code(1, 400)
    texts = ["\n".join(code(2, 300)), "\n".join(words), "\n".join(words), with_changes(words, 8, 0)]
    found = clusters_of(tmp_path, texts)
    assert found.kept.tolist() == [True, True, False, False]
    assert found.original.tolist() == [0, 1, 1, 1]
    assert found.exact.tolist() == [False, False, True, False]
    assert found.similarity[3] == pytest.approx(jaccard(texts[1], texts[3]))
    exact = found.dropped(2, document(texts[2], "copy.py", 1), "src/a.py")
    near = found.dropped(3, document(texts[3], "near.py", 1), "src/a.py")
    assert (exact.verdict, exact.reason) == ("duplicate", "duplicate of src/a.py")
    assert (near.verdict, near.path, near.source) == ("near duplicate", "near.py", 1)
    assert near.reason == f"near duplicate of src/a.py ({jaccard(texts[1], texts[3]):.2f})"


def test_copies_that_differ_in_layout_alone_are_near_and_not_exact(tmp_path):
    words = code(1, 60)
    found = clusters_of(tmp_path, [" ".join(words), "\n\n".join(words) + "\n"])
    assert (found.original[1], found.similarity[1], found.exact[1]) == (0, 1.0, False)


def test_the_thresholds_decide(tmp_path):
    words = code(3, 600)
    original = "\n".join(words)
    texts = [original, *(with_changes(words, count, count) for count in (4, 12, 24, 36, 60))]
    for duplicate in (0.7, 0.85):
        found = clusters_of(tmp_path / str(duplicate), texts, Settings(duplicate=duplicate))
        similar = np.array([jaccard(original, text) for text in texts])
        # The changed copies share less with each other than with the original, so no chain leads to it.
        assert found.kept.tolist() == [True, *(similar[1:] < duplicate)]
        assert (found.related == 0).tolist() == (similar >= 0.5).tolist()


def test_texts_too_short_for_a_shingle_are_copies_only_when_equal(tmp_path):
    found = clusters_of(tmp_path, ["x = 1\n", "x = 1\n", "x = 2\n", "{}\n", "[]\n", "a b c d e", "a b c d"])
    assert found.kept.tolist() == [True, False, True, True, True, True, True]


def test_recall_on_planted_copies_is_what_the_bands_promise(tmp_path):
    chosen = random.Random(5)
    texts, pairs = [], []
    for number in range(150):
        words = code(1000 + number, chosen.choice((40, 150, 700)))
        texts.append("\n".join(words))
        copy = with_changes(words, max(1, len(words) // chosen.choice((60, 80, 120))), number)
        pairs.append((len(texts) - 1, len(texts), jaccard(texts[-1], copy)))
        texts.append(copy)
    found = clusters_of(tmp_path, texts)
    near = [pair for pair in pairs if pair[2] >= 0.7]
    assert len(near) > 100
    assert sum(found.original[copy] == original for original, copy, _ in near) >= 0.98 * len(near)
    dropped = {index for index in range(len(texts)) if not found.kept[index]}
    assert dropped <= {copy for _, copy, _ in near}


def test_signatures_estimate_the_similarity_without_bias():
    errors = []
    for seed in range(60):
        words = code(seed, 30 if seed % 2 else 500)
        pair = ["\n".join(words), with_changes(words, len(words) // 25 or 1, seed)]
        first, second = minhash.sketch(pair).signatures
        errors.append(float((first == second).mean()) - jaccard(*pair))
    # One estimate's standard deviation is at most sqrt(0.25 / 128) = 0.044.
    assert abs(np.mean(errors)) < 3 * 0.044 / len(errors) ** 0.5
    assert np.std(errors) < 0.044 * 1.3


def test_a_sketch_is_the_same_in_any_company_and_fixed_for_good():
    texts = ["\n".join(code(seed, 20 + 40 * seed)) for seed in range(12)]
    together = minhash.sketch(texts)
    starts = np.cumsum(together.counts) - together.counts
    for number, text in enumerate(texts):
        alone = minhash.sketch([text])
        assert (alone.signatures[0] == together.signatures[number]).all()
        own = together.shingles[starts[number] : starts[number] + together.counts[number]]
        assert (alone.shingles == own).all()
    fixed = minhash.sketch(["def add(first, second):\n    return first + second\n"])
    assert fixed.shingles.tolist() == [582719024, 2896972411, 3943706892]
    assert fixed.signatures[0, :4].tolist() == [23001228, 43650652, 64979090, 2022694821]


def test_any_number_of_processes_gives_the_same_files(tmp_path):
    chosen = random.Random(9)
    texts = ["\n".join(code(chosen.randrange(40), 3000)) for _ in range(60)]
    one = clusters_of(tmp_path / "one", texts)
    two = clusters_of(tmp_path / "two", texts, processes=2)
    names = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    assert (one.original == two.original).all()
    assert not one.kept.all()


@st.composite
def corpora(draw) -> list[str]:
    """Families of texts: some of one family are copies, some only related, some neither."""
    texts = []
    for family in range(draw(st.integers(1, 4))):
        words = code(family, draw(st.sampled_from((3, 30, 120))))
        for member in range(draw(st.integers(1, 5))):
            texts.append(with_changes(words, draw(st.integers(1, 6)), member) if member else "\n".join(words))
    return texts


def partition(labels: np.ndarray, order: list[int]) -> set[frozenset[int]]:
    groups: dict[int, set[int]] = {}
    for place, label in enumerate(labels.tolist()):
        groups.setdefault(label, set()).add(order[place])
    return {frozenset(group) for group in groups.values()}


@settings(max_examples=40)
@given(texts=corpora(), data=st.data())
def test_order_changes_which_copy_is_kept_and_nothing_else(texts, data, tmp_path_factory):
    order = data.draw(st.permutations(range(len(texts))))
    plain = clusters_of(tmp_path_factory.mktemp("plain"), texts)
    mixed = clusters_of(tmp_path_factory.mktemp("mixed"), [texts[index] for index in order])
    same = list(range(len(texts)))
    assert partition(plain.original, same) == partition(mixed.original, order)
    assert partition(plain.related, same) == partition(mixed.related, order)
    assert all(plain.original[index] <= index for index in same)
    # A cluster of copies lies inside one of related texts.
    assert (plain.related == plain.related[plain.original]).all()


@settings(max_examples=100)
@given(first=st.text(max_size=200), second=st.text(max_size=200), length=st.integers(1, 6))
def test_similarity_is_symmetric_one_for_the_same_text_and_the_definition(first, second, length):
    sets = [minhash.sketch([text], length).shingles for text in (first, second)]
    assert minhash.similarity(sets[0], sets[0]) == 1
    assert minhash.similarity(*sets) == minhash.similarity(*reversed(sets))
    assert 0 <= minhash.similarity(*sets) <= 1
    if first.isascii() and second.isascii():
        assert minhash.similarity(*sets) == pytest.approx(jaccard(first, second, length))


def test_words_are_told_apart_at_every_length_and_place():
    letters = string.ascii_letters + string.digits
    longest = "".join(random.Random(1).choices(letters, k=200))
    sizes = [*range(1, 40), 63, 64, 65, 66, 127, 128, 129, 200]
    found = [longest[:size] for size in sizes]
    altered = [text[:-1] + ("_" if text[-1] != "_" else "x") for text in found]
    hashed = minhash.words([" ".join(found + altered).encode()])
    assert len(set(hashed.hashes.tolist())) == len(found) * 2
    shifted = minhash.words([b"", (";; " + " ".join(found + altered)).encode(), b"end"])
    assert shifted.counts.tolist() == [0, len(found) * 2, 1]
    assert (shifted.hashes[:-1] == hashed.hashes).all()


def test_a_crowd_with_one_header_is_not_compared_each_with_each(tmp_path, monkeypatch):
    header = "\n".join(code(0, 60))
    texts = [header + "\n" + "\n".join(code(number, 30)) for number in range(1, 901)]
    planted = [header + "\n" + "\n".join([*code(number, 30), f"more_{number}"]) for number in range(1, 41)]
    compared = 0
    plain = minhash.similarity

    def counted(first, second):
        nonlocal compared
        compared += 1
        return plain(first, second)

    monkeypatch.setattr(minhash, "similarity", counted)
    found = clusters_of(tmp_path, texts + planted, Settings(duplicate=0.85, related=0.8))
    assert found.original[900:].tolist() == list(range(40))
    assert found.kept[:900].all()
    assert compared < 940 * 939 / 2 / 4


def test_more_equal_signatures_than_a_crowd_become_one_cluster(tmp_path):
    # One word in 6,000 differs: nearly all signatures are equal in every band.
    words = code(7, 6000)
    texts = ["\n".join([*words[:-1], f"last_{number}"]) for number in range(CROWD + 30)]
    found = clusters_of(tmp_path, texts)
    assert set(found.original.tolist()) == {0}


def test_texts_are_not_held(tmp_path):
    class Text(str):
        """A plain string cannot be referred to weakly."""

    held = []
    with Signatures(tmp_path) as signatures:
        for number in range(40):
            text = Text("\n".join(code(number, 8000)))
            held.append(weakref.ref(text))
            signatures.add(document(text))
            del text
        assert sum(reference() is not None for reference in held) < 12
        find(signatures)
        assert sum(reference() is not None for reference in held) == 0


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    page = "\n".join(f"@{word}" for word in code(1, 1000))

    def peak(count: int) -> int:
        tracemalloc.start()
        with Signatures(tmp_path / str(count)) as signatures:
            for number in range(count):
                signatures.add(document(page.replace("@", f"n{number}_")))
            find(signatures)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(70)
    assert peak(560) < 1.25 * peak(140)


def test_no_document_is_no_cluster(tmp_path):
    assert len(clusters_of(tmp_path, []).original) == 0


@pytest.mark.parametrize(
    "options", [{"duplicate": 1.5}, {"related": 0.9, "duplicate": 0.8}, {"shingle": 0}, {"hashes": 5}, {"related": 0.0}]
)
def test_settings_out_of_range_are_refused_in_one_line(options):
    with pytest.raises(HoneError) as refused:
        Settings(**options)
    assert "\n" not in str(refused.value)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HoneError, match="cannot write"):
        Signatures(tmp_path / "file" / "below")


def test_a_full_disk_is_reported_in_one_line(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    (tmp_path / "texts").symlink_to("/dev/full")
    with Signatures(tmp_path) as signatures:
        signatures.add(document("one two three four five six"))
        with pytest.raises(HoneError, match="free some space"):
            find(signatures)
