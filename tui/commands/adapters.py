"""`hone models export` and `hone models merge`: what an adapter can become."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from assistant.errors import UsageError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def export(
    adapter: Annotated[str, typer.Argument(metavar="NAME[@DIGEST]", help="The adapter version, or an alias.")],
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="peft, vllm, gguf-lora, safetensors, gguf-f16, gguf-q8_0 or gguf-q4_1; give it again for more.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A new folder; each format gets its own in it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write an adapter for other programs: alone (PEFT, vLLM, GGUF LoRA) or merged into its base (safetensors, GGUF).

    Every file is loaded again in a fresh process and compared with the adapter before the folder appears.
    """
    from tui import tables
    from tui.progress import transfer_progress
    from tuning.formats.write import FORMATS
    from tuning.formats.write import export as write

    if not to:
        raise UsageError(f"say what to export to with --to: {', '.join(FORMATS)}")
    if out is None:
        raise UsageError("name a new folder to export into with --out")
    with transfer_progress() as progress:
        result = write(adapter, to, out, progress, _note)
    if as_json:
        tables.print_json(
            {
                "adapter": result.version.id,
                "digest": result.version.digest,
                "folder": str(result.folder),
                "compared_on": result.text,
                "exports": [
                    {
                        "format": each.format,
                        "path": str(each.path),
                        "bytes": each.bytes,
                        "notes": list(each.notes),
                        "command": each.command,
                        "proof": _figures(each.proof),
                    }
                    for each in result.exports
                ],
            }
        )
        return
    for each in result.exports:
        typer.echo(f"{each.format}  {each.path}  ({each.bytes / 1e6:,.1f} MB)")
        typer.echo(f"    {each.proof.describe()}")
        for note in each.notes:
            typer.echo(f"    {note}")
        if each.command:
            typer.echo(f"    serve it with: {each.command}")
    typer.echo(f"compared on {result.text}; figures and hashes in {result.folder / 'export.json'}")


def merge(
    adapters: Annotated[
        list[str],
        typer.Argument(metavar="NAME[@DIGEST]...", help="The adapters; with one, it is scaled by its weight."),
    ],
    *,
    weights: Annotated[str, typer.Option(metavar="W,W...", help="A weight for each adapter.")],
    name: Annotated[str, typer.Option(help="What to call the result.")],
    method: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="cat (default: the exact weighted sum, ranks added up), svd (that sum, cut to the largest rank), "
            "linear, ties, dare_linear, dare_ties, magnitude_prune (each also with _svd, but linear).",
        ),
    ] = None,
    density: Annotated[
        float | None, typer.Option(help="Share of the values that ties, dare and prune methods keep; default: 0.5.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what the dare methods drop.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Combine adapters of one base into a new adapter version, or scale one. The result is proven like a tuned one."""
    from typing import cast

    from tui import tables
    from tui.progress import transfer_progress
    from tuning.merge import Method, Recipe
    from tuning.merge import merge as run

    if len(adapters) == 1 and method is not None:
        raise UsageError("--method means nothing to one adapter, which is only scaled; leave it out")
    recipe = Recipe(_numbers(weights), cast(Method, method or "cat"), density, seed)
    with transfer_progress() as progress:
        result = run(adapters, recipe, name, progress, _note)
    version, proof = result.version, result.proof
    if as_json:
        tables.print_json(
            {
                "adapter": version.id,
                "name": version.name,
                "digest": version.digest,
                "base": version.base_name,
                "folder": str(version.folder),
                "parents": version.figures["parents"],
                "method": version.figures["method"],
                "proof": {**_figures(proof), "compared_on": result.text},
            }
        )
        return
    tables.print_fields(
        {
            "adapter": version.id,
            "made of": ", ".join(version.figures["parents"]) + f" ({version.figures['method']})",
            "proof": f"llama.cpp picks transformers' next token at {proof.agreement:.1%} of {proof.positions} places "
            f"(bare base {proof.base_agreement:.1%}); reloaded adapter differs by {proof.reload_difference:.1g}; "
            f"compared on {result.text}",
        }
    )


def _numbers(weights: str) -> tuple[float, ...]:
    try:
        return tuple(float(weight) for weight in weights.split(","))
    except ValueError as error:
        raise UsageError(f"--weights takes numbers with commas between them, not {weights!r}") from error


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _figures(proof: Any) -> dict[str, Any]:
    from dataclasses import asdict

    figures = asdict(proof)
    for name in ("bits_difference", "quantized_difference"):
        if hasattr(proof, name):
            figures[name] = getattr(proof, name)
    return figures
