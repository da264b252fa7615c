"""A real Apache Kafka for tests and benchmarks: KRaft brokers on free ports, in a folder of their own."""

from __future__ import annotations

import base64
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.kafka_archive import archive

STARTUP_S = 60.0


def why_not() -> str | None:
    """Why no real broker can be had here; None where one can."""
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return None
    home = os.environ.get("KAFKA_HOME")
    if not home:
        return "no real Kafka: set KAFKA_HOME (a distribution's folder, with Java 17) or KAFKA_BOOTSTRAP_SERVERS"
    if not list(Path(home, "libs").glob("kafka-server*.jar")) and not list(Path(home, "libs").glob("kafka_*.jar")):
        return f"KAFKA_HOME={home} has no libs/kafka*.jar"
    if shutil.which("java") is None:
        return "KAFKA_HOME is set, but there is no java on the PATH"
    return None


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, below those that the system gives to connections.

    So a broker that is killed has its port still when it starts again, and no connection got it meanwhile.
    """
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            each = socket.socket()
            sockets.append(each)
            try:
                each.bind(("127.0.0.1", random.randrange(15_000, 32_000)))
            except OSError:
                sockets.pop().close()
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


_starter = ThreadPoolExecutor(1, "brokers")
"""Lives as long as the tests: a child is killed at the death of the thread that began it, not of the process."""


@dataclass(slots=True)
class Broker:
    """One broker process."""

    number: int
    port: int
    folder: Path
    proxy: int = 0
    """The port that is advertised to those who come to `behind`; 0 where there is no such proxy."""
    behind: int = 0
    """The port of a second listener, for the proxy alone: what does not come by it, it cannot disturb."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def properties(self) -> Path:
        return self.folder / "server.properties"

    def start(self, classpath: str, *options: str) -> None:
        """`options`: more of the JVM's."""
        log = (self.folder / "broker.log").open("ab")
        command = ["java", "-Xmx512m", "-Xms128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *options]
        command += ["-cp", classpath, "kafka.Kafka", str(self.properties)]
        self.process = _starter.submit(
            subprocess.Popen, command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=_die_with_the_tests
        ).result()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP makes it a broker that a network swallowed: its connections stay open and say nothing."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@dataclass(slots=True)
class RealKafka:
    """A cluster of real brokers. `with RealKafka() as kafka: kafka.bootstrap_servers`."""

    count: int = 1
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="image-worker-kafka-")))
    brokers: list[Broker] = field(default_factory=list)
    classpath: str = ""
    more: str = ""
    """Lines more of each broker's `server.properties`."""
    keep: bool = False
    """Whether the folder with logs and data stays when it ends."""
    controllers: int | None = None
    """How many of the brokers, the first ones, are controllers too; all of them where it is not said."""
    proxies: Sequence[int] = ()
    """The port of each broker's proxy, where they have any."""
    options: Sequence[str] | None = None
    """The JVM's, for a quicker start; they are looked for where they are not said."""

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers)

    def __enter__(self) -> RealKafka:
        self.classpath = _classpath()
        if self.options is None:
            self.options = archive(self.classpath, _one_to_be_stopped)
        for _attempt in range(3):
            self._lay_out()
            for number in range(self.count):
                self.restart(number)
            if self.answers():
                return self
            self.stop()
        logs = "\n".join((broker.folder / "broker.log").read_text()[-2000:] for broker in self.brokers)
        raise RuntimeError(f"Kafka did not start:\n{logs}")

    def __exit__(self, *_: object) -> None:
        self.stop()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        for broker in self.brokers:
            broker.kill()

    def restart(self, number: int) -> None:
        """Start the broker at this place of the list again; `answers` says when it is back."""
        self.brokers[number].start(self.classpath, *(self.options or ()))

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def _lay_out(self) -> None:
        ports = free_ports(3 * self.count)
        self.brokers = [Broker(n + 1, ports[n], self.folder / f"{ports[n]}") for n in range(self.count)]
        for broker, proxy, behind in zip(self.brokers, self.proxies, ports[2 * self.count :], strict=False):
            broker.proxy, broker.behind = proxy, behind
        controllers = self.controllers or self.count
        voters = ",".join(f"{n + 1}@127.0.0.1:{ports[self.count + n]}" for n in range(controllers))
        for broker, controller in zip(self.brokers, ports[self.count : 2 * self.count], strict=True):
            broker.folder.mkdir(parents=True)
            wanted = controller if broker.number <= controllers else None
            broker.properties.write_text(_properties(broker, wanted, voters, min(3, self.count)) + self.more)
        self._format(_cluster_id())

    def _format(self, cluster_id: str) -> None:
        """All of them at once: most of it is a JVM that starts."""
        command = ["java", "-XX:TieredStopAtLevel=1", *(self.options or ()), "-cp", self.classpath]
        command += ["kafka.tools.StorageTool", "format"]
        commands = [[*command, "-t", cluster_id, "-c", str(broker.properties)] for broker in self.brokers]
        with ThreadPoolExecutor(self.count) as pool:
            list(pool.map(partial(subprocess.run, check=True, capture_output=True), commands))

    def answers(self) -> bool:
        """Wait until all brokers are there; False where one died or took too long."""
        admin = self.admin()
        deadline_s = time.monotonic() + STARTUP_S
        while time.monotonic() < deadline_s and all(b.process and b.process.poll() is None for b in self.brokers):
            try:
                if len(admin.list_topics(timeout=1.0).brokers) == self.count:
                    return True
            except KafkaException:
                continue
        return False


