"""The knobs of fetching: what may be reached, how much may be taken, how long a host may take."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from yarl import URL

from worker.knobs import Section

MEBIBYTE = 1024 * 1024

Scheme = Literal["http", "https", "data", "file"]


class FetchSettings(Section):
    """How images are fetched."""

    schemes: tuple[Scheme, ...] = Field(
        ("http", "https", "data"),
        description="Schemes of addresses that are followed. `file` is left out: it reads this machine's disk.",
    )
    ports: tuple[int, ...] = Field(
        (80, 443), description="TCP ports that may be reached; others are mostly services that serve no images."
    )
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (),
        description="Networks (CIDR) that may be reached although they are blocked by default, such as 10.20.0.0/16. "
        "Empty: only public addresses. An address of a cloud's metadata service must be named alone (/32, /128).",
    )
    deny_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks (CIDR) that are never reached. Wins over allow_networks. Empty: the built-in list."
    )
    allow_hosts: tuple[str, ...] = Field(
        (),
        description="If not empty, only these hosts and names below them are reached: `example.com` covers "
        "`img.example.com`, not `badexample.com`. Empty: any host whose addresses may be reached.",
    )
    deny_hosts: tuple[str, ...] = Field(
        (), description="Hosts, with the names below them, that are never reached. Wins over allow_hosts."
    )
    file_roots: tuple[Path, ...] = Field(
        (),
        description="Absolute directories below which file:// may read, after links are resolved. Empty: none.",
    )

    buckets: tuple[str, ...] = Field(
        (),
        description="Buckets that are read, as `s3://bucket`, `gs://bucket` or `az://container`; addresses are then "
        "`s3://bucket/key`, the key as it stands. Needs the extra `objects`; endpoint, region and credentials come "
        "from the environment, as the cloud's own tools take them (`AWS_...`, `GOOGLE_...`, `AZURE_...`).",
    )

    max_bytes: int = Field(
        20 * MEBIBYTE,
        gt=0,
        le=1024 * MEBIBYTE,
        description="Bytes an encoded image may have. 20 MiB holds nearly any photograph of a camera or phone.",
    )
    max_bytes_in_flight: int = Field(
        256 * MEBIBYTE,
        gt=0,
        description="Bytes of encoded images the worker holds at once; a fetch waits for its share before it reads the "
        "body. 256 MiB is some 2,500 usual images, or 12 of the largest. Not below max_bytes.",
    )
    max_redirects: int = Field(3, ge=0, le=20, description="Redirects followed for one image. CDNs use one or two.")
    total_timeout_s: float = Field(
        30.0, gt=0, description="Seconds for one image with all redirects and retries. A dripping host ends here."
    )
    connect_timeout_s: float = Field(5.0, gt=0, description="Seconds for a TCP connection; three lost SYNs fit in.")
    read_timeout_s: float = Field(10.0, gt=0, description="Seconds without a byte before a try is given up.")
    retries: int = Field(
        3, ge=0, le=20, description="Tries after the first, for what may pass: broken connections, 408, 425, 429, 5xx."
    )
    retry_base_s: float = Field(
        0.5, gt=0, description="Seconds the first wait has at most; doubles each time, with full jitter."
    )
    max_connections: int = Field(
        256,
        gt=0,
        description="Fetches under way at once, over all hosts; each may buffer 256 KiB before its share. One that its "
        "host has held up for a second is not counted any more; of those there may be as many again, and the one held "
        "up for longest is given up for the next.",
    )
    max_connections_per_host: int = Field(
        64, gt=0, description="Fetches under way at once from one host. Enough for one CDN, polite to a small server."
    )
    host_wait_s: float = Field(
        10.0,
        gt=0,
        description="Seconds that a record waits, in all, for a host that fails or stalls and is left alone, until it "
        "becomes a dead letter (`host_unavailable`). The wait is no part of total_timeout_s.",
    )
    user_agent: str = Field(
        "image-worker", min_length=1, description="Sent as User-Agent; name a contact here so that hosts can complain."
    )
    outage_hosts: int = Field(
        2,
        ge=2,
        description="Hosts that must be silent, and most of those that answered before with them, before the network "
        "itself is held to be down and records wait. One dead host is no outage.",
    )
    outage_window_s: float = Field(
        60.0,
        gt=0,
        description="Seconds for which records wait in an outage in which no host has ever answered: after that the "
        "hosts are blamed. An outage of a network that was seen to work has no such end.",
    )

    @field_validator("buckets")
    @classmethod
    def _are_buckets(cls, buckets: tuple[str, ...]) -> tuple[str, ...]:
        for bucket in buckets:
            if not re.fullmatch(r"(s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*", bucket):
                raise ValueError(f"{bucket!r} is no bucket: write s3://bucket, gs://bucket or az://container")
        return buckets

    @field_validator("allow_hosts", "deny_hosts")
    @classmethod
    def _as_addresses_spell_them(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        """Names with other letters than ASCII are compared as they are looked up: `bücher.example` as `xn--...`."""
        return tuple(_looked_up(host) for host in hosts)


def _looked_up(host: str) -> str:
    name = URL.build(scheme="http", host=host.strip(".")).raw_host if host.strip(".") else None
    if name is None:
        raise ValueError(f"{host!r} is no host name")
    return name
