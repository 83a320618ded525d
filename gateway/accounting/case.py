"""One call that wants to be admitted: who asks, for what, and what it may take."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from gateway.accounting.quote import longest_answer, most_expensive, payable
from gateway.domain.call import Call
from gateway.domain.facts import Facts
from gateway.domain.plan import Target
from gateway.domain.principal import Principal
from gateway.limits.estimate import Size, size_of
from gateway.limits.values import Admission, Bounds, Budget
from gateway.metering.record import Basis
from gateway.snapshot import Snapshot


class Case(msgspec.Struct, frozen=True):
    """Everything that an admission and a settlement rest on.

    Args:
        size: what the body says of its size.
        target: what may serve; for a key that pays, only what has a known price.
    """

    call: Call
    size: Size
    target: Target
    principal: Principal
    snapshot: Snapshot
    facts: Facts

    @classmethod
    def of(cls, call: Call, target: Target, principal: Principal, snapshot: Snapshot, facts: Facts) -> Case:
        """Look at a call.

        Raises:
            InvalidRequest: a number that the official API refuses too.
            PriceUnknown: the key pays, and nothing that may serve has a known price.
        """
        usable = payable(call, target, snapshot.prices) if principal.pays else target
        return cls(call, size_of(call), usable, principal, snapshot, facts)

    def asked_by(self, principal: Principal) -> Case:
        """The same call, by its key as the store has it now."""
        usable = payable(self.call, self.target, self.snapshot.prices) if principal.pays else self.target
        return msgspec.structs.replace(self, principal=principal, target=usable)

    def most_nanousd(self, prompt_tokens: int) -> int | None:
        """The most that it may cost, both attempts of a hedged call; None for a key that does not pay."""
        principal = self.principal
        if not principal.pays:
            return None
        once = most_expensive(
            self.call, self.size, self.target, principal, self.snapshot.prices, prompt_tokens
        )
        return 2 * once if self.target.hedge else once

    def admission(self, process: str) -> Admission:
        """What is asked of the limits."""
        principal, snapshot = self.principal, self.snapshot
        budget = None
        if principal.budget_nanousd is not None:
            budget = Budget(principal.budget_nanousd, principal.budget_period)
        return Admission(
            request_id=self.facts.request_id,
            key_id=principal.key_id,
            revision=principal.revision,
            process=process,
            bounds=Bounds.of(principal.limits, snapshot.default_bounds),
            tokens=self.size.likely_tokens(
                snapshot.settings.limits.assumed_output_tokens, longest_answer(self.target)
            ),
            bound_nanousd=self._bound() if principal.pays else None,
            budget=budget,
            has_credit=principal.has_credit,
            basis=self._basis(),
        )

    def _bound(self) -> int | None:
        return self.most_nanousd(self.size.most_prompt_tokens + _most_of_linked_images(self.call))

    def _basis(self) -> bytes:
        target = self.target
        model = upstream = None
        for candidate in target.candidates:
            if candidate.skip is None:
                model, upstream = candidate.model, candidate.upstream
                break
        return _basis(
            self.call.route.name,
            self.principal.team,
            target.alias,
            target.release,
            model,
            upstream,
            self.call.stream,
            self.snapshot.prices.version,
        )


class FreeCase(Case, frozen=True):
    """A call that somebody else's answer serves: it counts as a request, and can spend nothing."""

    @classmethod
    def of(cls, call: Call, target: Target, principal: Principal, snapshot: Snapshot, facts: Facts) -> Case:
        """Look at a call. Nothing of it has to have a price or a size."""
        return cls(call, _NO_SIZE, target, principal, snapshot, facts)

    def asked_by(self, principal: Principal) -> Case:
        """The same call, by its key as the store has it now."""
        return msgspec.structs.replace(self, principal=principal)

    def most_nanousd(self, prompt_tokens: int) -> int | None:  # noqa: ARG002  # as of any call
        """Nothing."""
        return 0

    def admission(self, process: str) -> Admission:
        """What is asked of the limits: a request, and a call at once."""
        return msgspec.structs.replace(super().admission(process), tokens=0, bound_nanousd=0)


_NO_SIZE = Size(prompt_bytes=0, media_bytes=0, media=0, answers=0, cap=None)


@lru_cache(maxsize=4096)  # next to nothing in it changes from call to call
def _basis(
    route: str,
    team: str | None,
    alias: str | None,
    release: str | None,
    model: str | None,
    upstream: str | None,
    stream: bool,
    price_version: str,
) -> bytes:
    return Basis(
        route=route,
        team=team,
        alias=alias,
        release=release,
        model=model,
        upstream=upstream,
        stream=stream,
        price_version=price_version,
    ).encode()


def _most_of_linked_images(call: Call) -> int:
    """The most tokens of images that the body only links to: their bytes are not in it."""
    messages = call.fields.get("messages")
    if messages is None:
        return 0
    return bytes(messages).count(b'"image_url"') * MOST_IMAGE_TOKENS


MOST_IMAGE_TOKENS = 48_169
"""Of one image in high detail, at the model that counts them highest (gpt-4o-mini)."""
