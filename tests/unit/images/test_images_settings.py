"""The knobs of the images' wing: what is refused at start instead of surprising later."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from worker.cpus import available_cpus
from worker.images.settings import ImagesSettings


def test_the_defaults_reach_public_hosts_and_no_files() -> None:
    settings = ImagesSettings()
    assert settings.schemes == ("http", "https", "data")
    assert settings.allow_networks == ()
    assert settings.processes == available_cpus() >= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_byte": 1},
        {"max_bytes": 0},
        {"schemes": ("ftp",)},
        {"formats": ()},
        {"formats": ("svg",)},
        {"allow_networks": ("10.0.0.1/8",)},
        {"deny_hosts": ("",)},
        {"decode_memory_bytes": 1},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ImagesSettings(**wrong)


def test_hosts_are_compared_as_they_are_looked_up() -> None:
    assert ImagesSettings(deny_hosts=("Bücher.example", ".cdn.example.")).deny_hosts == (
        "xn--bcher-kva.example",
        "cdn.example",
    )


def test_every_knob_says_what_it_is_and_why() -> None:
    for name, field in ImagesSettings.model_fields.items():
        assert field.description, name
