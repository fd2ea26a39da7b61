#!/usr/bin/env python3
"""The front door under load, and what it adds to the bare driver.

Deploys a small model in two slices on this machine and serves it. Then, with wrk (Debian's
package), a load generator that is nobody's here:

- load: so many requests, so many in flight, binary tensors; every answer is compared, byte by
  byte, with what `tranche invoke` gave for the same input, and the door's memory is watched.
- overhead: one request at a time, in turns in one run: `tranche invoke --repeat` (the driver
  inside the command), the door with binary tensors, the door with JSON.

    python3 bench/serve.py --program target/release/tranche \\
        --door target/release/tranche-front-door --output bench/serve.json
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import random
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

MODEL, SHAPE = "magika_v3_3", ["--dim", "unk__214=1"]
INPUT, EXTENTS, VALUES = "bytes", [1, 2048], 257
OUTPUT = "target_label"
NAME = "bench-serve"
LUA = pathlib.Path(__file__).with_suffix(".lua").resolve()


def run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


@contextlib.contextmanager
def deployed(program, folder):
    """The model in two slices, each a process of its own; gives the path of deployment.json."""
    state = folder / "state"
    there = {"cwd": folder, "env": os.environ | {"XDG_STATE_HOME": str(state)}}
    run([program, "models", "fetch", MODEL], **there)
    run([program, "profile", MODEL, *SHAPE], **there)
    run([program, "partition", MODEL, "--strategy", "uniform=2"], **there)
    run([program, "package", MODEL], **there)
    run([program, "verify", MODEL, *SHAPE], **there)
    run([program, "deploy", "--name", NAME], **there)
    try:
        [path] = state.rglob("deployment.json")
        yield path, there
    finally:
        run([program, "destroy", NAME], **there)


@contextlib.contextmanager
def served(door, deployment, folder):
    """A front door; gives its process and address."""
    with open(folder / "lines", "wb") as lines:
        process = subprocess.Popen(
            [door, "--deployment", deployment, "--listen", "127.0.0.1:0"],
            stdout=lines,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        for line in process.stderr:
            if "address=" in line:
                address = line.split("address=")[1].split()[0]
                break
        else:
            sys.exit("the front door does not listen")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        while True:
            try:
                urllib.request.urlopen(f"http://{address}/_/ready", timeout=5).read()
                break
            except OSError:
                time.sleep(0.05)
        yield process.pid, address
    finally:
        process.terminate()
        process.wait(timeout=30)


def write_requests(folder, program, there, count):
    """Requests in both forms, and the answer to each, from `tranche invoke`; JSON's length."""
    generator = random.Random(0)
    for form in ("binary", "json"):
        (folder / form).mkdir()
    for at in range(count):
        values = [generator.randrange(VALUES) for _ in range(EXTENTS[0] * EXTENTS[1])]
        source, answer = folder / f"{at}.json", folder / f"{at}.out.json"
        source.write_text(json.dumps({INPUT: {"shape": EXTENTS, "data": values}}))
        run([program, "invoke", NAME, "--inputs", source, "--output", answer], **there)
        output = json.loads(answer.read_text())[OUTPUT]
        raw = struct.pack(f"<{len(values)}i", *values)
        answered = struct.pack(f"<{len(output['data'])}f", *output["data"])
        tensor = {"name": INPUT, "shape": EXTENTS, "datatype": "INT32"}
        told = {"name": OUTPUT, "datatype": "FP32", "shape": output["shape"]}
        head = {"id": f"{at:04}", "inputs": [tensor | {"parameters": {"binary_data_size": len(raw)}}]}
        head = json.dumps(head | {"parameters": {"binary_data_output": True}}).encode()
        body = json.dumps({"id": f"{at:04}", "inputs": [tensor | {"data": values}]}).encode()
        begin = json.dumps(
            {"model_name": NAME, "model_version": "1", "id": f"{at:04}", "parameters": {"request_id": ""}},
            separators=(",", ":"),
        ).encode()[:-1]
        binary = told | {"parameters": {"binary_data_size": len(answered)}}
        binary = begin + b',"outputs":[' + json.dumps(binary, separators=(",", ":")).encode() + b"]}"
        # The digits of floats are the command's own.
        digits = answer.read_text().split('"data": [')[1].split("]")[0]
        plain = json.dumps(told, separators=(",", ":"))[:-1].encode()
        plain = begin + b',"outputs":[' + plain + b',"data":[' + digits.encode() + b"]}]}"
        (folder / "binary" / f"{at}.request").write_bytes(head + raw)
        (folder / "binary" / f"{at}.answer").write_bytes(binary + answered)
        (folder / "json" / f"{at}.request").write_bytes(body)
        (folder / "json" / f"{at}.answer").write_bytes(plain)
    return len(head)


