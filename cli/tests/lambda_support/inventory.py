"""Prints what there is in the account that the environment names, as AWS's own Python client sees it."""

import json
import os

import botocore.session

SESSION = botocore.session.get_session()


def client(service):
    return SESSION.create_client(service, endpoint_url=os.environ["AWS_ENDPOINT_URL"])


functions = [entry["FunctionName"] for entry in client("lambda").list_functions()["Functions"]]
layers = [entry["LayerName"] for entry in client("lambda").list_layers()["Layers"]]
buckets = [entry["Name"] for entry in client("s3").list_buckets()["Buckets"]]
roles = [entry["RoleName"] for entry in client("iam").list_roles()["Roles"]]
machines = [entry["name"] for entry in client("stepfunctions").list_state_machines()["stateMachines"]]
groups = [entry["logGroupName"] for entry in client("logs").describe_log_groups()["logGroups"]]
found = {
    "function": functions,
    "layer": layers,
    "bucket": buckets,
    "role": roles,
    "state machine": machines,
    "log group": groups,
}
print(json.dumps(sorted(f"{kind} {name}" for kind, names in found.items() for name in names)))
