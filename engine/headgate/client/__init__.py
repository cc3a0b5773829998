"""The only place that touches Redis, threads or asyncio."""

from headgate.client.async_client import AsyncHeadgate
from headgate.client.sync_client import Headgate

__all__ = ["AsyncHeadgate", "Headgate"]
