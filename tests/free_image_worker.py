"""`python -m tests.free_image_worker ...`: the real command line, with the free model wherever a model is loaded."""

from __future__ import annotations

import os

from worker.cli.main import main
from worker.models import load
from worker.testing import FreeClassifier

if __name__ == "__main__":
    classifier = FreeClassifier()
    if fingerprint := os.environ.get("FREE_FINGERPRINT"):
        from dataclasses import replace

        classifier.identity = replace(classifier.identity, fingerprint=fingerprint)
    load.load_known = lambda _settings: load.Loaded(classifier, load.Provenance("free"))
    main()
