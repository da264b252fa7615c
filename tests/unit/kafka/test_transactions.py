"""What an error of a producer is, where librdkafka tells of it in a callback, or not at all."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from worker.kafka.clients import error_in


def test_an_error_that_was_raised_in_a_callback_is_found_behind_the_one_that_hides_it() -> None:
    error = KafkaError(KafkaError._FENCED)
    hidden = SystemError("<method 'flush' of 'cimpl.Producer' objects> returned a result with an exception set")
    hidden.__cause__ = KafkaException(error)
    assert error_in(hidden) is error_in(KafkaException(error)) is error


def test_an_error_that_was_lost_on_the_way_is_none_and_the_next_call_says_what_it_was() -> None:
    assert error_in(SystemError("<method 'flush'> returned NULL without setting an exception")) is None
