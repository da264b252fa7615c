"""A `transactional.id` belongs to one process of a machine."""

from __future__ import annotations

import subprocess
import sys
import uuid

import pytest

from worker.errors import ConfigurationError
from worker.kafka.instance import Claim
from worker.kafka.settings import KafkaSettings


def settings(**more: str) -> KafkaSettings:
    return KafkaSettings(group_id=f"group-{uuid.uuid4().hex}", **more)


def test_workers_of_one_group_on_one_machine_have_ids_of_their_own() -> None:
    group = settings()
    first, second = Claim(group), Claim(group)
    assert first.transactional_id != second.transactional_id
    first.release()
    second.release()


def test_a_restarted_worker_has_the_id_it_had() -> None:
    group = settings()
    first, second = Claim(group), Claim(group)
    first.release()
    again = Claim(group)
    assert again.transactional_id == first.transactional_id
    again.release()
    second.release()


def test_an_id_in_use_on_this_machine_is_refused_before_it_fences_anyone() -> None:
    named = settings(transactional_id=f"mine-{uuid.uuid4().hex}")
    first = Claim(named)
    with pytest.raises(ConfigurationError, match="another process on this machine"):
        Claim(named)
    first.release()
    Claim(named).release()


def test_the_id_of_a_process_that_was_killed_is_free() -> None:
    named = settings(transactional_id=f"mine-{uuid.uuid4().hex}")
    hold = (
        "import sys; from worker.kafka.instance import Claim; from worker.kafka.settings import KafkaSettings\n"
        f"claim = Claim(KafkaSettings(transactional_id={named.transactional_id!r}))\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ConfigurationError):
            Claim(named)
        process.kill()
    Claim(named).release()
