"""Settings as an operator meets them: which source wins, and one clear line for whatever is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer

from worker.errors import ConfigurationError
from worker.kafka.clients import ClientErrors, open_client
from worker.kafka.properties import consumer_properties, producer_properties
from worker.kafka.settings import KafkaSettings
from worker.settings import Resolved, resolve

SECRET = "hush-hush"


@pytest.fixture
def write(tmp_path: Path) -> Path:
    return tmp_path / "worker.toml"


def refused(
    file: Path | None = None, flags: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> list[str]:
    """The lines of the error."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(file, flags, environment or {})
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def one_line(file: Path | None = None, flags: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> str:
    lines = refused(file, flags, environment)
    assert len(lines) == 1, lines
    return lines[0]


def test_a_flag_wins_over_the_environment_which_wins_over_the_file_which_wins_over_the_default(write: Path) -> None:
    write.write_text('[kafka]\ngroup_id = "file"\nstart = "latest"\nmax_in_flight = 7\n')
    environment = {"IMAGE_WORKER_KAFKA__GROUP_ID": "environment", "IMAGE_WORKER_KAFKA__START": "earliest"}
    found = resolve(write, ["kafka.group_id=flag"], environment)
    kafka = found.settings.kafka
    assert (kafka.group_id, kafka.start, kafka.max_in_flight) == ("flag", "earliest", 7)
    assert kafka.settle_interval_ms == KafkaSettings().settle_interval_ms
    assert found.origins == {
        ("kafka", "group_id"): "flag --set kafka.group_id",
        ("kafka", "start"): "environment IMAGE_WORKER_KAFKA__START",
        ("kafka", "max_in_flight"): str(write),
    }


def test_a_later_flag_wins_over_an_earlier_one() -> None:
    assert resolve(None, ["batch.max_size=1", "batch.max_size=2"], {}).settings.batch.max_size == 2


def test_tables_of_two_sources_are_merged_key_by_key(write: Path) -> None:
    write.write_text("[policy.thresholds]\ncat = {block = 0.9}\ndog = {block = 0.8}\n")
    found = resolve(write, ["policy.thresholds.cat.block=0.5"], {}).settings.policy.thresholds
    assert found == {"cat": {"block": 0.5}, "dog": {"block": 0.8}}


def test_an_empty_section_changes_nothing(write: Path) -> None:
    write.write_text('[kafka]\ngroup_id = "file"\n')
    assert resolve(write, ["kafka={}"], {}).settings.kafka.group_id == "file"


def test_the_environment_takes_json_for_tables_and_lists() -> None:
    environment = {
        "IMAGE_WORKER_POLICY__THRESHOLDS": '{"cat": {"block": 0.5}}',
        "IMAGE_WORKER_IMAGES__PORTS": "[80, 8080]",
        "IMAGE_WORKER_KAFKA": '{"group_id": "g"}',
    }
    settings = resolve(None, (), environment).settings
    assert settings.policy.thresholds == {"cat": {"block": 0.5}}
    assert (settings.images.ports, settings.kafka.group_id) == ((80, 8080), "g")


def test_other_variables_of_the_environment_are_not_ours() -> None:
    assert resolve(None, (), {"KAFKA__GROUP_ID": "x", "PATH": "y"}).origins == {}


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("kafka.group_id=a b", "a b"),
        ('kafka.group_id="quoted"', "quoted"),
        ('kafka.group_id=say "x"', 'say "x"'),
        ("kafka.group_id=back\\slash", "back\\slash"),
        ("kafka.group_id=two\nlines", "two\nlines"),
        ("kafka.group_id=a=b", "a=b"),
    ],
)
def test_a_flag_takes_plain_text(flag: str, value: str) -> None:
    assert resolve(None, [flag], {}).settings.kafka.group_id == value


