"""Every metric of the worker, each declared once. `docs/metrics.md` is checked against this file.

One `Metrics` belongs to one worker and its own registry, so that several workers can live in one process (tests, the
demo). Prometheus clients are thread-safe: any thread may count here.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The worker's metrics. Names and units follow Prometheus's conventions (base units, `_total` for counters)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._declare_records()
        self._declare_partitions()
        self._declare_settlement()
        self._declare_images()
        self._declare_fetching()
        self._declare_model()

    def _declare_records(self) -> None:
        self.records = Counter("image_worker_records", "Records taken in.", ["topic"], registry=self.registry)
        self.outcomes = Counter(
            "image_worker_outcomes",
            "Outcomes settled: published, acknowledged by the broker and their offsets committed.",
            ["kind", "reason"],
            registry=self.registry,
        )
        self.actions = Counter(
            "image_worker_actions", "Classifications by the action decided.", ["action"], registry=self.registry
        )
        self.void = Counter(
            "image_worker_void_outcomes",
            "Outcomes finished after their partition was revoked or lost: thrown away, the new owner repeats them.",
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "image_worker_in_flight_records", "Records taken in and not yet settled.", registry=self.registry
        )
        self.in_flight_bytes = Gauge(
            "image_worker_in_flight_bytes",
            "Bytes of keys, values and headers of the records in flight.",
            registry=self.registry,
        )

    def _declare_partitions(self) -> None:
        self.oldest = Gauge(
            "image_worker_oldest_unsettled_seconds",
            "Age of the partition's oldest record that is taken in and not yet settled; 0 where there is none.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self.stuck = Gauge(
            "image_worker_stuck_partition",
            "1 while the partition's oldest record is unsettled, or the partition not begun or not fetched, for longer "
            "than `kafka.stuck_after_s`.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self.lag = Gauge(
            "image_worker_lag_records",
            "Records of the partition that are not yet committed: its high watermark less the committed offset.",
            ["topic", "partition"],
            registry=self.registry,
        )

    def _declare_settlement(self) -> None:
        self.commits = Counter(
            "image_worker_settlements",
            "Settlement cycles: groups of outcomes published and committed together.",
            ["result"],
            registry=self.registry,
        )
        self.settle_seconds = Histogram(
            "image_worker_settle_seconds",
            "Time of one settlement cycle: publish, acknowledgement, commit.",
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.rebalances = Counter("image_worker_rebalances", "Rebalance callbacks.", ["event"], registry=self.registry)
        self.paused = Gauge(
            "image_worker_intake_paused",
            "1 while the intake is paused under sustained pressure.",
            registry=self.registry,
        )

    def _declare_images(self) -> None:
        self.stage_seconds = Histogram(
            "image_worker_stage_seconds",
            "Time a record spent in a stage.",
            ["stage"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.waiting = Gauge(
            "image_worker_waiting_records", "Records that wait for an outage of our own to end.", registry=self.registry
        )
        self.seen = Counter(
            "image_worker_seen",
            "Images looked up by their bytes, where `images.seen_results` is set: seen before, or new.",
            ["result"],
            registry=self.registry,
        )
        self.decoder_restarts = Counter(
            "image_worker_decoder_restarts", "Decode processes replaced, by cause.", ["cause"], registry=self.registry
        )

    def _declare_fetching(self) -> None:
        self.fetched_bytes = Counter("image_worker_fetched_bytes", "Bytes of images fetched.", registry=self.registry)
        self.fetches_shared = Counter(
            "image_worker_fetches_shared",
            "Images that came with another record's fetch of the same address at the same time.",
            registry=self.registry,
        )
        self.fetch_retries = Counter(
            "image_worker_fetch_retries",
            "Fetches tried again, by what went wrong before.",
            ["reason"],
            registry=self.registry,
        )
        self.held_up = Gauge(
            "image_worker_held_up_fetches",
            "Fetches that wait for a host in trouble: it stalls, is left alone, or is to be tried again.",
            registry=self.registry,
        )
        self.hosts_resting = Gauge(
            "image_worker_hosts_resting",
            "Hosts that fail and are left alone for a while.",
            registry=self.registry,
        )
        self.network_down = Gauge(
            "image_worker_network_down",
            "1 while most hosts that answered before are silent: records wait, none is dead-lettered for it.",
            registry=self.registry,
        )

    def _declare_model(self) -> None:
        self.batch_size = Histogram(
            "image_worker_batch_images", "Images in a batch.", registry=self.registry, buckets=_BATCHES
        )
        self.batches = Counter("image_worker_batches", "Batches, by why they left.", ["flush"], registry=self.registry)
        self.batch_splits = Counter(
            "image_worker_batch_splits",
            "Batches split in two because the model failed on them.",
            registry=self.registry,
        )
        self.model_seconds = Histogram(
            "image_worker_model_seconds", "Time of the model for one batch.", registry=self.registry, buckets=_SECONDS
        )
        self.model_loaded = Gauge(
            "image_worker_model_loaded", "1 once the model is loaded and warm.", registry=self.registry
        )
        self.labels_refused = Gauge(
            "image_worker_labels_refused",
            "1 while model.labels_file holds labels that cannot be used, and the ones before stay.",
            registry=self.registry,
        )
        self.model_info = Gauge(
            "image_worker_model_info",
            "Always 1; its labels say which model runs.",
            ["name", "revision", "fingerprint", "runtime", "precision", "labels_version"],
            registry=self.registry,
        )
