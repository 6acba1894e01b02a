"""Three teams with code of their own: another language and another house style each, words that nobody else has."""

import random
from collections.abc import Callable


def _words(seed: int) -> Callable[[], str]:
    draw = random.Random(seed)
    return lambda: "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6))


def ledger(seed: int) -> str:
    """Python: classes that log and return early."""
    word = _words(seed)
    methods = "\n\n".join(
        f"    def {word()}(self, {(key := word())}: Ledger, {(count := word())}: int) -> Outcome:\n"
        f"        if {key} is None:\n            return Outcome.missing({word()!r})\n"
        f"        self.journal.note({word()!r}, {key}.{word()}, {count})\n"
        f"        return Outcome.of(self.{word()}({key}, {count}))"
        for _ in range(4)
    )
    return f"from ledger.core import Ledger, Outcome, Service\n\n\nclass {word().title()}Service(Service):\n{methods}\n"


def widget(seed: int) -> str:
    """JavaScript: arrow functions over a store."""
    word = _words(seed)
    functions = "\n\n".join(
        f"export const {word()} = async ({{ {(store := word())}, {(item := word())} }}) => {{\n"
        f"  const {(found := word())} = await {store}.select('{word()}', {item}.{word()});\n"
        f"  if (!{found}) throw new WidgetError('{word()}', {{ {item} }});\n"
        f"  return {found}.map(({word()}) => widget.{word()}({store}, {item}));\n}};"
        for _ in range(4)
    )
    return f"import {{ WidgetError, widget }} from '@widgets/core';\n\n{functions}\n"


def probe(seed: int) -> str:
    """Go: errors wrapped with the name of the probe."""
    word = _words(seed)
    functions = "\n\n".join(
        f"func (p *Probe) {(name := word().title())}(ctx context.Context, {(target := word())} Target)"
        f" (Reading, error) {{\n"
        f"\t{(raw := word())}, err := p.{word()}(ctx, {target}.{word().title()})\n"
        f'\tif err != nil {{\n\t\treturn Reading{{}}, fmt.Errorf("probe {name}: %w", err)\n\t}}\n'
        f"\treturn p.calibrate({raw}, {target}), nil\n}}"
        for _ in range(4)
    )
    return f'package probe\n\nimport (\n\t"context"\n\t"fmt"\n)\n\n{functions}\n'


TEAMS: dict[str, tuple[Callable[[int], str], str]] = {
    "ledger": (ledger, "py"),
    "widgets": (widget, "js"),
    "probes": (probe, "go"),
}


def files(team: str, count: int, first: int = 0) -> dict[str, str]:
    """Files of a team, by path; no two seeds are near copies."""
    write, ending = TEAMS[team]
    return {f"src/{team}{number}.{ending}": write(1000 * len(team) + number) for number in range(first, first + count)}