@pytest.mark.parametrize(
    ("flag", "key", "advice"),
    [
        ("kafka.drain_deadline_ms=500", "kafka.drain_deadline_ms", "did you mean 'drain_deadline_s'?"),
        ("kafka.settle_interval_s=1", "kafka.settle_interval_s", "did you mean 'settle_interval_ms'?"),
        ("images.max_megabytes=5", "images.max_megabytes", "did you mean 'max_bytes'?"),
        ("images.read_timeout_s=500ms", "images.read_timeout_s", "Seconds without a byte"),
        ("images.max_bytes=20MB", "images.max_bytes", "Bytes an encoded image may have"),
        ("kafka.topics.inputs=x", "kafka.topics.inputs", "did you mean 'input'?"),
        ("kafak.group_id=x", "kafak", "did you mean 'kafka'?"),
        ("group_id=x", "group_id", "known are batch, events, images"),
        ("batch.max_size=0", "batch.max_size", "greater than or equal to 1"),
        ("model.precision=float16", "model.precision", "'fp32', 'bf16', 'fp16' or 'int8'"),
        ("images.allow_networks=['10.0.0.1/8']", "images.allow_networks.0", "not a valid IPv4 network"),
        ("policy.fallback=nope", "policy", "not among the actions (block, review, allow)"),
        ("kafka.topics=x", "kafka.topics", "write kafka.topics.KEY"),
        ("kafka.properties.retries.x=[1]", "kafka.properties.retries.x", "a valid string"),
    ],
)
def test_a_wrong_setting_is_one_line_with_key_origin_and_advice(flag: str, key: str, advice: str) -> None:
    line = one_line(flags=[flag])
    assert line.startswith(f"{key} (from flag --set {flag.partition('=')[0]}): ")
    assert advice in line


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("IMAGE_WORKER_KAFAK__GROUP_ID", "x", "did you mean 'kafka'?"),
        ("IMAGE_WORKER_KAFKA__GROUPID", "x", "did you mean 'group_id'?"),
        ("IMAGE_WORKER_KAFKA_GROUP_ID", "x", "write IMAGE_WORKER_SECTION__KEY"),
        ("IMAGE_WORKER_POLICY__THRESHOLDS", "{cat: 1}", "written as JSON"),
        ("IMAGE_WORKER_IMAGES__PORTS", "80,443", "written as JSON"),
        ("IMAGE_WORKER_KAFKA", "x", "written as JSON"),
        ("IMAGE_WORKER_BATCH__MAX_SIZE", "many", "a valid integer"),
    ],
)
def test_a_wrong_variable_is_one_line_that_names_it(name: str, value: str, words: str) -> None:
    line = one_line(environment={"IMAGE_WORKER_KAFKA__START": "latest", name: value})
    assert f"environment {name}" in line
    assert words in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[kafka\n", "is not TOML: "),
        ("kafka = 3\n", "this is a section: write kafka.KEY"),
        ("[kafak]\nx = 1\n", "did you mean 'kafka'?"),
        ("[batch]\nmax_size = 'many'\n", "a valid integer"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(write: Path, text: str, words: str) -> None:
    write.write_text(text)
    line = one_line(write)
    assert str(write) in line
    assert words in line


def test_a_file_that_is_no_text_or_not_there_is_one_line(write: Path) -> None:
    assert "No such file" in one_line(write)
    write.write_bytes(b"\xff\xfe")
    assert "is not TOML" in one_line(write)


def test_a_scalar_below_a_flags_table_gives_way_to_it(write: Path) -> None:
    write.write_text("policy.thresholds = 3\n")
    assert resolve(write, ["policy.thresholds.cat.block=0.5"], {}).settings.policy.thresholds["cat"] == {"block": 0.5}


def test_each_wrong_key_has_a_line_of_its_own() -> None:
    lines = refused(flags=["batch.max_size=0", "images.draft=maybe", "kafka.nonsense=1"])
    assert sorted(line.partition(" ")[0] for line in lines) == ["batch.max_size", "images.draft", "kafka.nonsense"]


@pytest.mark.parametrize("key", ["group_id", "kafka group=x", "="])
def test_a_flag_that_is_none_says_how_one_is_written(key: str) -> None:
    assert "write section.key=value" in one_line(flags=[key])


@pytest.mark.parametrize("spelling", ['"enable.auto.commit"', "enable.auto.commit"])
@pytest.mark.parametrize("table", ["properties", "consumer_properties", "producer_properties"])
def test_a_property_that_would_break_a_promise_is_refused_with_what_to_do(table: str, spelling: str) -> None:
    line = one_line(flags=[f"kafka.{table}.{spelling}=true"])
    assert f"kafka.{table} (from flag --set kafka.{table}.{spelling})" in line
    assert "'enable.auto.commit' may not be set here: leave it out" in line


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("enable.auto.offset.store", "commits offsets itself"),
        ("acks", "leave it out"),
        ("message.timeout.ms", "leave it out"),
        ("group.id", "write kafka.group_id"),
        ("bootstrap.servers", "write kafka.bootstrap_servers"),
        ("auto.offset.reset", "write kafka.start"),
        ("fetch.message.max.bytes", "write kafka.prefetch_bytes"),
    ],
)
def test_a_property_that_a_setting_already_says_names_the_setting(write: Path, name: str, advice: str) -> None:
    write.write_text(f"[kafka.properties]\n'{name}' = '1'\n")
    line = one_line(write)
    assert name in line
    assert advice in line
    assert str(write) in line


