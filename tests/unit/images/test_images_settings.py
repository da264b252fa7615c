"""The knobs of the images' wing: what is refused at start instead of surprising later."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from pydantic import ValidationError

from worker.cpus import available_cpus
from worker.errors import ConfigurationError
from worker.images import decode_settings
from worker.images.limits import limits_from
from worker.images.settings import ImagesSettings
from worker.settings import resolve


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
        {"background": "nocolour"},
        {"background": "#ffffff80"},
        {"draft": 1},
        {"frames": 0},
        {"max_aspect_ratio": 0.5},
        {"truncated_rows_missing": 1},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ImagesSettings(**wrong)


def test_heic_without_its_decoder_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_settings, "find_spec", lambda _: None)
    assert "heic" not in resolve(None, (), {}).settings.images.formats
    with pytest.raises(ConfigurationError, match=r"images\.formats.*pip install 'image-worker\[heic\]'"):
        resolve(None, ["images.formats=['jpeg', 'heic']"], {})


def test_a_draft_from_the_environment_is_a_number() -> None:
    assert resolve(None, (), {"IMAGE_WORKER_IMAGES__DRAFT": "2"}).settings.images.draft == 2


def test_decode_processes_are_told_every_limit() -> None:
    settings = ImagesSettings(frames=3, background="#123456")
    assert limits_from(json.loads(json.dumps(asdict(settings.limits)))) == settings.limits


def test_hosts_are_compared_as_they_are_looked_up() -> None:
    assert ImagesSettings(deny_hosts=("Bücher.example", ".cdn.example.")).deny_hosts == (
        "xn--bcher-kva.example",
        "cdn.example",
    )


def test_every_knob_says_what_it_is_and_why() -> None:
    for name, field in ImagesSettings.model_fields.items():
        assert field.description, name
