"""`hone feedback`: what became of suggestions, whether their texts are kept, and how to hand on or forget it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from assistant.feedback_consent import Consent
    from assistant.feedback_events import Event
    from assistant.feedback_trained import Touched

app = typer.Typer(
    name="feedback",
    help="What became of suggestions: show, keep for training, export, forget.",
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def feedback(context: typer.Context, as_json: AsJson = False) -> None:
    """What became of suggestions: show, keep for training, export, forget. Without a command: show."""
    if context.invoked_subcommand is None:
        _show(as_json)


@app.command()
def show(as_json: AsJson = False) -> None:
    """Acceptance rate by language and model, and whose texts are kept."""
    _show(as_json)


def _show(as_json: bool) -> None:
    from dataclasses import asdict

    from assistant import feedback_consent, feedback_expiry
    from assistant.feedback import MAX_BYTES, Feedback
    from assistant.feedback_summary import groups
    from tui.tables import print_json, print_table

    kept = Feedback()
    log = kept.read()
    found = groups(log.events)
    dismissed = len({event.id for event in log.events if event.source == "review"})
    full = kept.size() > MAX_BYTES
    consent = feedback_consent.read()
    put_off = feedback_expiry.put_off_until(kept.file)
    if as_json:
        print_json(
            {
                "file": str(kept.file),
                "events": len(log.events),
                "damaged_lines": log.damaged,
                "bytes": kept.size(),
                "full": full,
                **_consent_fields(consent),
                "removal_put_off_until": put_off and put_off.isoformat(timespec="seconds"),
                "with_texts": sum(event.completion is not None for event in log.events),
                "thumbs": {kind: sum(event.kind == kind for event in log.events) for kind in ("up", "down")},
                "dismissed_findings": dismissed,
                "groups": [{**asdict(group), "acceptance": round(group.acceptance, 4)} for group in found],
            }
        )
        return
    if not log.events:
        typer.echo(f"nothing is known yet; suggestions that are shown and taken will be counted in {kept.file}")
        typer.echo(_described(consent))
        return
    if found:
        print_table(
            ("language", "model", "shown", "accepted", "partly", "rejected", "acceptance", "kept after 30 s"),
            [
                (
                    group.language or "other",
                    group.adapter or group.model,
                    group.shown,
                    group.accepted,
                    group.partly,
                    group.rejected,
                    f"{group.acceptance:.0%}",
                    None if group.survival is None else f"{group.survival:.0%}",
                )
                for group in found
            ],
        )
    thumbs = {kind: sum(event.kind == kind for event in log.events) for kind in ("up", "down")}
    if any(thumbs.values()):
        typer.echo(f"thumbs: {thumbs['up']} up, {thumbs['down']} down")
    if dismissed:
        typer.echo(f"review: {dismissed} finding{'s' if dismissed > 1 else ''} of the model dismissed")
    typer.echo(_described(consent))
    if put_off is not None:
        days = consent.retention_days
        typer.echo(
            f"the clock went ahead a long way since the last use, so nothing is removed for its age before "
            f"{put_off:%Y-%m-%d}; if the clock is right, `hone feedback retention {days}` removes it now",
            err=True,
        )
    if log.damaged:
        typer.echo(f"{log.damaged} lines of {kept.file} cannot be read and were left out", err=True)
    if full:
        limit = MAX_BYTES // 2**20
        typer.echo(f"{kept.file} is over {limit} MiB and takes no more texts; export and forget some", err=True)


def _consent_fields(consent: "Consent") -> "dict[str, object]":
    return {
        "texts_kept_of": list(consent.repositories),
        "texts_kept_elsewhere": consent.elsewhere,
        "retention_days": consent.retention_days,
    }


def _described(consent: "Consent") -> str:
    named = [*consent.repositories, *(["everything outside known repositories"] if consent.elsewhere else [])]
    kept = (
        f"texts are kept of {', '.join(named)}"
        if named
        else "no texts are kept; `hone feedback on` keeps this folder's"
    )
    return f"{kept}; events are removed after {consent.retention_days} days"


ELSEWHERE = typer.Option(
    "--elsewhere", help="What belongs to no known repository: other files and chats, editors that use the gateway."
)


@app.command()
def on(
    path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="Of a repository; default: this one.")] = None,
    elsewhere: Annotated[bool, ELSEWHERE] = False,
    as_json: AsJson = False,
) -> None:
    """Keep texts with feedback, redacted, so that it can be learnt from: of one repository from now on."""
    from dataclasses import replace

    from assistant import feedback_consent

    consent = feedback_consent.read()
    if elsewhere and path is None:
        consent = replace(consent, elsewhere=True)
    else:
        consent = replace(consent.with_repository(_repository(path)), elsewhere=elsewhere or consent.elsewhere)
    _settle(consent, as_json)


@app.command()
def off(
    path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="Of a repository; default: this one.")] = None,
    elsewhere: Annotated[bool, ELSEWHERE] = False,
    as_json: AsJson = False,
) -> None:
    """Keep no more texts; what was kept stays until it is forgotten."""
    from dataclasses import replace

    from assistant import feedback_consent

    consent = feedback_consent.read()
    if elsewhere and path is None:
        consent = replace(consent, elsewhere=False)
    else:
        consent = replace(consent.without_repository(_repository(path)), elsewhere=consent.elsewhere and not elsewhere)
    _settle(consent, as_json)


@app.command()
def retention(
    days: Annotated[int, typer.Argument(min=1, max=36_500, help="Days after which events are removed.")],
    as_json: AsJson = False,
) -> None:
    """Set how long events are kept; what is older goes now, and once a day from now on."""
    from dataclasses import replace

    from assistant import feedback_consent
    from assistant.feedback_events import older_than

    consent = replace(feedback_consent.read(), retention_days=days)
    _forget(older_than(days), as_json, settle=consent)


def _repository(path: Path | None) -> Path:
    from assistant.errors import HoneError
    from assistant.skills.repository import root_of

    root = root_of((path or Path.cwd()).absolute())
    if root is None:
        raise HoneError(f"{path or Path.cwd()} is in no git repository; name one, or say --elsewhere")
    return root


def _settle(consent: "Consent", as_json: bool) -> None:
    from assistant import feedback_consent
    from tui.tables import print_json

    feedback_consent.write(consent)
    if as_json:
        print_json(_consent_fields(consent))
    else:
        typer.echo(_described(consent))


FORMS = ("labels", "pairs", "completions", "tabby", "continue")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines; overwritten.")],
    form: Annotated[
        str,
        typer.Option(
            metavar="[labels|pairs|completions|tabby|continue]",
            help="labels: prompt, completion, label (KTO); pairs: prompt, chosen, rejected (DPO); "
            "completions: prompt, completion; tabby, continue: as these programs log.",
        ),
    ] = "labels",
    as_json: AsJson = False,
) -> None:
    """Write what was judged and has its texts, for training elsewhere or in another program's form."""
    import json

    from assistant import atomic
    from assistant.errors import HoneError, UsageError
    from assistant.feedback import Feedback
    from tui.tables import print_json

    if form not in FORMS:
        raise UsageError(f"--form {form}: there are {', '.join(FORMS)}")
    found = _lines(form, Feedback().read().events)
    if not found:
        raise HoneError(
            "there is no judged suggestion with its texts to export yet; keep texts with `hone feedback on`, and "
            "accept or dismiss some"
        )
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in found)
    try:
        # As private as the file they come from.
        atomic.write_text(file, lines, mode=0o600)
    except OSError as error:
        raise HoneError(f"cannot write {file}: {error.strerror}") from error
    good = sum(bool(line["label"]) for line in found) if form == "labels" else None
    if as_json:
        told = {} if good is None else {"good": good, "bad": len(found) - good}
        print_json({"file": str(file), "form": form, "examples": len(found), **told})
    else:
        told_good = "" if good is None else f", {good} good and {len(found) - good} bad"
        typer.echo(f"{file}: {len(found)} {'lines' if form in FORMS[3:] else 'examples'}{told_good}")


