"""Addresses of endpoints: what users write as ``base_url``, without secrets and with the version of the API."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

_HARMLESS = {"api-version"}
"""Query parameters that may be part of ``base_url``."""
_PATH_OF_CALL = re.compile(r"/((chat/)?completions|models)$")
_VERSION = re.compile(r"/v\d")


def check_base_url(url: str) -> str:
    """Check a ``base_url``; returns it unchanged.

    Raises:
        ValueError: it is not a full URL, or contains a password, a key or another secret. The message does not repeat
            it.
    """
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url must be a full URL such as http://localhost:8000/v1")
    elsewhere = "store the key in the environment variable named by api_key_env"
    if "@" in parts.netloc:
        raise ValueError(f"base_url must not contain a user name or password; {elsewhere}")
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if parts.fragment or not names <= _HARMLESS or (parts.query and not names):
        raise ValueError(
            f"base_url must not contain a query (except api-version) or a fragment, because they may be secrets; "
            f"{elsewhere}, and set api_key_header if the endpoint expects it in another header than Authorization"
        )
    return url


def _split(url: str) -> SplitResult | None:
    """Parts of a URL; None if it has none. Python's own messages would repeat the URL."""
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        return None
    return parts


def call_urls(base_url: str) -> list[str]:
    """URLs under which ``/completions`` may be found, most likely first, without query.

    Users write the address with or without ``/v1``, with a slash at the end, or the full path of a call.
    """
    parts = urlsplit(base_url.strip())
    path = _PATH_OF_CALL.sub("", parts.path.rstrip("/")).rstrip("/")
    root = f"{parts.scheme}://{parts.netloc}"
    if not path:
        return [f"{root}/v1"]
    return [root + path] if _VERSION.search(path) else [root + path, f"{root}{path}/v1"]


def query_of(base_url: str) -> dict[str, str]:
    """Query parameters that are sent with each request."""
    return dict(parse_qsl(urlsplit(base_url.strip()).query))
