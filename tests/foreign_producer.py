"""A producer that writes what confluent-kafka's own cannot: librdkafka's C interface, from the same wheel."""

from __future__ import annotations

import ctypes
from pathlib import Path

import confluent_kafka

_PRODUCER = 0
_END, _TOPIC, _PARTITION, _VALUE, _FLAGS, _HEADER = 0, 1, 3, 4, 7, 9
_COPY = 2


def produce_with_header(servers: str, topic: str, partition: int, value: bytes, name: bytes) -> None:
    """One record with a header of this name."""
    (path,) = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka*")
    library = ctypes.CDLL(str(path))
    library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = ctypes.c_void_p
    conf, error = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", servers.encode(), error, 512)
    producer = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, conf, error, 512))
    record = [_TOPIC, ctypes.c_char_p(topic.encode()), _PARTITION, ctypes.c_int32(partition), _FLAGS, _COPY]
    record += [_VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value))]
    record += [_HEADER, ctypes.c_char_p(name), ctypes.c_char_p(b"x"), ctypes.c_ssize_t(1), _END]
    assert library.rd_kafka_producev(producer, *record) == 0
    assert library.rd_kafka_flush(producer, 30_000) == 0
    library.rd_kafka_destroy(producer)