def wrk(address, requests, count, json_bytes, threads, connections, most):
    command = ["wrk", "-t", threads, "-c", connections, "-d", "900s", "--timeout", "60s", "-s", LUA]
    url = f"http://{address}"
    rest = [url, "--", requests, count, most // threads, f"/v2/models/{NAME}/infer", json_bytes]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*map(str, command), *map(str, rest)], **pipes) as process:
        enough = 0
        for line in process.stderr:
            enough += line == "ENOUGH\n"
            if enough == threads:
                break
            if line != "ENOUGH\n":
                print(line, file=sys.stderr)
        process.send_signal(signal.SIGINT)
        told, wrong = process.communicate(timeout=60)
    if wrong.strip():
        print(wrong, file=sys.stderr)
    [line] = [line for line in told.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


class Memory(threading.Thread):
    """Resident memory of a process, four times a second."""

    def __init__(self, process_id):
        super().__init__(daemon=True)
        self.path, self.samples, self.over = f"/proc/{process_id}/statm", [], threading.Event()

    def run(self):
        while not self.over.wait(0.25):
            self.samples.append(int(pathlib.Path(self.path).read_text().split()[1]) * 4096)

    def summary(self):
        self.over.set()
        self.join()
        quarter = max(1, len(self.samples) // 4)
        second = statistics.median(self.samples[quarter : 2 * quarter])
        last = statistics.median(self.samples[-quarter:])
        return {
            "samples": len(self.samples),
            "second_quarter_bytes": second,
            "last_quarter_bytes": last,
            "growth": round(last / second - 1, 4),
            "highest_bytes": max(self.samples),
        }


def overhead(arguments, folder, there, address, head, rounds, repeats):
    """Medians of one request at a time, in milliseconds, in turns."""
    times = {"driver": [], "binary": [], "json": []}
    invoke = [arguments.program, "invoke", NAME, "--inputs", folder / "0.json", "--json"]
    for _ in range(rounds):
        told = json.loads(run([*invoke, "--repeat", str(repeats)], **there))
        times["driver"].append(told["bill"]["latency_ms"])
        for form, length in (("binary", head), ("json", 0)):
            done = wrk(address, folder / form, 1, length, 1, 1, repeats)
            if done["wrong"] or done["refused"] or done["connection_errors"]:
                sys.exit(f"overhead, {form}: {done}")
            times[form].append(done["p50_ms"])
    medians = {name: statistics.median(of) for name, of in times.items()}
    ratio = {name: round(medians[name] / medians["driver"], 4) for name in ("binary", "json")}
    return {"rounds": rounds, "repeats": repeats, "p50_ms": times, "medians_ms": medians, "ratio": ratio}


def inside(lines):
    """What the door itself adds to the walk, by its lines: medians in milliseconds."""
    added = []
    for line in lines.read_text().splitlines():
        told = json.loads(line)
        if told["status"] == 200:
            added.append(told["elapsed_ms"] - told["latency_ms"])
    return round(statistics.median(added), 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, required=True)
    parser.add_argument("--door", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--inputs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=200)
    arguments = parser.parse_args()
    arguments.program, arguments.door = arguments.program.resolve(), arguments.door.resolve()
    load_average = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder = pathlib.Path(temporary)
        deployment, there = stack.enter_context(deployed(arguments.program, folder))
        head = write_requests(folder, arguments.program, there, arguments.inputs)
        process_id, address = stack.enter_context(served(arguments.door, deployment, folder))
        apart = overhead(arguments, folder, there, address, head, arguments.rounds, arguments.repeats)
        apart["inside_door_ms"] = inside(folder / "lines")
        memory = Memory(process_id)
        memory.start()
        load = wrk(address, folder / "binary", arguments.inputs, head, 2, arguments.in_flight, arguments.requests)
        load |= {"in_flight": arguments.in_flight, "memory": memory.summary()}
    result = {
        "model": MODEL,
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "load_average": load_average},
        "version": run([arguments.program, "--version"]).strip(),
        "load": load,
        "overhead": apart,
    }
    new = arguments.output.with_suffix(".new")
    new.write_text(json.dumps(result, indent=2) + "\n")
    new.replace(arguments.output)
    print(json.dumps(result, indent=2))
    sys.exit(load["wrong"] + load["refused"] + load["connection_errors"] > 0)


if __name__ == "__main__":
    main()
