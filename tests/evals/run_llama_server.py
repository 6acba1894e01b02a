"""`python -m tests.evals.run_llama_server GGUF`: llama.cpp's own OpenAI-compatible server; prints its address."""

import sys
import time

if __name__ == "__main__":
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx = 4096
    params.n_parallel = 2
    params.port = 0
    params.ui = False
    params.verbosity = -1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)  # noqa: T201
    time.sleep(3600)
