"""Decodes exports of traces with the OpenTelemetry project's own messages. Arguments: their files.

Prints a list of spans, identifiers in hexadecimal.
"""

import json
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


spans = []
for path in sys.argv[1:]:
    with open(path, "rb") as body:
        request = ExportTraceServiceRequest.FromString(body.read())
    for of_resource in request.resource_spans:
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                spans.append(
                    {
                        "service": attributes(of_resource.resource.attributes)["service.name"],
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "name": span.name,
                        "kind": span.SpanKind.Name(span.kind),
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                        "failed": span.status.code == span.status.STATUS_CODE_ERROR,
                        "message": span.status.message,
                        "attributes": attributes(span.attributes),
                    }
                )
json.dump(spans, sys.stdout)
