"""What the form that a model is served in costs and gives: the embedded model in its own Q4_1 and in Q8_0.

    python -m benchmarks.serving_form [--rounds N] [--prompt TOKENS] [--tokens N]

llama.cpp reads a prompt that it has not seen and writes an answer, in each form in turn, a process each. Medians over
rounds; ratios are medians of the rounds' ratios. Then the bits per byte of both on the beginnings of standard library
modules, beside transformers with the same weights in fp32.
"""

import argparse
import inspect
import tempfile
from pathlib import Path

from assistant import cores
from assistant.models import store
from assistant.models.serving_form import serving_gguf
from benchmarks import machine
from benchmarks.decode import MODEL, raw_xllamacpp
from benchmarks.peers import Peer
from tuning.model.load import load_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=768, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of the answer")
    options = parser.parse_args()
    print(machine.describe(), flush=True)
    base = store.fetch(MODEL)
    assert base.gguf is not None
    files = {"Q4_1": base.gguf, "Q8_0": serving_gguf(base.gguf)}
    text = load_tokenizer(store.tuning_form(base))(inspect.getsource(argparse)).input_ids
    runners = {name: Peer(raw_xllamacpp, path, cores.physical()) for name, path in files.items()}
    read: dict[str, list[float]] = {name: [] for name in files}
    written: dict[str, list[float]] = {name: [] for name in files}
    names = list(files)
    for number in range(options.rounds):
        # From another place in every round, so that nothing is cached.
        prompt = text[number * 97 : number * 97 + options.prompt]
        for name in names[number % 2 :] + names[: number % 2]:
            sample = runners[name](prompt, options.tokens)
            read[name].append(options.prompt / sample.first_seconds)
            written[name].append(sample.tokens_per_second)
    for runner in runners.values():
        runner.close()
    for what, speeds in (("prompt", read), ("answer", written)):
        for name in names:
            print(f"{what}  {name}  {machine.spread(speeds[name])} tokens/s")
        ratios = [mine / theirs for mine, theirs in zip(speeds["Q8_0"], speeds["Q4_1"], strict=True)]
        print(f"{what}  Q8_0 / Q4_1  {machine.spread(ratios, 2)}")
    print(_quality(files, store.tuning_form(base)))
    print(machine.describe())


def _quality(files: dict[str, Path], folder: Path) -> str:
    import torch

    from tuning import scoring
    from tuning.model.load import load_base
    from tuning.passages import standard_library

    tokenizer = load_tokenizer(folder)
    passages = standard_library(tokenizer)
    ends = frozenset(tokenizer.all_special_ids)
    picks, scores = scoring.picks_and_scores(load_base(folder, torch.float32).eval(), passages, ends)
    said = []
    for name, path in files.items():
        with tempfile.TemporaryDirectory() as sockets:
            served = scoring.LlamaCpp(path, None, passages, Path(sockets)).read(ends)
        at = sorted(served.picks)
        size = scoring.text_bytes(passages, at, tokenizer)
        same = scoring.agreement(picks, served.picks, at)
        said.append(f"{name} {scoring.bits(served.scores, at) / size:.4f}, picks transformers' token at {same:.1%}")
    plain = scoring.bits(scores, at) / size
    return f"bits per byte at {len(at)} places: transformers in fp32 {plain:.4f}; {'; '.join(said)}"


if __name__ == "__main__":
    main()
