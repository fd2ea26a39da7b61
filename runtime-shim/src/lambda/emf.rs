//! One line a request on stdout: [`FunctionMetrics`], in CloudWatch's Embedded Metric Format.
//!
//! CloudWatch makes metrics of the fields that `_aws` lists ("Specification: Embedded metric
//! format" of the Amazon CloudWatch user guide) and keeps the rest to be searched. Each metric of
//! each function costs, so there are few.

use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};
use tranche_schema::{FunctionMetrics, Millis};
use tranche_serving::lambda::TraceHeader;

/// What a line says.
pub(super) struct Line<'a> {
    pub(super) metrics: &'a FunctionMetrics,
    /// Of the failure, if there was one.
    pub(super) code: Option<&'a str>,
    /// How long the slice took to load, where the request is the first.
    pub(super) load: Option<Millis>,
    /// W3C trace context of the request.
    pub(super) traceparent: Option<&'a str>,
    /// X-Ray's trace header of the invocation.
    pub(super) xray: Option<&'a str>,
}

/// Prints the line. Nobody reading it is no reason to fail a request.
pub(super) fn print(line: &Line<'_>) {
    let milliseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let mut text = line.at(milliseconds).to_string();
    text.push('\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

impl Line<'_> {
    fn at(&self, milliseconds: u64) -> Value {
        let metric = |name: &str, unit: &str| json!({ "Name": name, "Unit": unit });
        let mut listed = vec![
            metric("billed_ms", "Milliseconds"),
            metric("run_ms", "Milliseconds"),
            metric("peak_memory_bytes", "Bytes"),
            metric("cold_starts", "Count"),
        ];
        let mut fields = Map::new();
        if let Ok(Value::Object(measured)) = serde_json::to_value(self.metrics) {
            fields.extend(measured);
        }
        put(&mut fields, "cold_starts", u8::from(self.metrics.cold));
        if let Some(load) = self.load {
            listed.push(metric("load_ms", "Milliseconds"));
            put(&mut fields, "load_ms", load);
        }
        if let Some(code) = self.code {
            put(&mut fields, "code", code);
        }
        // One name of the trace for both: the caller's where it has one.
        let xray = self.xray.and_then(TraceHeader::from_xray);
        let joined = self.traceparent.and_then(TraceHeader::from_traceparent).or_else(|| xray.clone());
        if let Some(trace) = joined {
            put(&mut fields, "trace_id", trace.trace_id);
        }
        if let Some(trace) = xray {
            put(&mut fields, "xray_trace_id", trace.xray_id());
        }
        let directive = json!([{ "Namespace": "tranche", "Dimensions": [["slice"]], "Metrics": listed }]);
        put(&mut fields, "_aws", json!({ "Timestamp": milliseconds, "CloudWatchMetrics": directive }));
        Value::Object(fields)
    }
}

fn put(fields: &mut Map<String, Value>, name: &str, value: impl Serialize) {
    fields.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_metrics_and_says_which_are_cloudwatchs() {
        let metrics = FunctionMetrics {
            request_id: "07".repeat(16),
            slice: "slice-0".to_owned(),
            cold: true,
            ..FunctionMetrics::default()
        };
        let line = Line {
            metrics: &metrics,
            code: None,
            load: Some(Millis(1500.0)),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            xray: Some("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0"),
        };
        let value = line.at(1_800_000_000_000);
        assert_eq!(serde_json::from_value::<FunctionMetrics>(value.clone()).unwrap(), metrics);
        for metric in value["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap() {
            assert!(value[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
        }
        insta::assert_snapshot!(value, @r#"{"request_id":"07070707070707070707070707070707","slice":"slice-0","attempt":0,"billed_ms":0.0,"wait_ms":0.0,"decode_ms":0.0,"run_ms":0.0,"encode_ms":0.0,"input_bytes":0,"output_bytes":0,"input_coded_bytes":0,"output_coded_bytes":0,"cold":true,"peak_memory_bytes":0,"cold_starts":1,"load_ms":1500.0,"trace_id":"0af7651916cd43dd8448eb211c80319c","xray_trace_id":"1-5759e988-bd862e3fe1be46a994272793","_aws":{"Timestamp":1800000000000,"CloudWatchMetrics":[{"Namespace":"tranche","Dimensions":[["slice"]],"Metrics":[{"Name":"billed_ms","Unit":"Milliseconds"},{"Name":"run_ms","Unit":"Milliseconds"},{"Name":"peak_memory_bytes","Unit":"Bytes"},{"Name":"cold_starts","Unit":"Count"},{"Name":"load_ms","Unit":"Milliseconds"}]}]}}"#);
    }
}
