"""image-worker: classify images named by Kafka events, and commit only what is done."""

__version__ = "0.1.0"
