"""`python -m tests.free_image_worker ...`: the real command line, with the free model wherever a model is loaded."""

from __future__ import annotations

from worker.cli.main import main
from worker.models import load
from worker.testing import FreeClassifier

if __name__ == "__main__":
    load.load_known = lambda _settings: load.Loaded(FreeClassifier(), load.Provenance("free"))
    main()
