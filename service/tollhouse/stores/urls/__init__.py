"""The addresses of servers, as users write them.

grammar  reads a URL               targets  what it names
tls      the files of TLS          hosts    hosts and ports
"""

from tollhouse.stores.urls.grammar import parse, urls_by_store
from tollhouse.stores.urls.hosts import Host, format_host, parse_host_port, read_host
from tollhouse.stores.urls.targets import (
    STORES,
    EmbeddedClusterTarget,
    EmbeddedTarget,
    FakeTarget,
    Replicated,
    SentinelService,
    ServerList,
    Sharing,
    StoreName,
    StoreUrl,
    Target,
    TcpAddress,
    UnixAddress,
    address_of,
)
from tollhouse.stores.urls.tls import TLS_OPTIONS, Tls

__all__ = [
    "STORES",
    "TLS_OPTIONS",
    "EmbeddedClusterTarget",
    "EmbeddedTarget",
    "FakeTarget",
    "Host",
    "Replicated",
    "SentinelService",
    "ServerList",
    "Sharing",
    "StoreName",
    "StoreUrl",
    "Target",
    "TcpAddress",
    "Tls",
    "UnixAddress",
    "address_of",
    "format_host",
    "parse",
    "parse_host_port",
    "read_host",
    "urls_by_store",
]
