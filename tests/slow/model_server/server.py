"""Serve the tiny model and its adapters: llama.cpp's own OpenAI-compatible server, in this process.

    python server.py FOLDER

Writes the models to FOLDER, prints one line `{"port": N}` when it serves on 127.0.0.1, and ends when its
standard input closes: a test that dies takes its server with it.
"""

import json
import sys
from pathlib import Path

import xllamacpp
from models import write_models


def main() -> None:
    """Start the server and wait for the end of standard input."""
    base, adapters = write_models(Path(sys.argv[1]))
    params = xllamacpp.CommonParams()
    params.model.path = str(base)
    params.model_alias = {"tiny"}
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 0.0) for path in adapters]
    params.lora_init_without_apply = True  # a request chooses; one that names no adapter gets the base model
    params.n_ctx = 2048
    params.n_parallel = 2
    params.cache_prompt = False  # a prompt read in one piece or in two may round differently
    params.n_threads_http = 4
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.ui = False
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    server = xllamacpp.Server(params)
    address = server.listening_address
    print(json.dumps({"port": int(address.rsplit(":", 1)[1])}), flush=True)  # noqa: T201 - the protocol
    sys.stdin.read()


if __name__ == "__main__":
    main()
