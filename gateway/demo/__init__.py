"""The demo upstream: a simulated service that speaks the official API, so that a fresh checkout streams.

`kind: demo` in the configuration starts it as a process of its own, on a unix socket in the runtime
folder. No model runs here and nothing costs money; every reply and every model object says that it is
simulated. It serves chat, completions, embeddings and models, in the official shapes, errors included.

To see how a gateway behaves when an upstream does not, write one of these in the last user message
(the last prompt or input on the other routes):

    demo:error 429      answers with this status (400-599) in the official error shape
    demo:cut            breaks the connection halfway through the reply
    demo:slow           waits 10 s before the first token; `demo:slow 90` waits 90 s

A directive strikes fine-tuned models (`ft:` ids) only, so that an alias with a fallback to their base
shows its fallback. `demo:error 500 all` strikes every model.

What it does not do: check credentials, keep state, know the Responses API, send `obfuscation` padding.
Chat models answer `/v1/completions` too, which the official service refuses.

`tour.py` is what `dev.py run` does: a gateway with this upstream, a key to try it with and one call to
paste. Read `app.py` first for the upstream, `tour.py` for the tour. Nothing else of ours is imported
here but `gateway.process`, and nothing on the data plane imports this room.
"""
