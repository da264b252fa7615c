"""A model held against its lock: one finding for each thing that is compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest

from worker.errors import Fatal
from worker.models.classifier import Classifier
from worker.models.provenance.facts import facts_of
from worker.models.provenance.files import ModelFiles, is_pinned
from worker.models.provenance.golden import comparable, compare, outputs
from worker.models.provenance.lock import Lock
from worker.models.provenance.versions import versions
from worker.printable import printable
from worker.recipe import InputRecipe


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was compared."""

    subject: str
    text: str
    """On one line: what differs, or in short what was found."""
    ok: bool = True


def before_loading(lock: Lock, files: ModelFiles) -> Iterator[Finding]:
    """The files, and only where all of those are the same, what they state."""
    same = True
    for finding in of_files(lock, files):
        same = same and finding.ok
        yield finding
    if same:
        yield from of_facts(lock, files)


def of_files(lock: Lock, files: ModelFiles) -> Iterator[Finding]:
    """Every file by its bytes: none changed, missing, or come anew. Nothing is parsed."""
    locked, here = ({file.name: file for file in found} for found in (lock.files, files.files))
    for name in sorted(locked.keys() | here.keys()):
        shown = printable(name)
        if name not in here:
            yield Finding(shown, f"is in the lock, and not in {files.directory}", ok=False)
        elif name not in locked:
            yield Finding(shown, f"is in {files.directory}, and not in the lock", ok=False)
        elif locked[name].size != here[name].size:
            yield Finding(shown, f"has {locked[name].size} bytes in the lock, {here[name].size} here", ok=False)
        elif locked[name].sha256 != here[name].sha256:
            changed = f"has other bytes: sha256 {locked[name].sha256} in the lock, {here[name].sha256} here"
            yield Finding(shown, changed, ok=False)
        else:
            yield Finding(shown, f"{here[name].size} bytes, sha256 {here[name].sha256[:12]}")


def of_facts(lock: Lock, files: ModelFiles) -> Iterator[Finding]:
    """What the lock states of the card and of config.json, read again: a lock that was edited shows here."""
    here = facts_of(files)
    if is_pinned(lock.source):
        yield _same("source", lock.source, f"{lock.name}@{lock.revision}")
    else:
        yield _same("revision", lock.revision, files.weights_sha256)
    yield _same("licence", str(lock.licence), str(here.licence))
    yield _same("base models", ", ".join(lock.base_models), ", ".join(here.base_models))
    yield _same("architecture", lock.architecture, here.architecture)


def of_model(lock: Lock, classifier: Classifier) -> Iterator[Finding]:
    """The labels, the recipe, and the golden outputs of a loaded model."""
    classifier = comparable(classifier)
    yield _labels(lock.labels, classifier.labels)
    yield from _recipe(lock.recipe, classifier.recipe)
    if lock.labels == classifier.labels:
        yield from _golden(lock, classifier)


def require(findings: Iterable[Finding], name: str, lock: object) -> None:
    """Raises Fatal with a line for each thing that differs."""
    differing = [finding for finding in findings if not finding.ok]
    if differing:
        raise Fatal(
            "\n".join(
                f"model {name} is not the one that {lock} locks: {finding.subject}: {finding.text}"
                for finding in differing
            )
        )


def _same(subject: str, locked: str, here: str) -> Finding:
    locked, here = printable(locked) or "none", printable(here) or "none"
    if locked == here:
        return Finding(subject, here)
    return Finding(subject, f"is {locked} in the lock, {here} here", ok=False)


def _labels(locked: tuple[str, ...], here: tuple[str, ...]) -> Finding:
    changed = [index for index, (old, new) in enumerate(zip_longest(locked, here)) if old != new]
    if not changed:
        return Finding("labels", str(len(here)))
    first = changed[0]
    old, new = (repr(names[first]) if first < len(names) else "nothing" for names in (locked, here))
    more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
    return Finding("labels", f"label {first} is {old} in the lock, {new} here{more}", ok=False)


def _recipe(locked: InputRecipe, here: InputRecipe) -> Iterator[Finding]:
    before, after = asdict(locked), asdict(here)
    changed = [key for key in before if before[key] != after[key]]
    for key in changed:
        yield Finding(f"recipe.{key}", f"is {before[key]} in the lock, {after[key]} here", ok=False)
    if not changed:
        yield Finding("recipe", f"{here.height}x{here.width}")


def _golden(lock: Lock, classifier: Classifier) -> Iterator[Finding]:
    precision = classifier.identity.precision
    locked = {golden.photograph: golden for golden in lock.golden}
    for now in outputs(classifier):
        if now.photograph not in locked:
            yield Finding(now.photograph, "is not in the lock: lock the model anew", ok=False)
            continue
        found = compare(locked[now.photograph], now, lock.labels, precision)
        if found.trouble is None:
            text = f"{printable(found.best)}, largest difference {found.difference:.1e} in {precision}"
            yield Finding(now.photograph, text)
        else:
            yield Finding(now.photograph, f"{found.trouble}{_because(lock)}", ok=False)


def _because(lock: Lock) -> str:
    """The libraries that are of other versions than those which gave the golden outputs."""
    here = versions(lock.versions)
    moved = [f"{name} {old}, here {here.get(name)}" for name, old in lock.versions.items() if here.get(name) != old]
    return f" (locked with {printable('; '.join(moved))})" if moved else ""
