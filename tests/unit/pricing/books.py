"""Books to look into: a configuration with one upstream of each sort."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.pricing.book import PriceBook
from tests.unit.config.loading import loaded

AT = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
UPSTREAMS = """
upstreams:
  openai: {base_url: "https://api.openai.com/v1", owns: ["*"]}
  europe: {base_url: "https://eu.api.openai.com/v1", owns: ["*"]}
  relay: {base_url: "https://relay.example/v1", owns: ["*"], price_multiplier: 1.15}
  router: {base_url: "https://openrouter.ai/api/v1"}
  azure: {base_url: "https://acme.openai.azure.com/openai/v1", owns: ["*"]}
  own:
    base_url: http://127.0.0.1:8000/v1
    owns: ["*"]
    models: {support-v3: {set: {lora: [{id: 0, scale: 1.0}]}}, gpt-4o: null}
  free: {base_url: http://127.0.0.1:8001/v1, owns: ["*"], price_multiplier: 0}
  demo: {kind: demo, owns: ["*"]}
"""


def book(more: str = "") -> PriceBook:
    """A book under `UPSTREAMS` and further YAML, on a certain day."""
    return PriceBook(loaded(UPSTREAMS + more), clock=lambda: AT)
