"""datatrove's MinHash pipeline over one JSON lines file; run by `benchmarks.corpus` in an environment of its own.

`python datatrove_minhash.py FOLDER_WITH_JSONL WORK_FOLDER BUCKETS ROWS` prints one JSON object: the seconds of
signatures, buckets and clusters, and the cluster of each document that has one.

In its favour: words are split at white space (its own tokenizers go through spaCy), of its normalisation only
punctuation and white space are on, the steps are called directly, and no documents are written out.
"""

import json
import struct
import sys
import time
from itertools import pairwise
from pathlib import Path

from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer


class Words(WordTokenizer):
    def word_tokenize(self, text):
        return text.split()

    def sent_tokenize(self, text):
        return [text]

    def span_tokenize(self, text):
        return [(0, len(text))]


def main() -> None:
    source, work, buckets, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    norm = TextNormConfig(lowercase=False, norm_unicode_diacritics=False, norm_numbers=False)
    config = MinhashConfig(n_grams=5, num_buckets=buckets, hashes_per_bucket=rows, norm_config=norm)
    times, processor = [time.perf_counter()], time.process_time()
    MinhashDedupSignature(str(work / "signatures"), config, language=Words()).run(JsonlReader(source).run())
    times.append(time.perf_counter())
    for bucket in range(buckets):
        step = MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=config)
        step.run(None, bucket, buckets)
    times.append(time.perf_counter())
    cluster = MinhashDedupCluster(str(work / "buckets"), str(work / "removed"), config, save_cluster_id=True)
    cluster.run()
    times.append(time.perf_counter())
    processor = time.process_time() - processor
    raw = b"".join(file.read_bytes() for file in (work / "removed").glob("*.clusters"))
    steps = dict(zip(("sign", "find", "cluster"), (b - a for a, b in pairwise(times)), strict=True))
    print(json.dumps({"steps": steps, "processor": processor, "clusters": dict(struct.iter_unpack("<2I", raw))}))


main()