def _lines(form: str, events: "Iterable[Event]") -> "list[dict[str, object]]":
    from dataclasses import asdict

    from assistant import feedback_forms
    from assistant.feedback_summary import corrections, examples

    if form in ("tabby", "continue"):
        return list(feedback_forms.write("tabby" if form == "tabby" else "continue", events))
    if form == "pairs":
        return [asdict(pair) for pair in corrections(events)]
    judged = [asdict(example) for example in examples(events)]
    if form == "labels":
        return judged
    return [{"prompt": one["prompt"], "completion": one["completion"]} for one in judged if one["label"]]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines.")],
    form: Annotated[str, typer.Option(metavar="[tabby|continue]", help="Whose form it is.")],
    as_json: AsJson = False,
) -> None:
    """Take over what another program kept: Tabby's event log, or a file of Continue's development data."""
    from assistant import feedback_forms
    from assistant.errors import HoneError, UsageError
    from assistant.feedback import Feedback, Imported
    from tui.tables import print_json

    if form not in feedback_forms.FORMS:
        raise UsageError(f"--form {form}: there are {', '.join(feedback_forms.FORMS)}")
    kept = Feedback()
    # What became of a suggestion may be in a later file than the suggestion.
    known = {(event.id, event.kind) for event in kept.read().events}
    try:
        with file.open(encoding="utf-8") as lines:
            events = list(feedback_forms.read("tabby" if form == "tabby" else "continue", lines))
    except (OSError, UnicodeDecodeError) as error:
        raise HoneError(f"cannot read {file}: {error}") from error
    new = [event for event in events if (event.id, event.kind) not in known]
    for event in new:
        kept.record(
            event.kind,
            id=event.id,
            model=event.model,
            language=event.language,
            source=event.source,
            prompt=event.prompt,
            completion=event.completion,
            seconds=event.seconds,
            path=event.path,
            rendered=event.rendered,
            imported=Imported(event.time, event.user),
        )
    if as_json:
        print_json({"file": str(file), "imported": len(new), "known_before": len(events) - len(new)})
    else:
        typer.echo(f"{file}: {len(new)} events, {len(events) - len(new)} were known before")


