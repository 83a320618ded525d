"""`docs/prices.md`, written from the rows so that it cannot say anything else than they do."""

from __future__ import annotations

from gateway.pricing.output_limits import OUTPUT_LIMITS
from gateway.pricing.own_rows import CHECKED, FINE_TUNED, FREE, FineTunedRow

_HEAD = """\
# Prices

<!-- Written by `python3 dev.py docs` from the rows in `gateway/pricing/`. Edit those. -->

What a call costs is reckoned from the usage that the upstream reports and a book of prices. Nothing is
fetched: the book is inside the installation, and changes with its version or with your configuration.

## Where a price comes from

The first that is found counts.

1. **`prices` of the upstream** in the configuration: what it charges, by the model id asked of it, the id
   itself first, then globs in the order of the file.
2. **`prices` of the configuration**, in the same way, for every upstream.
3. **Models chosen by fields of the body**, such as LoRA adapters of a server of your own: unknown.
4. **Fine-tuned models** (`ft:...`, checkpoints and short forms too): the row of the base in the table below,
   at the official API, its relays and the demo. A fine-tune costs 1.5 to 6 times its base, so a base
   without a row is unknown; the price of the base is never taken. At Azure, where fine-tunes
   (`{{base}}.ft-...`) are priced otherwise and hosted by the hour, they are unknown.
5. **Models that are free of charge**: {free}.
6. **[genai-prices](https://github.com/pydantic/genai-prices)**, the data inside the package, for everything
   else: Azure's list at kind `azure`; at kind `litellm` that of the provider which the upstream or the id
   names; else that of the provider which the upstream's `base_url` belongs to, and the official list for
   URLs that belong to none. An id has to be named there in full; one that merely begins like a known model
   is unknown.

`price_multiplier` of the upstream is a factor on whatever was found but its own `prices`. **Unknown is never
free**: the cost is null in the ledger and counted in `unpriced_requests`, and such an upstream is left out
for keys with a budget or credit.

```yaml
upstreams:
  relay: {{base_url: "https://relay.example/v1", price_multiplier: 1.15}}
  host:
    base_url: https://host.example/v1
    models: ["acme/*"]
    prices: {{"acme/*": {{input: 0.20, output: 0.20}}}}
prices:
  "ft:gpt-4.1-mini-2025-04-14*": {{input: 0.80, cached_input: 0.20, output: 3.20}}
  support-v3: {{input: 0.05, output: 0.10}}
```

## How a cost is reckoned

- In whole nano-dollars, from whole nano-dollars per million tokens, rounded half up once, at the end.
- Cached and cache-write tokens are parts of the prompt, reasoning tokens of the completion, audio of either:
  each part is charged at its own price and taken from the rest. Where no price of cached tokens or of
  reasoning is stated, they cost as much as others. Audio without a price of its own makes the cost unknown.
- Where long prompts cost more, the price of the long ones holds for the whole call.
- **Service tier**: the one that the upstream reports. `fast` is reported as `priority`. None, `auto`,
  `default`, `standard` and `on_demand` are the default tier. At a tier that the list does not know for a
  model the price is unknown; fine-tuned models have the default tier and `batch`.
- Prices are dated: a call costs what the list says for its day, or its half hour where prices depend on it.
- The ledger keeps with each record which data it was priced from, such as
  `genai-prices-0.2.3+own-{checked}+config-1a2b3c4d`; the last part is there where the configuration says
  anything of prices.

Not reckoned: fees for hosted tools (web search, code interpreter, file search), surcharges for regional
processing, hosting by the hour, and training.

## Our own rows

Checked on {checked}. USD per million tokens; inference only.
"""

_COLUMNS = (
    "| base, as in `ft:{base}:...` | input | cached input | output "
    "| batch: input | cached input | output | source | |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)
_LIMITS = """
## The longest answers

A bound on what a call may cost needs a bound on its answer: the caller's, the alias's or the key's cap, and
never more than the model itself answers with. A fine-tune answers with as many tokens as its base; names
cover their dated snapshots. Of other models the whole context is taken, where it is known.

| tokens | models |
|---|---|
"""


def render() -> str:
    """The page's text."""
    free = ", ".join(f"`{model}`" for model in FREE)
    parts = [_HEAD.format(free=free, checked=CHECKED), "\n", _COLUMNS]
    parts += [_row(row) for row in FINE_TUNED]
    parts.append(_LIMITS)
    for limit in sorted({tokens for tokens, _ in OUTPUT_LIMITS}):
        models = [f"`{name}`" for tokens, names in OUTPUT_LIMITS if tokens == limit for name in names]
        parts.append(f"| {limit:,} | {', '.join(models)} |\n")
    return "".join(parts)


def _row(row: FineTunedRow) -> str:
    bases = ", ".join(f"`{base}`" for base in row.bases)
    standard = [price or "as input" for price in row.standard]
    batch = [price or "as input" for price in row.batch] if row.batch else ["unknown"] * 3
    return f"| {' | '.join([bases, *standard, *batch, row.source, row.note])} |\n"
