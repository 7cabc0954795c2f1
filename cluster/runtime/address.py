"""The address of a Ray cluster: its forms, and whether a cluster answers there. Ray itself would wait for minutes."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from rollout.errors import UserError
from rollout.messages import first_line

IN_PROCESS = "local"
"""Address that runs everything in this process, without Ray."""
AUTO = "auto"
ANSWER_TIMEOUT_S = 5.0
FORMS = "give HOST:PORT of its head, such as 10.0.0.5:6379, or auto, or local"
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?")


def check_address(address: str | None) -> None:
    """Raise `UserError` if an address has none of the forms ``auto``, ``local`` and ``HOST:PORT``."""
    if address in (None, AUTO, IN_PROCESS):
        return
    if reason := _mistake(address):
        raise UserError(f"--address {address!r} is no address of a Ray cluster ({reason}); {FORMS}.")


def _mistake(address: str) -> str | None:
    """What is wrong with ``HOST:PORT``; None if nothing is."""
    if address.startswith(("http://", "https://")):
        return "it is the URL of a dashboard, which only `stillhouse submit` uses"
    if "://" in address:
        return f"{address.partition('://')[0]}:// is not supported"
    host, colon, port = address.rpartition(":")
    if not colon:
        return "it has no port" if address.strip() else "it is empty"
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 2**16 and len(port) <= 5):
        return f"the port {port} is no number from 1 to 65535" if port else "it has no port"
    if host.startswith("[") and host.endswith("]"):
        return None if _is_ipv6(host[1:-1]) else f"{host} is no IPv6 address"
    if not host:
        return "it has no host"
    if ":" in host:
        return "an IPv6 address stands in brackets: [::1]:6379"
    return None if _HOST.fullmatch(host) else f"{host} is no name of a host"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def check_dashboard(address: str) -> None:
    """Raise `UserError` if an address is no ``http://HOST[:PORT]``."""
    try:
        parts = urlsplit(address)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not address.isprintable() or " " in address:
        raise UserError(f"--address {address!r} is not the URL of a dashboard; give one such as http://HEAD:8265.")


def require_cluster(address: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
    """Ask the head of a cluster whether it is alive.

    Raises:
        UserError: the address has another form, or no head answers there within ``timeout_s``.
    """
    import grpc
    from ray._private.gcs_utils import create_gcs_channel
    from ray._private.services import canonicalize_bootstrap_address
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    check_address(address)
    try:
        found = canonicalize_bootstrap_address(address)
    except ConnectionError as error:
        raise UserError(no_cluster(address, "none runs on this machine")) from error
    except ValueError as error:
        raise UserError(no_cluster(address, first_line(error))) from error
    if found is None:  # RAY_ADDRESS says that there is none
        raise UserError(no_cluster(address, "RAY_ADDRESS is local"))
    channel = create_gcs_channel(found)
    try:
        ask = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel).CheckAlive
        ask(gcs_service_pb2.CheckAliveRequest(), timeout=timeout_s)  # type: ignore[attr-defined]
    except grpc.RpcError as error:
        raise UserError(no_cluster(address, _reason(error, timeout_s))) from error
    finally:
        channel.close()


def no_cluster(address: str, reason: str) -> str:
    """Sentence for an address at which no cluster answers."""
    return f"There is no Ray cluster at {address} ({reason}): correct --address or leave it out."


def _reason(error: object, timeout_s: float) -> str:
    """Why a head did not answer, in a few words."""
    code, details = error.code().name, str(error.details())  # type: ignore[attr-defined]
    if code == "DEADLINE_EXCEEDED":
        return f"no answer within {timeout_s:g} s"
    if code == "UNAUTHENTICATED":
        return "it requires an authentication token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
    known = {
        "Connection refused": "nothing listens there",
        "resolv": "the host is not known",
        "HTTP/2": "another service listens there",
    }
    return next((words for text, words in known.items() if text in details), f"{code.lower()}: {first_line(details)}")
