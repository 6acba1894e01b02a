"""What tuning a model costs: tokens, hours and memory, from sizes alone, before anything is fetched.

    tokens  = bytes of code / BYTES_PER_TOKEN x epochs
    seconds = tokens x (4 N + 3 A + 6 N_lora) / (operations per second reached) x (1 + OVERHEAD)

N are the weights of all linear layers with the output head, A the work of attention, N_lora the trained weights (see
`tuning.model.flops`). What is reached per second is measured on two cores and on an H100, and assumed elsewhere: of
another GPU it is the maker's figure for dense bfloat16 times `ASSUMED_SHARE`. Memory is the estimate of
`tuning.model.footprint`, without what several processes would share.

`python -m tuning.cost` prints the tables of docs/scale.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tuning.model import footprint
from tuning.model.flops import Shape, lora_flops_per_token

BYTES_PER_TOKEN = 4.0
"""Of source code under SmolLM2's vocabulary: 3.77 and 4.21 in two Python repositories of 1.5 and 2.7 MB."""
OVERHEAD = 0.06
"""Validation and checkpoints, over the time in optimizer steps: two runs of 230,762 and 256,829 tokens that took
919 s and 1,224 s spent 864 s and 1,158 s of them in steps."""
ASSUMED_SHARE = 0.35
"""Of a GPU's operations per second that such a loop reaches; on an H100 it is 0.36 to 0.43 from 1.5 B weights on."""
CONTEXT_SHARE = 0.5
"""Mean length of the document that a token is in, over the length of a row: documents are packed."""
RANK = 32
ROW = 1024
Quantize = Literal["none", "4bit", "8bit"]


@dataclass(frozen=True)
class Architecture:
    """The sizes of a Llama-like decoder, as in its config.json."""

    name: str
    hidden: int
    layers: int
    heads: int
    key_heads: int
    inner: int
    vocabulary: int
    tied: bool
    """The output head is the embedding."""
    biases: bool
    """Of q, k and v."""

    @property
    def keys(self) -> int:
        """Width of k and of v."""
        return self.hidden // self.heads * self.key_heads

    def linear(self) -> list[tuple[int, int]]:
        """(out, in) of the layers that get an adapter."""
        hidden, keys, inner = self.hidden, self.keys, self.inner
        layer = [(hidden, hidden), (keys, hidden), (keys, hidden), (hidden, hidden)]
        layer += [(inner, hidden), (inner, hidden), (hidden, inner)]
        return layer * self.layers

    @property
    def others(self) -> int:
        """Weights besides: embeddings, an output head of its own, norms, biases."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        norms = (2 * self.layers + 1) * self.hidden
        return embeddings + norms + (self.layers * (self.hidden + 2 * self.keys) if self.biases else 0)

    @property
    def parameters(self) -> int:
        return sum(out * ins for out, ins in self.linear()) + self.others

    def shape(self, rank: int) -> Shape:
        head = self.vocabulary * self.hidden
        return Shape(
            matmul=sum(out * ins for out, ins in self.linear()) + head,
            head=head,
            lora=sum(rank * (out + ins) for out, ins in self.linear()),
            layers=self.layers,
            width=self.hidden,
        )


LADDER = (
    Architecture("SmolLM2 135M", 576, 30, 9, 3, 1536, 49_152, tied=True, biases=False),
    Architecture("SmolLM2 360M", 960, 32, 15, 5, 2560, 49_152, tied=True, biases=False),
    Architecture("Qwen2.5-Coder 0.5B", 896, 24, 14, 2, 4864, 151_936, tied=True, biases=True),
    Architecture("Qwen2.5-Coder 1.5B", 1536, 28, 12, 2, 8960, 151_936, tied=True, biases=True),
    Architecture("Qwen2.5-Coder 3B", 2048, 36, 16, 2, 11_008, 151_936, tied=True, biases=True),
    Architecture("Qwen2.5-Coder 7B", 3584, 28, 28, 4, 18_944, 152_064, tied=False, biases=True),
    Architecture("Qwen2.5-Coder 14B", 5120, 48, 40, 8, 13_824, 152_064, tied=False, biases=True),
)


@dataclass(frozen=True)
class Machine:
    name: str
    reached: float
    """Floating point operations per second in optimizer steps."""
    memory: float
    """Bytes that a run may take; 0: it depends."""
    is_gpu: bool
    measured: Mapping[str, float]
    """Tokens per second in optimizer steps with rank 32, by the architectures' names."""


def reached(tokens_per_second: float, architecture: Architecture, rank: int = RANK, row: int = ROW) -> float:
    """What a measured speed comes to, in floating point operations per second."""
    return tokens_per_second * lora_flops_per_token(architecture.shape(rank), row * CONTEXT_SHARE)


