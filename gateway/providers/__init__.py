"""The provider process: providers that do not speak the official API, through litellm, behind one socket.

It speaks the official API (chat, completions, embeddings) to the workers on a unix socket in the runtime
folder. The supervisor starts it where an upstream of kind `litellm` is configured, with the interpreter of
`.venv-providers`: litellm needs an older `openai` than the gateway's tests, some seconds and 170 MB, and
none of that belongs into a worker.

That environment holds litellm, what litellm needs, and uvicorn. So this room imports the standard library,
`gateway.process`, those two and nothing else; only `engine.py` imports litellm. It does no retries, knows no
keys, limits or prices, and takes nothing of a caller but the body's official fields: where a call goes, and
with which credential, is said by the worker in headers.

Read `app.py` first: a call from its body to its last event. `call.py` has what goes in, `document.py` what
comes out, `fault.py` what a provider's refusal is called here.
"""
