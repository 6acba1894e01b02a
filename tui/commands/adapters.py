"""`hone models export`, `import` and `merge`: what an adapter can become, and where it can come from."""

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
            help="peft, vllm, gguf-lora, safetensors, gguf-f16, gguf-q8_0 or gguf-q4_1; give it again for more. Or "
            "archive: one file that `hone models import` takes.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A new folder; each format gets its own in it. Of an archive: a new file."),
    ] = None,
    counts_only: Annotated[
        bool,
        typer.Option(
            "--counts-only",
            help="Of an archive: no name of a file, folder or repository goes with it, and no evidence; counts and "
            "hashes do.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write an adapter for other programs: alone (PEFT, vLLM, GGUF LoRA) or merged into its base (safetensors, GGUF).

    Every file is loaded again in a fresh process and compared with the adapter before the folder appears. An archive
    holds the adapter for another Hone, with its card, manifest and evidence, and without paths of this machine.
    """
    if to and "archive" in to:
        _archive(adapter, to, out, counts_only, as_json)
        return
    if counts_only:
        raise UsageError("--counts-only is for --to archive; the other formats hold nothing of the corpus")
    from tui import tables
    from tui.progress import transfer_progress
    from tuning.formats.write import FORMATS
    from tuning.formats.write import export as write

    if not to:
        raise UsageError(f"say what to export to with --to: {', '.join(FORMATS)}, archive")
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


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `hone models export --to archive` wrote.")],
    base: Annotated[str | None, typer.Option(metavar="M", help="Its base, where that has another name here.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call it; default: as its archive does.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take an adapter from an archive. Its digests, weights and configuration are checked before it is registered."""
    from assistant.models.registry import Registry
    from tui import tables
    from tui.progress import transfer_progress
    from tuning.archive.read import read

    with transfer_progress() as progress:
        imported = read(file, base, name, progress, _note)
    version = imported.version
    others = [each.id for each in Registry().versions(version.name) if each != version]
    if as_json:
        tables.print_json(
            {
                "adapter": version.id,
                "name": version.name,
                "digest": version.digest,
                "base": version.base_name,
                "folder": str(version.folder),
                "is_new": imported.is_new,
                "evidence": imported.evidence,
                "marks": list(imported.marks),
            }
        )
        return
    if not imported.is_new:
        typer.echo(f"{version.id} is here already; nothing was changed")
        return
    typer.echo(f"{version.id} of base {version.base_name}; pieces of evidence: {imported.evidence}")
    for mark in imported.marks:
        typer.echo(f"marked where it comes from: {mark}")
    if others:
        typer.echo(f"{version.name} without a digest means this version now; the others: {', '.join(others)}")
    typer.echo(f"measure it before you trust it: `hone eval repo --model {version.id}`")


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


def _archive(adapter: str, to: list[str], out: Path | None, counts_only: bool, as_json: bool) -> None:
    from tui import tables
    from tui.models.measured import decisions_of
    from tuning.archive.write import write

    if len(to) > 1:
        raise UsageError("an archive is one file; export the other formats apart")
    if out is None:
        raise UsageError("name a new file to export into with --out")
    written = write(adapter, out, decisions_of(adapter), counts_only=counts_only)
    if as_json:
        tables.print_json(
            {
                "adapter": written.version.id,
                "digest": written.version.digest,
                "file": str(written.path),
                "bytes": written.bytes,
                "sha256": written.sha256,
                "files": list(written.files),
                "evidence": written.evidence,
            }
        )
        return
    typer.echo(f"{written.path}  ({written.bytes / 1e6:,.1f} MB)  {', '.join(written.files)}")
    typer.echo(f"    sha256 {written.sha256}")
    typer.echo(f"    {written.version.id}; pieces of evidence: {written.evidence}; `hone models import` takes it")


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