@app.command()
def forget(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Of suggestions.")] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, max=36500, metavar="DAYS", help="What is older than that.")
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(metavar="PATH", help="What happened in a repository, also one that is gone.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove events for good; adapters that were trained on them are named, and marked in the registry."""
    from assistant.errors import UsageError

    if sum((bool(ids), older_than is not None, repository is not None, everything)) != 1:
        raise UsageError("say what to forget: IDs, or --older-than DAYS, or --repository PATH, or --all")
    _forget(_chosen(frozenset(ids or ()), older_than, repository), as_json)


def _forget(chosen: "Callable[[Event], bool]", as_json: bool, settle: "Consent | None" = None) -> None:
    from assistant import feedback_consent
    from assistant.feedback import Feedback
    from assistant.feedback_forgotten import forget
    from assistant.models.registry import Registry
    from tui.tables import print_json

    kept = Feedback()
    forgotten, found = forget(kept, chosen, Registry())
    if settle is not None:
        feedback_consent.write(settle)
        # Whoever says so says that the clock is right.
        kept.note_removal()
    if as_json:
        adapters = [
            {"adapter": one.version.id, "suggestions": len(one.ids), "through": list(one.through)} for one in found
        ]
        retained = {} if settle is None else {"retention_days": settle.retention_days}
        print_json({"forgotten": forgotten, "adapters": adapters, **retained})
        return
    typer.echo(f"forgot {forgotten} event{'s' * (forgotten != 1)}")
    for one in found:
        typer.echo(f"{one.version.id} {_why(one)}; it is marked, and still serves until it is removed or replaced")


def _why(one: "Touched") -> str:
    if one.ids:
        return f"was trained on {len(one.ids)} of the suggestions"
    return f"was made from {', '.join(one.through)}"


def _chosen(ids: frozenset[str], days: float | None, repository: Path | None) -> "Callable[[Event], bool]":
    from assistant.feedback_consent import key_of
    from assistant.feedback_events import older_than

    if ids:
        return lambda event: event.id in ids
    if repository is not None:
        from assistant.skills.repository import root_of

        here = repository.absolute()
        key = key_of((root_of(here) if here.exists() else None) or here)
        return lambda event: event.repository == key
    return (lambda event: True) if days is None else older_than(days)
