"""`config show` and `config reference`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import ROOT, image_worker
from worker.reference import MASK, reference, shown
from worker.settings import resolve


def test_the_page_of_settings_is_the_reference() -> None:
    assert (ROOT / "docs" / "settings.md").read_text("utf-8") == reference(), (
        "run `image-worker config reference > docs/settings.md`"
    )


def test_what_is_shown_is_a_file_that_gives_the_same_settings(tmp_path: Path) -> None:
    flags = [
        'policy.thresholds={"space shuttle" = {block = 0.5}}',
        "kafka.properties={'security.protocol' = 'SSL'}",
        "images.allow_networks=['10.0.0.0/8']",
        'kafka.group_id="with \\"quotes\\""',
    ]
    resolved = resolve(None, flags, {})
    file = tmp_path / "shown.toml"
    file.write_text("\n".join(shown(resolved)), "utf-8")
    assert resolve(file, (), {}).settings == resolved.settings


def test_each_value_names_its_source(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("kafka.group_id = 'a'\nbatch.max_size = 4\n")
    lines = list(shown(resolve(file, ["batch.max_size=8"], {"IMAGE_WORKER_POLICY__TOPICS": '{"block": "b"}'})))
    assert f'kafka.group_id = "a"  # {file}' in lines
    assert "batch.max_size = 8  # flag --set batch.max_size" in lines
    assert 'policy.topics.block = "b"  # environment IMAGE_WORKER_POLICY__TOPICS' in lines
    assert 'model.device = "auto"  # default' in lines


@pytest.mark.parametrize(
    "flag",
    [
        "events.registry_password=hush",
        "events.registry_url=http://user:hush@registry:8081",
        "kafka.properties={'sasl.password' = 'hush'}",
        "kafka.producer_properties={'ssl.key.pem' = 'hush'}",
        "kafka.consumer_properties={'sasl.oauthbearer.client.secret' = 'hush'}",
    ],
)
def test_secrets_are_masked(flag: str) -> None:
    text = "\n".join(shown(resolve(None, [flag], {})))
    assert "hush" not in text
    assert MASK in text


def test_the_command_prints_what_is_resolved() -> None:
    process = image_worker("config", "show", IMAGE_WORKER_BATCH__MAX_SIZE="7")
    assert process.returncode == 0
    assert b"batch.max_size = 7  # environment IMAGE_WORKER_BATCH__MAX_SIZE\n" in process.stdout
