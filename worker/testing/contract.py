"""The contract of a model's backend, as tests: whoever brings a backend runs them on it.

class TestMine(ClassifierContract):
    @pytest.fixture
    def classifier(self) -> Classifier:
        return load(ModelSettings(source="..."))
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from worker.models.classifier import Classifier, PixelBatch, Prepares, Relabels, Renews, ScoreBatch, WorksAhead


class ClassifierContract:
    """Inherit from it with a fixture `classifier`. What a backend need not have is passed over where it has it not."""

    tolerance = 1e-4
    """How much a score may depend on which images came with it. Raise it for a lower precision."""

    def test_it_says_what_it_is(self, classifier: Classifier) -> None:
        identity = classifier.identity
        assert identity.name
        assert identity.runtime
        assert identity.precision
        assert re.fullmatch(r"[0-9a-f]{64}", identity.fingerprint), "the fingerprint is 64 hex digits"

    def test_it_has_labels_and_an_input_size(self, classifier: Classifier) -> None:
        assert isinstance(classifier.labels, tuple)
        assert classifier.labels
        assert all(isinstance(label, str) and label for label in classifier.labels)
        assert classifier.recipe.height > 0
        assert classifier.recipe.width > 0

    def test_scores_are_a_row_for_each_image_and_a_probability_for_each_label(self, classifier: Classifier) -> None:
        for count in (1, 2, 3, 7, 16):
            self._check(classifier, classifier.predict(images(classifier, count)), count)

    def test_black_and_white_images_have_scores_too(self, classifier: Classifier) -> None:
        black = images(classifier, 2) * 0
        black[1] = 255
        self._check(classifier, classifier.predict(black), 2)

    def test_an_image_has_the_same_scores_whichever_come_with_it(self, classifier: Classifier) -> None:
        batch = images(classifier, 8)
        together, turned_round = classifier.predict(batch), classifier.predict(batch[::-1].copy())[::-1]
        alone = np.concatenate([classifier.predict(batch[index : index + 1]) for index in range(8)])
        np.testing.assert_allclose(together, turned_round, atol=self.tolerance, rtol=0)
        np.testing.assert_allclose(together, alone, atol=self.tolerance, rtol=0)

    def test_the_same_batch_has_the_same_scores_again(self, classifier: Classifier) -> None:
        batch = images(classifier, 4)
        np.testing.assert_allclose(classifier.predict(batch), classifier.predict(batch), atol=self.tolerance, rtol=0)

    def test_a_batch_is_not_written_to_and_may_be_overwritten_afterwards(self, classifier: Classifier) -> None:
        batch = images(classifier, 4)
        before = batch.copy()
        scores = classifier.predict(batch)
        assert (batch == before).all(), "predict wrote to its batch"
        kept = scores.copy()
        batch[:] = 0
        classifier.predict(batch)
        assert (scores == kept).all(), "the scores of one batch changed with the next"

    def test_another_thread_than_the_one_that_loaded_it_may_run_it(self, classifier: Classifier) -> None:
        batch = images(classifier, 2)
        with ThreadPoolExecutor(1) as thread:
            scores = thread.submit(classifier.predict, batch).result()
        np.testing.assert_allclose(scores, classifier.predict(batch), atol=self.tolerance, rtol=0)

    def test_once_prepared_it_runs_batches_of_every_size(self, classifier: Classifier) -> None:
        if isinstance(classifier, Prepares):
            before = classifier.predict(images(classifier, 3))
            classifier.prepare(4)
            for count in (1, 2, 3, 4):
                self._check(classifier, classifier.predict(images(classifier, count)), count)
            np.testing.assert_allclose(before, classifier.predict(images(classifier, 3)), atol=self.tolerance, rtol=0)

    def test_batches_that_began_one_upon_the_other_have_their_own_scores(self, classifier: Classifier) -> None:
        if isinstance(classifier, WorksAhead):
            batch = images(classifier, 5)
            first, second = classifier.begin(batch[:3]), classifier.begin(batch[3:])
            found = np.concatenate([first(), second()])
            np.testing.assert_allclose(found, classifier.predict(batch), atol=self.tolerance, rtol=0)

    def test_labels_change_when_it_is_renewed_and_not_before(self, classifier: Classifier) -> None:
        if isinstance(classifier, Relabels) and isinstance(classifier, Renews):
            before, identity = classifier.labels, classifier.identity
            coming = classifier.relabel(("one thing", "another"))
            waits = [classifier.renewal_waits]
            assert (classifier.labels, classifier.identity) == (before, identity)
            classifier.renew()
            assert [*waits, classifier.renewal_waits] == [True, False]
            assert (classifier.labels, classifier.identity) == (("one thing", "another"), coming)
            assert coming.fingerprint != identity.fingerprint
            self._check(classifier, classifier.predict(images(classifier, 3)), 3)

    def _check(self, classifier: Classifier, scores: ScoreBatch, count: int) -> None:
        assert scores.shape == (count, len(classifier.labels))
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert ((scores >= 0) & (scores <= 1 + 1e-6)).all(), "scores are probabilities"


def images(classifier: Classifier, count: int) -> PixelBatch:
    """(N, H, W, 3) uint8: blots of colour at the model's input size, each image unlike the others."""
    recipe, random = classifier.recipe, np.random.default_rng(5)
    blots = random.integers(0, 256, (count, 4, 4, 3), np.uint8)
    rows, columns = (np.arange(size) * 4 // size for size in (recipe.height, recipe.width))
    return np.ascontiguousarray(blots[:, rows][:, :, columns])
