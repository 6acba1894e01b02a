"""Reads the sources of a corpus as a stream of documents, with a verdict and a reason for everything left out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from assistant import git
from assistant.attributes import Marks, marks
from tuning.corpus import filters, installed, licence, records, trees
from tuning.corpus.document import Document, Dropped
from tuning.corpus.filters import Filters
from tuning.corpus.gitignore import IgnoreRules
from tuning.corpus.licence import FolderLicences
from tuning.corpus.sources import Source, folder_in, resolve

HONEIGNORE = ".honeignore"


def read(sources: Sequence[Source], options: Filters | None = None) -> Iterator[Document | Dropped]:
    """The documents of the sources in order, each source's files by the bytes of their paths, one file at a time.

    Pass sources through `resolve` first where their commits are to be recorded; a source that was not is resolved
    when its turn comes.

    Raises:
        HoneError: a source cannot be read, or a record is malformed.
    """
    options = options or Filters()
    for number, source in enumerate(sources):
        resolved = resolve(source)
        if resolved.kind == "dataset":
            from tuning.corpus import dataset

            yield from dataset.read(number, resolved, options)
        elif resolved.kind == "installed":
            yield from installed.read(number, resolved.path, options)
        elif resolved.kind == "jsonl":
            yield from records.read_file(number, Path(resolved.path), options)
        else:
            yield from _files(number, resolved, options)


def _files(number: int, source: Source, options: Filters) -> Iterator[Document | Dropped]:
    assert source.root is not None
    root = Path(source.root)
    with ExitStack() as opened:
        tree: trees.Tree
        times: Mapping[str, int] = {}
        marks_of: Callable[[str], Marks] = _unmarked
        if source.kind == "folder":
            tree = trees.PlainFolder(root)
        else:
            folder = folder_in(source)
            commit = source.commit if source.revision is not None else None
            if commit is None:
                tree = trees.WorkTree(root, folder)
            else:
                tree = opened.enter_context(trees.at_revision(root, commit, folder))
            marks_of = opened.enter_context(marks(root, commit))
            if options.dates and source.commit is not None:
                times = git.commit_times(root, source.commit, folder)
        ignored = IgnoreRules(HONEIGNORE, tree.small_text)
        licences = FolderLicences(tree.names, tree.small_text)
        for entry in tree.entries():
            item = _judged(number, entry, tree, ignored, licences, marks_of, options)
            if isinstance(item, Document):
                item = replace(item, committed=times.get(item.path))
            yield item


def _judged(
    number: int,
    entry: trees.Entry,
    tree: trees.Tree,
    ignored: IgnoreRules,
    licences: FolderLicences,
    marks_of: Callable[[str], Marks],
    options: Filters,
) -> Document | Dropped:
    path = entry.path
    if entry.problem:
        return Dropped(number, path, "unreadable", f"cannot be read: {entry.problem}")
    ignoring = ignored.ignored_by(path)
    if ignoring is not None:
        return Dropped(number, path, "not source", f"left out by {ignoring}")
    unwanted = filters.by_path(options, number, path)
    if unwanted is not None:
        return unwanted
    said = marks_of(path)
    unwanted = filters.by_marks(number, path, said) or filters.by_size(options, number, path, entry.size)
    if unwanted is not None:
        return unwanted
    try:
        raw = tree.read(entry)
    except OSError as error:
        return Dropped(number, path, "unreadable", f"cannot be read: {error.strerror or error}")
    item = filters.decode(options, number, path, raw, said.generated)
    if isinstance(item, Dropped):
        return item
    found = licence.in_head(item.text) or licences.nearest(path.rpartition("/")[0])
    return filters.by_licence(options, number, path, found) or replace(item, licence=found)


def _unmarked(_: str) -> Marks:
    return Marks()