MEASURED_TOKENS_PER_SECOND = 260.0
"""SmolLM2-135M, bfloat16, rank 32, rows of 1,024, on two cores of an x86-64 server: see the README's table."""
HERE = Machine(
    "2 CPU cores",
    reached(MEASURED_TOKENS_PER_SECOND, LADDER[0]),
    0,
    is_gpu=False,
    measured={LADDER[0].name: MEASURED_TOKENS_PER_SECOND},
)
ON_H100 = {
    "SmolLM2 135M": 120_916.0,
    "Qwen2.5-Coder 0.5B": 91_850.0,
    "Qwen2.5-Coder 1.5B": 55_184.0,
    "Qwen2.5-Coder 3B": 29_939.0,
    "Qwen2.5-Coder 7B": 14_529.0,
    "Qwen2.5-Coder 14B": 6_433.0,
}
"""Medians of `benchmarks.gpu`: random weights of these sizes, bfloat16, rank 32, 16 rows of 1,024 a step."""
MACHINES = (
    HERE,
    # Dense bfloat16 and memory by NVIDIA's data sheets.
    Machine("L4", 121e12 * ASSUMED_SHARE, 24e9, is_gpu=True, measured={}),
    Machine("A100 80 GB", 312e12 * ASSUMED_SHARE, 80e9, is_gpu=True, measured={}),
    Machine("H100 80 GB", 989e12 * ASSUMED_SHARE, 80e9, is_gpu=True, measured=ON_H100),
)


def tokens_of(code_bytes: float, epochs: float = 2.0) -> int:
    """What a run sees of a corpus of so many bytes, in all passes."""
    return round(code_bytes / BYTES_PER_TOKEN * epochs)


@dataclass(frozen=True)
class Cost:
    flops_per_token: float
    tokens_per_second: float
    """In optimizer steps."""
    seconds: float
    """Of the whole training, without the making of the corpus and the proof of the export."""
    memory: int
    """Bytes, see `footprint.MARGIN` for how far it may be off."""


def cost(
    architecture: Architecture,
    machine: Machine,
    tokens: int,
    *,
    rank: int = RANK,
    row: int = ROW,
    quantize: Quantize = "none",
    recompute: bool = False,
) -> Cost:
    """
    Args:
        tokens: seen in all passes.
        quantize: of the frozen base; computing goes on in bfloat16, so the speed counts as the same.
        recompute: activation checkpointing, which costs another forward pass of the frozen weights.
    """
    shape = architecture.shape(rank)
    work = lora_flops_per_token(shape, row * CONTEXT_SHARE)
    done = work + (2 * shape.matmul if recompute else 0)
    held = footprint.of_sizes(
        {
            "hidden_size": architecture.hidden,
            "num_hidden_layers": architecture.layers,
            "num_attention_heads": architecture.heads,
            "num_key_value_heads": architecture.key_heads,
            "intermediate_size": architecture.inner,
            "vocab_size": architecture.vocabulary,
        },
        architecture.linear(),
        architecture.others,
        pass_tokens=row,
        rank=rank,
        bytes_per_number=2,
        quantize=quantize,
        recompute=recompute,
        on_gpu=machine.is_gpu,
    )
    speed = _reached(machine, architecture) / done
    return Cost(work, speed, tokens / speed * (1 + OVERHEAD), held.total)


def _reached(machine: Machine, architecture: Architecture) -> float:
    """Operations per second: as measured, of the next larger architecture where this one was not."""
    larger = (each for each in LADDER if each.parameters >= architecture.parameters and each.name in machine.measured)
    known = next(larger, None)
    return machine.reached if known is None else reached(machine.measured[known.name], known)


def memory_table() -> str:
    """Markdown: what tuning takes on a GPU, by model."""
    rows = []
    for each in LADDER:
        plain = cost(each, MACHINES[1], 1)
        packed = cost(each, MACHINES[1], 1, quantize="4bit", recompute=True)
        rows.append(
            (
                each.name,
                f"{each.parameters / 1e9:.2f} B",
                f"{plain.flops_per_token / 1e9:.1f}",
                f"{plain.memory / 1e9:.1f} GB",
                f"{packed.memory / 1e9:.1f} GB",
            )
        )
    header = ("model", "weights", "GFLOP per token", "memory, bfloat16", "memory, 4-bit and checkpointing")
    return _markdown(header, rows)


def hours_table(tokens: int = 1_000_000) -> str:
    """Markdown: how long so many tokens take, by model and machine; a dash where the memory does not do."""
    rows = []
    for each in LADDER:
        cells = [each.name]
        for machine in MACHINES:
            one = cost(each, machine, tokens)
            fits = not machine.memory or one.memory * footprint.MARGIN <= machine.memory
            # On a GPU a small model waits for the launch of its kernels; no figure of seconds would be true.
            short = each.name not in machine.measured and one.seconds < 60
            cells.append("-" if not fits else "under 1 min" if short else _duration(one.seconds))
        rows.append(tuple(cells))
    header = ("model", *(f"{one.name}{'' if one.measured else ' (assumed)'}" for one in MACHINES))
    return _markdown(header, rows)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(memory_table(), hours_table(), sep="\n\n")  # noqa: T201
