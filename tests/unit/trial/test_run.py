"""What a trial holds still while it runs."""

from __future__ import annotations

from pathlib import Path

from worker.settings import resolve
from worker.trial.run import held_still


def test_a_file_of_labels_is_read_once_and_results_are_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("cat\ndog\n")
    flags = [f"model.labels_file={file}", "images.seen_results=100", "images.draft=0"]
    found = held_still(resolve(None, flags, {}).settings)
    assert (found.model.labels, found.model.labels_file) == (("cat", "dog"), None)
    assert (found.images.seen_results, found.images.draft) == (0, 0)


def test_labels_in_the_settings_stay() -> None:
    found = held_still(resolve(None, ["model.labels=['cat', 'dog']"], {}).settings)
    assert found.model.labels == ("cat", "dog")