def passed_through(found: Resolved) -> list[object]:
    kafka = found.settings.kafka
    return [of(kafka).get("sasl.username") for of in (consumer_properties, producer_properties)]


def test_any_other_property_passes_through_however_its_dots_are_written(write: Path) -> None:
    assert passed_through(resolve(None, ["kafka.properties.sasl.username=me"], {})) == ["me", "me"]
    assert passed_through(resolve(None, ["kafka.properties={'sasl.username'='me'}"], {})) == ["me", "me"]
    variable = {"IMAGE_WORKER_KAFKA__PROPERTIES": '{"sasl.username": "me"}'}
    assert passed_through(resolve(None, (), variable)) == ["me", "me"]
    write.write_text("[kafka.properties]\nsasl.username = 'file'\n")
    assert passed_through(resolve(write, (), {})) == ["file", "file"]
    assert passed_through(resolve(write, ["kafka.properties.'sasl.username'=me"], {})) == ["me", "me"]


def test_a_property_for_one_client_reaches_only_that_one() -> None:
    assert passed_through(resolve(None, ["kafka.consumer_properties.sasl.username=me"], {})) == ["me", None]


@pytest.mark.parametrize("flag", ["kafka.properties.no.such.property=1", "kafka.properties.on_delivery=text"])
def test_a_property_that_librdkafka_does_not_take_is_a_wrong_setting(flag: str) -> None:
    settings = resolve(None, [flag], {}).settings.kafka
    with pytest.raises(ConfigurationError, match=r"kafka\.properties: .*CONFIGURATION\.md") as caught:
        open_client(Producer, producer_properties(settings), ClientErrors("producer"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "flag",
    [
        f"events.registry_password=['{SECRET}']",
        f"events.registry_passwrd={SECRET}",
        f"events.registry_password.nested={SECRET}",
        f"kafka.properties={{'sasl.password'=['{SECRET}']}}",
        f"kafka.properties.sasl password={SECRET}",
        f"kafka.properties.sasl.password=['{SECRET}']",
        f"kafak.properties.sasl.password={SECRET}",
        f"={SECRET}",
    ],
)
def test_no_error_repeats_a_secret_of_a_flag(flag: str) -> None:
    assert SECRET not in "\n".join(refused(flags=[flag]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGE_WORKER_EVENTS__REGISTRY_PASSWRD", SECRET),
        ("IMAGE_WORKER_EVENTS__REGISTRY_PASSWORD__X", SECRET),
        ("IMAGE_WORKER_KAFKA__PROPERTIES", f'{{"sasl.password": {SECRET}}}'),
        ("IMAGE_WORKER_KAFKA__PROPERTIES", f'{{"sasl.password": ["{SECRET}"]}}'),
        ("IMAGE_WORKER_KAFKA", SECRET),
    ],
)
def test_no_error_repeats_a_secret_of_the_environment(name: str, value: str) -> None:
    assert SECRET not in "\n".join(refused(environment={name: value}))


@pytest.mark.parametrize(
    "text",
    [
        f"events.registry_password = ['{SECRET}']",
        f"events.registry_password = {SECRET}",
        f"[kafka.properties]\n'sasl.password' = ['{SECRET}']",
        f"[kafka.properties]\n'sasl.password' = '{SECRET}'\nacks = 1",
    ],
)
def test_no_error_repeats_a_secret_of_the_file(write: Path, text: str) -> None:
    write.write_text(text)
    assert SECRET not in "\n".join(refused(write))


def test_a_secret_is_not_in_the_text_of_the_settings() -> None:
    settings = resolve(None, [f"events.registry_password={SECRET}"], {}).settings
    assert settings.events.registry_password is not None
    assert settings.events.registry_password.get_secret_value() == SECRET
    assert SECRET not in repr(settings)
