"""Whether the operator may run a model of this licence."""

from __future__ import annotations

from worker.errors import ConfigurationError
from worker.models.provenance.lock import UNKNOWN, Lock
from worker.models.provenance.verify import Finding
from worker.models.settings import ModelSettings
from worker.printable import printable


def accepted(lock: Lock, settings: ModelSettings) -> str | None:
    """Who accepted the licence, where somebody had to; None where it is on the operator's list.

    Raises ConfigurationError where it is unknown or not on the list, and nobody accepted it in writing.
    """
    listed = {name.lower() for name in settings.licences} - {UNKNOWN}
    if lock.licence.id.lower() in listed:
        return None
    if settings.licence_accepted is None:
        raise ConfigurationError(
            f"model {lock.name} has the licence {lock.licence}, which is not in model.licences: settle whether you may"
            ' use it, then write model.licence_accepted = "who, when, why"'
        )
    return settings.licence_accepted


def finding(lock: Lock, settings: ModelSettings) -> Finding:
    """Whether the licence is on the list, or who accepted it."""
    try:
        who = accepted(lock, settings)
    except ConfigurationError as error:
        return Finding("licence accepted", str(error), ok=False)
    return Finding("licence accepted", printable(who) if who else "it is in model.licences")
