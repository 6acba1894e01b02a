"""The findings in a SARIF 2.1.0 log of any tool."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from assistant.errors import HoneError
from assistant.skills.review.findings import Category, Evidence, Severity
from assistant.skills.review.observations import CONFIDENCE, Observation, Suggestion, TextEdit

_LEVELS: Mapping[str, Severity] = {"error": "error", "warning": "warning", "note": "note", "none": "note"}
_PRECISION = {"very-high": 0.95, "high": 0.9, "medium": 0.7, "low": 0.4}
"""CodeQL's words for the share of true findings of a rule, which other tools have taken over; the figures are ours."""
_PLACEHOLDER = re.compile(r"\{(\d+)\}")
_SECURITY = re.compile(r"security|cwe|vulnerab", re.IGNORECASE)


def observations(data: bytes, tool: str, folder: Path) -> list[Observation]:
    """Every result that is a finding in a file below `folder`: none that the tool itself suppressed, saw absent or
    calls a pass.

    Args:
        tool: the name that the evidence gets; results keep the tool's rule ids.

    Raises:
        HoneError: it is no SARIF 2.1.0.
    """
    try:
        log = json.loads(data.decode("utf-8-sig"))
    except ValueError as error:
        raise HoneError(f"{tool} wrote no JSON: {error}") from error
    except RecursionError as error:
        raise HoneError(f"{tool} wrote JSON that is nested too deeply") from error
    if not isinstance(log, dict) or log.get("version") != "2.1.0" or not isinstance(log.get("runs"), list):
        raise HoneError(f"{tool} wrote no SARIF 2.1.0 (an object with version and runs)")
    try:
        return [found for run in log["runs"] for found in _run(run, tool, folder)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OSError) as error:
        raise HoneError(f"{tool} wrote SARIF that does not follow the standard: {error!r}") from error


def _run(run: Mapping[str, Any], tool: str, folder: Path) -> Iterator[Observation]:
    rules = _rules(run)
    for result in run.get("results") or ():
        if result.get("kind", "fail") != "fail" or result.get("baselineState") == "absent":
            continue
        if any(one.get("status", "accepted") == "accepted" for one in result.get("suppressions") or ()):
            continue
        identifier, rule = _rule_of(result, rules, run)
        for location in (result.get("locations") or ())[:1]:
            physical = location.get("physicalLocation") or {}
            region = physical.get("region") or {}
            path = _path(physical.get("artifactLocation") or {}, run, folder)
            if path is None or "startLine" not in region:
                continue
            yield _observation(result, rule, identifier, path, region, tool, run, folder)


def _observation(
    result: Mapping[str, Any],
    rule: Mapping[str, Any],
    identifier: str,
    path: str,
    region: Mapping[str, Any],
    tool: str,
    run: Mapping[str, Any],
    folder: Path,
) -> Observation:
    first = int(region["startLine"])
    last = max(first, int(region.get("endLine", first)))
    if last > first and region.get("endColumn") == 1:
        last -= 1
    level = result.get("level") or (rule.get("defaultConfiguration") or {}).get("level") or "warning"
    severity = _LEVELS.get(level, "warning")
    properties = {**(rule.get("properties") or {}), **(result.get("properties") or {})}
    confidence = _PRECISION.get(str(properties.get("precision")), CONFIDENCE[severity])
    details = {}
    if "startColumn" in region and last == first:
        details["column"] = int(region["startColumn"])
        if "endColumn" in region:
            details["last_column"] = int(region["endColumn"])
    url = rule.get("helpUri")
    evidence = Evidence(
        tool, identifier, _message(result, rule), confidence, url if isinstance(url, str) else None, details
    )
    return Observation(
        path, first, last, severity, _category(rule, properties), evidence, _suggestion(result, path, run, folder)
    )


def _rules(run: Mapping[str, Any]) -> list[Sequence[Mapping[str, Any]]]:
    """The driver's rules, then those of each extension."""
    tool = run["tool"]
    return [tool["driver"].get("rules") or [], *(one.get("rules") or [] for one in tool.get("extensions") or ())]