@contextmanager
def _one_to_be_stopped(option: str) -> Iterator[subprocess.Popen[bytes] | None]:
    """A broker that was started with this option of the JVM's and answers; None if it does not."""
    kafka = RealKafka(options=())
    kafka.classpath = _classpath()
    kafka._lay_out()
    broker = kafka.brokers[0]
    broker.start(kafka.classpath, option)
    try:
        yield broker.process if kafka.answers() else None
    finally:
        kafka.__exit__()


def _classpath() -> str:
    return str(Path(os.environ["KAFKA_HOME"]).resolve() / "libs" / "*")


def _cluster_id() -> str:
    """As `StorageTool random-uuid` makes them, without its second of a JVM: none begins with a dash."""
    while (made := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return made


def _die_with_the_tests() -> None:
    """Linux's PR_SET_PDEATHSIG: a broker whose tests were killed ends with them."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _properties(broker: Broker, controller: int | None, voters: str, replicas: int) -> str:
    """`controller`: its port, where the broker is a controller too."""
    # No retention: some tests write records of years ago, which would be deleted at the next look. And one segment of
    # offsets, which is not compacted while it is the newest: the chaos test reads every offset that was committed.
    quorum = max(1, replicas - 1)
    roles = "broker" if controller is None else "broker,controller"
    own = "" if controller is None else f",CONTROLLER://127.0.0.1:{controller}"
    behind = f",PROXY://127.0.0.1:{broker.behind}" if broker.proxy else ""
    proxy = f",PROXY://127.0.0.1:{broker.proxy}" if broker.proxy else ""
    return f"""
process.roles={roles}
node.id={broker.number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{broker.port}{behind}{own}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker.port}{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXY:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={broker.folder / "data"}
num.partitions=4
default.replication.factor={replicas}
min.insync.replicas={quorum}
auto.create.topics.enable=false
log.retention.ms=-1
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=8
offsets.topic.segment.bytes=1073741824
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={quorum}
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={quorum}
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
group.initial.rebalance.delay.ms=0
group.consumer.heartbeat.interval.ms=1000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=6000
"""


def own_brokers() -> bool:
    """Whether brokers can be started here, and so be killed."""
    return bool(os.environ.get("KAFKA_HOME"))
