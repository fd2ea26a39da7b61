#!/usr/bin/env python3
"""Plans of the zoo against an integer programme that somebody else's solver solves.

For each model: `tranche profile`, then `tranche partition --steps` writes every step (layers
in one function of one size, or branches at once) of every order that the planner tries. HiGHS
(through scipy) then looks for the cheapest way from the first layer to past the last, with
and without a bound on latency, as a mixed integer linear programme:

    minimise sum of cost * x over steps, x in {0, 1}
    at each place: steps that end there = steps that begin there (one begins at the first layer)
    sum of latency * x <= bound

    python3 bench/oracle.py --program target/release/tranche --output bench/oracle.jsonl

needs numpy and scipy. Models that have a line for the same prices are left out.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import scipy.optimize
import scipy.sparse

MODELS = (
    "vgg16 resnet50 inception_v3 lstm_lm bigru_lm convlstm bert_base vit_b16 gpt2_small "
    "gcn_wide gat_cora caustic_nmr_painn"
).split()


def solve(order, bound=None):
    """Least cost over one order within a bound on latency, and a proven lower bound on it.

    Both are infinite where nothing is within the bound; they differ where time ran out."""
    steps, places = order["steps"], len(order["layers"])
    rows, columns, values = [], [], []
    for column, step in enumerate(steps):
        rows += [step["first"], step["end"]]
        columns += [column, column]
        values += [1, -1]
    flow = scipy.sparse.csr_matrix((values, (rows, columns)), shape=(places + 1, len(steps)))
    wanted = numpy.zeros(places + 1)
    wanted[0], wanted[places] = 1, -1
    constraints = [scipy.optimize.LinearConstraint(flow, wanted, wanted)]
    if bound is not None:
        latency = numpy.array([[step["latency_ms"] for step in steps]])
        constraints.append(scipy.optimize.LinearConstraint(latency, -numpy.inf, bound))
    cost = numpy.array([step["cost"] for step in steps])
    scale = cost.max() or 1.0
    found = scipy.optimize.milp(
        cost / scale,
        constraints=constraints,
        integrality=numpy.ones(len(steps)),
        bounds=scipy.optimize.Bounds(0, 1),
        options={"mip_rel_gap": 0.0, "time_limit": 40},
    )
    if found.status == 2:
        return float("inf"), float("inf")
    cheapest = float("inf") if found.x is None else float(cost @ numpy.round(found.x))
    proven = cheapest if found.status == 0 else (found.mip_dual_bound or 0.0) * scale
    return cheapest, proven


def tranche(program, *arguments):
    run = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=1800)
    if run.returncode:
        raise RuntimeError(run.stderr.strip() or run.stdout.strip())
    return json.loads(run.stdout)


def compare(program, folder, model, prices, engine):
    profile, steps, plan = (str(folder / name) for name in ("profile.json", "steps.json", "plan.json"))
    # Cuts, not sizes of memory found by running, are compared.
    tranche(program, "profile", model, "--engine", engine, "--output", profile, "--json")
    line = {"model": model, "engine": engine, "prices": prices, "bounds": []}
    for part in (None, 0.25, 0.6):
        asked = [] if part is None else ["--slo", f"{bound:.6f}"]
        started = time.monotonic()
        found = tranche(
            program, "partition", model, "--engine", engine, "--profile", profile, "--prices", prices,
            "--steps", steps, "--output", plan, "--json", *asked,
        )
        seconds = time.monotonic() - started
        orders = json.loads(pathlib.Path(steps).read_text())
        started = time.monotonic()
        costs = [solve(order, None if part is None else bound) for order in orders]
        oracle, proven = (min(costs, key=lambda pair: pair[end])[end] for end in (0, 1))
        line["layers"] = len(orders[0]["layers"])
        line["bounds"].append(
            {
                "slo_ms": None if part is None else bound,
                "orders": len(orders),
                "steps": sum(len(order["steps"]) for order in orders),
                "slices": len(found["slices"]),
                "cost": found["prediction"]["cost"],
                "oracle": oracle,
                "oracle_at_least": proven,
                "relative_difference": found["prediction"]["cost"] / oracle - 1,
                "planner_s": round(seconds, 3),
                "oracle_s": round(time.monotonic() - started, 3),
            }
        )
        if part is None:
            points = found["frontier"]["points"]
            least, most = (end(point["latency_ms"] for point in points) for end in (min, max))
            if most <= least:
                break
            bounds = [least + (most - least) * share for share in (0.25, 0.6)]
        if len(line["bounds"]) <= len(bounds):
            bound = bounds[len(line["bounds"]) - 1]
    return line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--program", default="target/release/tranche")
    parser.add_argument("--engine", default="tract")
    parser.add_argument("--prices", nargs="*", default=["local", "aws-lambda-x86", "cloud-run"])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("bench/oracle.jsonl"))
    arguments = parser.parse_args()
    done = set()
    if arguments.output.exists():
        lines = [json.loads(line) for line in arguments.output.read_text().splitlines()]
        done = {(line["model"], line["engine"], line["prices"]) for line in lines}
    worst = 0.0
    for model in arguments.models:
        for prices in arguments.prices:
            if (model, arguments.engine, prices) in done:
                continue
            with tempfile.TemporaryDirectory() as folder:
                try:
                    line = compare(arguments.program, pathlib.Path(folder), model, prices, arguments.engine)
                except RuntimeError as error:
                    line = {"model": model, "engine": arguments.engine, "prices": prices, "error": str(error)}
            with arguments.output.open("a") as output:
                output.write(json.dumps(line) + "\n")
            differences = [abs(bound["relative_difference"]) for bound in line.get("bounds", [])]
            worst = max([worst, *differences])
            print(f"{model} {prices}: {line.get('error') or differences}", file=sys.stderr)
    print(json.dumps({"largest_relative_difference": worst}))


if __name__ == "__main__":
    main()