def _rule_of(
    result: Mapping[str, Any], rules: Sequence[Sequence[Mapping[str, Any]]], run: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    """The id as the result names it, and the rule's description, empty where there is none."""
    reference = result.get("rule") or {}
    component = reference.get("toolComponent") or {}
    listed = rules[int(component["index"]) + 1] if "index" in component else rules[0]
    index = result.get("ruleIndex", reference.get("index", -1))
    rule: Mapping[str, Any] = listed[index] if 0 <= index < len(listed) else {}
    identifier = result.get("ruleId") or reference.get("id") or rule.get("id")
    if not rule and identifier:
        # A hierarchical id names its rule by its beginning.
        rule = next((one for some in rules for one in some if one["id"] == identifier), {}) or next(
            (one for some in rules for one in some if identifier.startswith(one["id"] + "/")), {}
        )
    return str(identifier or run["tool"]["driver"]["name"]), rule


def _message(result: Mapping[str, Any], rule: Mapping[str, Any]) -> str:
    message = result.get("message") or {}
    text = message.get("text") or message.get("markdown")
    if text is None and "id" in message:
        text = ((rule.get("messageStrings") or {}).get(message["id"]) or {}).get("text")
    if text is None:
        text = (rule.get("shortDescription") or {}).get("text") or "no message"
    arguments = message.get("arguments") or []

    def filled(match: re.Match[str]) -> str:
        return str(arguments[int(match[1])]) if int(match[1]) < len(arguments) else match[0]

    return _PLACEHOLDER.sub(filled, str(text)) if arguments else str(text)


def _category(rule: Mapping[str, Any], properties: Mapping[str, Any]) -> Category:
    tags = properties.get("tags") or ()
    relations = rule.get("relationships") or ()
    said = " ".join([*(str(tag) for tag in tags), str(properties.get("category", ""))])
    security = "security-severity" in properties or bool(_SECURITY.search(said)) or "CWE" in json.dumps(relations)
    return "security" if security else "correctness"


def _path(location: Mapping[str, Any], run: Mapping[str, Any], folder: Path) -> str | None:
    """The path below `folder` of a location, None where it is elsewhere."""
    if "uri" not in location and 0 <= location.get("index", -1) < len(run.get("artifacts") or ()):
        location = run["artifacts"][location["index"]].get("location") or {}
    uri = location.get("uri")
    if not isinstance(uri, str):
        return None
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        return None
    path = Path(unquote(parts.path))
    base = ((run.get("originalUriBaseIds") or {}).get(location.get("uriBaseId")) or {}).get("uri")
    if not path.is_absolute() and isinstance(base, str) and urlsplit(base).scheme == "file":
        path = Path(unquote(urlsplit(base).path)) / path
    whole = (folder / path).resolve()
    return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else None


def _suggestion(result: Mapping[str, Any], path: str, run: Mapping[str, Any], folder: Path) -> Suggestion | None:
    """The first fix that changes this file alone, by lines and columns."""
    for fix in result.get("fixes") or ():
        changes: Sequence[Any] = fix.get("artifactChanges") or ()
        if len(changes) != 1 or _path(changes[0].get("artifactLocation") or {}, run, folder) != path:
            continue
        replacements: Sequence[Any] = changes[0].get("replacements") or ()
        if not replacements or any("startLine" not in one["deletedRegion"] for one in replacements):
            continue
        if run.get("columnKind") != "unicodeCodePoints" and not _plain(folder / path):
            continue
        description = (fix.get("description") or {}).get("text") or "as the tool suggests"
        return Suggestion(str(description), tuple(_edit(one, folder / path) for one in replacements))
    return None


def _edit(replacement: Mapping[str, Any], file: Path) -> TextEdit:
    region = replacement["deletedRegion"]
    first = int(region["startLine"])
    last = int(region.get("endLine", first))
    if "endColumn" in region:
        last_column = int(region["endColumn"])
    else:
        lines = file.read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n").split("\n")
        last_column = len(lines[last - 1]) + 1 if last <= len(lines) else 1
    inserted = (replacement.get("insertedContent") or {}).get("text", "")
    return TextEdit(first, int(region.get("startColumn", 1)), last, last_column, str(inserted))


def _plain(file: Path) -> bool:
    """Whether columns are the same in characters and in UTF-16 units."""
    return max(file.read_bytes().decode("utf-8", "replace"), default="") <= "\uffff"
