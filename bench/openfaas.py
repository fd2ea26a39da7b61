#!/usr/bin/env python3
"""What a deploy to OpenFaaS takes, through the gateway double and a real registry.

    cargo build --release --workspace && cargo xtask shim
    python3 bench/openfaas.py                # needs docker-registry in PATH, and root
    TRANCHE_ENGINE=onnxruntime python3 bench/openfaas.py

Prints one JSON document: image sizes by layer, the first deploy of ten slices and the
second, a call through the gateway beside the same functions on this machine, and requests
lost while the deployment is replaced under load. The double is no OpenFaaS: its times are
those of a gateway without work of its own.
"""

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
RELEASE = ROOT / "target/release"
MODEL = sys.argv[1] if len(sys.argv) > 1 else "resnet50"
PASSWORD = "bench"


def main():
    with tempfile.TemporaryDirectory(prefix="tranche-bench-") as folder:
        folder = pathlib.Path(folder)
        registry, registry_address = start_registry(folder)
        double, gateway = start_double(folder)
        try:
            print(json.dumps(measure(folder, registry_address, gateway), indent=2))
        finally:
            for process in (double, registry):
                process.terminate()
                process.wait(timeout=60)


def start_registry(folder):
    address = "127.0.0.1:5611"
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\nhttp: {{addr: {address}}}\n"
    )
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(["docker-registry", "serve", config], stdout=quiet, stderr=quiet)
    time.sleep(1)
    return process, address


def start_double(folder):
    password = folder / "password"
    password.write_text(PASSWORD)
    command = [RELEASE / "openfaas-gateway-double", "--password-file", password]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def measure(folder, registry, gateway):
    def tranche(*arguments):
        environment = {
            **os.environ,
            "TRANCHE_STATE": str(folder / "state"),
            "TRANCHE_OPENFAAS_PASSWORD": PASSWORD,
            "TRANCHE_REGISTRY": f"{registry}/bench",
        }
        started = time.monotonic()
        done = subprocess.run(
            [RELEASE / "tranche", *arguments, "--json"],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=600,
        )
        document = json.loads(done.stdout) if done.stdout.strip() else {}
        return done.returncode, document, time.monotonic() - started, done.stderr

    def must(*arguments):
        code, document, took, log = tranche(*arguments)
        if code != 0:
            sys.exit(f"{arguments} ended with {code}: {document} {log}")
        return document, took, log

    must("profile", MODEL)
    must("partition", MODEL, "--strategy", "uniform=10")
    must("package", MODEL)
    must("verify", MODEL)
    openfaas = ["deploy", "--target", "openfaas", "--gateway", gateway, "--insecure-registry", "--name", "bench"]
    _, first, log_first = must(*openfaas)
    _, second, log_second = must(*openfaas)
    images = json.loads((folder / "bundle.images/images.json").read_text())
    layers = {}
    for image in images["images"]:
        for layer in image["layers"]:
            layers.setdefault(layer["purpose"], {})[layer["digest"]] = layer["bytes"]
    must("deploy", "--name", "near")
    return {
        "model": MODEL,
        "slices": len(images["images"]),
        "layer_bytes": {purpose: sum(found.values()) for purpose, found in layers.items()},
        "first_deploy_s": round(first, 2),
        "first_push": pushed(log_first),
        "second_deploy_s": round(second, 2),
        "second_push": pushed(log_second),
        "hops": hops(must),
        "update_under_load": update(tranche, must, openfaas),
        "destroy_s": round(must("destroy", "bench")[1] + must("destroy", "near")[1], 2),
    }


def pushed(log):
    return next((line.split("Pushed", 1)[1].strip() for line in log.splitlines() if "Pushed" in line), None)


def hops(must):
    """Time of a request outside of its functions, a slice, in milliseconds: in turn, medians."""
    found = {"bench": [], "near": []}
    for _ in range(3):
        for name in found:
            bill = must("invoke", name, "--random", "--repeat", "7")[0]["bill"]
            found[name].append(statistics.mean(part["transport_ms"] for part in bill["slices"]))
    gateway, near = (statistics.median(found[name]) for name in ("bench", "near"))
    return {"through_gateway_ms": round(gateway, 3), "on_this_machine_ms": round(near, 3)}


def update(tranche, must, openfaas):
    """Requests while the functions are replaced twice: how many, and how many failed."""
    results, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            results.append(tranche("invoke", "bench", "--random")[0])

    workers = [threading.Thread(target=load) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for most in ("8", "12"):
            must(*openfaas, "--max-in-flight", most, "--function-limit", "0")
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    return {"requests": len(results), "failed": sum(code != 0 for code in results)}


if __name__ == "__main__":
    main()
