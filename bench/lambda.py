#!/usr/bin/env python3
"""How soon a function on AWS Lambda asks for its first event, with and without weights.

    cargo xtask shim static
    python3 bench/lambda.py                  # target/shims/tranche-shim-static
    python3 bench/lambda.py PROGRAM ENGINE   # another program, another engine

Prints one JSON document: milliseconds from exec to the first `GET …/invocation/next`, which is
when Lambda's initialization ends, for a slice of one operator and for slices with 100 MB and
500 MB of weights: with their files in the page cache, and read from disk. The Runtime API is a
double on this machine. Lambda's own share of a cold start, its disks and its CPUs are not in it.
"""

import http.server
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/shims/tranche-shim-static")
ENGINE = sys.argv[2] if len(sys.argv) > 2 else "tract"
SIDE = 2236  # A matrix of 20 MB.


def main():
    with tempfile.TemporaryDirectory(prefix="tranche-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        folder = pathlib.Path(folder)
        small = bundle(folder / "small", 0)
        document = {
            "program": PROGRAM.name,
            "program_bytes": PROGRAM.stat().st_size,
            "engine": ENGINE,
            "processors": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 1),
            "first_next_ms": summary([first_next(small) for _ in range(20)]),
        }
        for megabytes in (100, 500):
            weighty = bundle(folder / f"weights-{megabytes}", megabytes // 20)
            first_next(weighty)
            warm = [first_next(weighty) for _ in range(5)]
            cold = [first_next(weighty, evict=True) for _ in range(3)]
            document[f"init_{megabytes}_mb_ms"] = {"page_cache": summary(warm), "disk": summary(cold)}
        print(json.dumps(document, indent=2))


def summary(times):
    return {"median": round(statistics.median(times), 1), "least": round(min(times), 1),
            "most": round(max(times), 1), "runs": len(times)}


def first_next(folder, evict=False):
    """Milliseconds from exec to the first event asked for."""
    asked = threading.Event()
    moments = []

    class RuntimeApi(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            moments.append(time.perf_counter())
            asked.set()
            time.sleep(60)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            sys.exit(f"{self.path}: {body.decode()}")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeApi)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
        "TRANCHE_MANIFEST": str(folder / "manifest.json"),
        "TRANCHE_SLICE": "slice-0",
        "TRANCHE_ENGINE": ENGINE,
        "TRANCHE_INIT_WAIT_MS": "120000",
        "TRANCHE_LOG": "warn",
        **({"TRANCHE_ONNXRUNTIME": os.environ["TRANCHE_ONNXRUNTIME"]} if "TRANCHE_ONNXRUNTIME" in os.environ else {}),
    }
    if evict:
        for path in folder.iterdir():
            with open(path, "rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    began = time.perf_counter()
    process = subprocess.Popen([PROGRAM], env=environment, stdin=subprocess.DEVNULL)
    try:
        if not asked.wait(120):
            sys.exit("no event was asked for within two minutes")
        return (moments[0] - began) * 1000
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        server.server_close()


def bundle(folder, matrices):
    """A slice that doubles a vector, or multiplies it with matrices, one after the other."""
    folder.mkdir()
    if matrices == 0:
        nodes = [node("Add", ["x", "x"], "y")]
    else:
        names = ["x"] + [f"v{index}" for index in range(1, matrices)] + ["y"]
        nodes = [node("MatMul", [names[index], f"w{index}"], names[index + 1]) for index in range(matrices)]
    weights = [matrix(f"w{index}", index) for index in range(matrices)]
    with open(folder / "slice-0.data", "wb") as file:
        for _ in range(matrices):
            file.write(os.urandom(4 * SIDE) * SIDE)
        file.flush()
        os.fsync(file.fileno())
    graph = b"".join(
        [field(1, one) for one in nodes]
        + [field(2, b"bench")]
        + [field(5, one) for one in weights]
        + [field(11, vector("x")), field(12, vector("y"))]
    )
    opset = number(2, 17)
    (folder / "slice-0.onnx").write_bytes(number(1, 8) + field(7, graph) + field(8, opset))
    (folder / "manifest.json").write_text(json.dumps(manifest()))
    return folder


def manifest():
    spec = lambda name: {"name": name, "element_type": "float32", "shape": [1, SIDE]}
    digest = "sha256:" + "0" * 64
    zero = {"run_ms": 0.0, "handoff_ms": 0.0, "billed_ms": 0.0, "memory_time": 0.0, "weights_bytes": 0,
            "peak_activation_bytes": 0}
    return {
        "header": {"format": "tranche-manifest", "version": 1},
        "model": {"name": "bench", "digest": digest},
        "plan_digest": digest,
        "tranche_version": "0",
        "engine": ENGINE,
        "inputs": [spec("x")],
        "outputs": [spec("y")],
        "slices": [{"name": "slice-0", "model": "slice-0.onnx", "weights": ["slice-0.data"], "inputs": [spec("x")],
                    "outputs": [spec("y")], "size": {"memory_bytes": 1 << 30, "cpu_milli": 1000}, "threads": 1,
                    "prediction": zero}],
        "edges": [],
        "files": [],
    }


# ONNX in protocol buffers' wire format: what is written here needs no library.

def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def number(tag, value):
    return varint(tag << 3) + varint(value)


def field(tag, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(tag << 3 | 2) + varint(len(value)) + value


def node(operator, inputs, output):
    return b"".join([field(1, name) for name in inputs] + [field(2, output), field(3, f"make_{output}"), field(4, operator)])


def matrix(name, index):
    size = 4 * SIDE * SIDE
    pairs = {"location": "slice-0.data", "offset": str(index * size), "length": str(size)}
    places = [field(13, field(1, key) + field(2, value)) for key, value in pairs.items()]
    return number(1, SIDE) + number(1, SIDE) + number(2, 1) + field(8, name) + b"".join(places) + number(14, 1)


def vector(name):
    shape = b"".join(field(1, number(1, extent)) for extent in (1, SIDE))
    return field(1, name) + field(2, field(1, number(1, 1) + field(2, shape)))


if __name__ == "__main__":
    main()
