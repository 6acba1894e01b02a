"""Code of its own words, so that no two files are near copies."""

import random


def module(seed: int, functions: int = 4) -> str:
    """Code of its own words, so that no two seeds are near copies."""
    draw = random.Random(seed)

    def word() -> str:
        return "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6))

    return "\n\n".join(
        f"def {word()}({word()}, {word()}):\n    {word()} = {word()} + {draw.randint(1, 99)}\n"
        f"    for {word()} in {word()}({word()}):\n        {word()}.{word()}({word()})\n    return {word()}"
        for _ in range(functions)
    )


def modules(count: int, first: int = 0) -> dict[str, str]:
    return {f"pkg/m{number}.py": module(number) for number in range(first, first + count)}
