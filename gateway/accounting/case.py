"""One call that wants to be admitted: who asks, for what, and what it may take."""

from __future__ import annotations

import msgspec

from gateway.accounting.quote import most_expensive, payable
from gateway.accounting.terms import Terms
from gateway.domain.call import Call
from gateway.domain.facts import Facts
from gateway.domain.plan import Target
from gateway.domain.principal import Principal
from gateway.limits.estimate import Size
from gateway.limits.values import Admission


class Case(msgspec.Struct, frozen=True):
    """Everything that an admission and a settlement rest on.

    Args:
        size: what the body says of its size.
    """

    call: Call
    size: Size
    terms: Terms
    facts: Facts

    def target_for(self, principal: Principal) -> Target:
        """What may serve the same call, by its key as the store has it now."""
        terms = self.terms
        return payable(self.call, terms.target, terms.snapshot.prices) if principal.pays else terms.target

    def most_nanousd(self, prompt_tokens: int) -> int | None:
        """The most that it may cost, both attempts of a hedged call; None for a key that does not pay."""
        terms = self.terms
        if not terms.pays:
            return None
        once = most_expensive(
            self.call, self.size, terms.target, terms.principal, terms.snapshot.prices, prompt_tokens
        )
        return 2 * once if terms.target.hedge else once

    def admission(self, process: str) -> Admission:
        """What is asked of the limits."""
        size, terms, principal = self.size, self.terms, self.terms.principal
        bound = None
        if terms.pays:
            bound = self.most_nanousd(size.most_prompt_tokens + _most_of_linked_images(self.call))
        return Admission(
            request_id=self.facts.request_id,
            key_id=principal.key_id,
            revision=principal.revision,
            process=process,
            bounds=terms.bounds,
            tokens=size.likely_tokens(terms.likely_output_tokens, terms.longest_answer),
            bound_nanousd=bound,
            budget=terms.budget,
            has_credit=principal.has_credit,
            basis=terms.basis,
        )


class FreeCase(Case, frozen=True):
    """A call that somebody else's answer serves: it counts as a request, and can spend nothing.

    Nothing of it has to have a price or a size.
    """

    def target_for(self, principal: Principal) -> Target:  # noqa: ARG002  # as of any call
        """What may serve the same call."""
        return self.terms.target

    def most_nanousd(self, prompt_tokens: int) -> int | None:  # noqa: ARG002  # as of any call
        """Nothing."""
        return 0

    def admission(self, process: str) -> Admission:
        """What is asked of the limits: a request, and a call at once."""
        return msgspec.structs.replace(super().admission(process), tokens=0, bound_nanousd=0)


NO_SIZE = Size(prompt_bytes=0, media_bytes=0, media=0, answers=0, cap=None)
"""Of a call whose body does not matter."""


def _most_of_linked_images(call: Call) -> int:
    """The most tokens of images that the body only links to: their bytes are not in it."""
    messages = call.fields.get("messages")
    if messages is None:
        return 0
    return bytes(messages).count(b'"image_url"') * MOST_IMAGE_TOKENS


MOST_IMAGE_TOKENS = 48_169
"""Of one image in high detail, at the model that counts them highest (gpt-4o-mini)."""
