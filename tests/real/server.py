"""A real llama.cpp server with a real small model, as a program of its own: it runs until its stdin ends."""

from __future__ import annotations

import argparse
import os
import sys

import xllamacpp


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--window", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_ctx = options.window * options.slots
    params.n_parallel = options.slots
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.ui = False
    params.fit_params = False
    params.cache_ram_mib = 0
    params.cpuparams.n_threads = 1  # two threads that share a core with others are thirty times slower
    params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)  # listens at once, and is here when the model has been loaded
    sys.stderr.write(f"ready at {server.listening_address}\n")
    sys.stdin.buffer.read()
    os._exit(0)  # its threads may still be generating


if __name__ == "__main__":
    main()
