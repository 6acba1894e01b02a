"""Datasets of the Hugging Face hub, or in its file formats on disk, streamed by the `datasets` library."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from tuning.corpus.document import Document, Dropped
from tuning.corpus.filters import Filters
from tuning.corpus.records import Form, form_of, to_document
from tuning.corpus.sources import Source

_BUILDERS = {
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "arrow",
    ".txt": "text",
}


def pinned(source: Source) -> Source:
    """The source at the commit that the hub has now; a local dataset by its absolute path.

    Raises:
        HoneError: the hub does not know the dataset or does not answer.
    """
    path = Path(source.path)
    if path.exists():
        return replace(source, path=str(path.resolve()), root=str(path.resolve()))
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(source.path).sha
    except Exception as error:
        # The hub's client raises errors of its own, of httpx and of the operating system.
        raise HoneError(f"the dataset {source.path} cannot be found: {_one_line(error)}") from error
    return replace(source, root=source.path, commit=commit)


def read(number: int, source: Source, options: Filters) -> Iterator[Document | Dropped]:
    """The rows of a resolved dataset source, in the dataset's order. Paths are `NAME:ROW`, from 0.

    Raises:
        HoneError: the dataset cannot be read, or a row has no text; names the dataset and the row.
    """
    name = Path(source.path).name if Path(source.path).exists() else source.path
    form: Form | None = None
    for row, record in enumerate(_rows(source)):
        where = f"{name}:{row}"
        form = form or form_of(record, where)
        raw = json.dumps(record, ensure_ascii=True, sort_keys=True, default=str).encode()
        yield to_document(number, where, where, record, form, raw, options)


def _rows(source: Source) -> Iterator[Mapping[str, Any]]:
    try:
        import datasets

        # The library reports each use of a dataset to its maker otherwise.
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
        rows = iter(_streamed(datasets, source))
    except Exception as error:
        # Loading raises whatever the file format, the file system and the hub's client raise.
        raise HoneError(f"the dataset {source.path} cannot be read: {_one_line(error)}") from error
    row = 0
    while True:
        try:
            record = next(rows)
        except StopIteration:
            return
        except Exception as error:
            raise HoneError(f"the dataset {source.path} cannot be read at row {row}: {_one_line(error)}") from error
        yield record
        row += 1


def _streamed(datasets: Any, source: Source) -> Any:
    path = Path(source.path)
    if path.is_file():
        builder = _BUILDERS.get(path.suffixes[-2 if path.suffix == ".gz" and len(path.suffixes) > 1 else -1])
        if builder is None:
            raise HoneError(f"{path.name} is of no known format; known are {', '.join(_BUILDERS)}")
        return datasets.load_dataset(builder, data_files={source.split: str(path)}, split=source.split, streaming=True)
    return datasets.load_dataset(source.path, source.config, split=source.split, revision=source.commit, streaming=True)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "..."
