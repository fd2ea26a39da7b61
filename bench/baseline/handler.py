"""The Python function that sliced models are measured against.

As small as such a function gets: an interpreter, ONNX Runtime's wheel, the standard
library's HTTP server, the model loaded once at start. All options of the session are the
defaults but the number of threads, where one is given: by default ONNX Runtime counts the
machine's cores and not the function's share of them.

    python handler.py model.onnx --threads 1

A request is one line of JSON that lists the tensors, `[{"name", "type", "shape"}, …]`,
then their bytes in that order, packed and little-endian; so is the answer. The time that
a platform would bill is in the answer's header `X-Billed-Ms`: from the last byte of the
request to the first of the answer. Once the model is loaded, `{"port": N}` is printed.
"""

import argparse
import json
import math
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy
import onnxruntime


def decode(body):
    """The tensors of a body, by name, without a copy."""
    end = body.index(b"\n") + 1
    tensors, offset = {}, end
    for entry in json.loads(body[:end]):
        element, shape = numpy.dtype(entry["type"]), entry["shape"]
        count = math.prod(shape)
        values = numpy.frombuffer(body, element, count, offset) if count else numpy.empty(0, element)
        tensors[entry["name"]] = values.reshape(shape)
        offset += count * element.itemsize
    return tensors


def encode(names, tensors):
    """A body, in pieces."""
    table = [
        {"name": name, "type": tensor.dtype.name, "shape": tensor.shape}
        for name, tensor in zip(names, tensors)
    ]
    pieces = [json.dumps(table).encode() + b"\n"]
    pieces.extend(numpy.ascontiguousarray(tensor).data.cast("B") if tensor.size else b"" for tensor in tensors)
    return pieces


def handler_of(session):
    """A request handler for this session."""
    names = [output.name for output in session.get_outputs()]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Header and body go in packets of their own: do not wait to join them.
        disable_nagle_algorithm = True

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            start = time.perf_counter()
            pieces = encode(names, session.run(None, decode(body)))
            billed = (time.perf_counter() - start) * 1000
            self.send_response(200)
            self.send_header("Content-Length", str(sum(len(piece) for piece in pieces)))
            self.send_header("X-Billed-Ms", f"{billed:.6f}")
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)

        def log_message(self, *_):
            """Nothing: a line a request would be billed."""

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=0, help="0 leaves the default")
    arguments = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    server = HTTPServer(("127.0.0.1", 0), handler_of(session))
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
