"""The caller of a request as the pipeline sees it: replies go through here, with the headers they need."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.caller import Answer
from gateway.domain.errors import StreamBroken
from gateway.domain.facts import Facts
from gateway.edge.exchange import Exchange, Reader
from gateway.edge.headers import EVENT_STREAM, reply_headers, usd
from gateway.edge.render import JSON, error_event

_DONE = b"data: [DONE]\n\n"


class Caller(msgspec.Struct, eq=False):
    """Answers one request of a route that calls a model."""

    _exchange: Exchange
    _facts: Facts
    _clock: Callable[[], float]

    def watch(self, reader: Reader) -> None:
        """Tell `reader` when the client lags or leaves; at once where it has left."""
        self._exchange.reader = reader
        if self._exchange.disconnected:
            reader.client_gone()

    def reply(self, body: bytes, answer: Answer) -> None:
        """Send a whole JSON reply."""
        facts = self._facts
        headers = reply_headers(facts, JSON, self._clock(), answer)
        if facts.cost_nanousd is not None:
            headers += b"x-tunegate-cost-usd: %b\r\n" % usd(facts.cost_nanousd)
        self._exchange.reply(200, headers, body)

    def start_stream(self, reader: Reader, answer: Answer) -> Exchange:
        """Send the head of a stream; its events go to what is returned."""
        headers = reply_headers(self._facts, EVENT_STREAM, self._clock(), answer)
        self._exchange.start_stream(headers, reader)
        return self._exchange

    def finish_stream(self, error: StreamBroken | None) -> None:
        """End a stream: with `[DONE]`, or with the one error event and none."""
        if error is None:
            self._exchange.finish(_DONE)
        else:
            message = f"{error} (request id: {self._facts.request_id})"
            self._exchange.finish(error_event(error.code, message))
