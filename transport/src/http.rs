//! Names of the HTTP contract between driver and function (docs/formats/function-http.md).

/// Media type of a frame.
pub const CONTENT_TYPE: &str = "application/vnd.tranche.frame";
/// Response header that holds the request's `FunctionMetrics` as JSON.
pub const METRICS_HEADER: &str = "tranche-metrics";
/// Answers 200 from the moment the function listens.
pub const HEALTH_PATH: &str = "/_/health";
/// Answers 200 once the slice is loaded.
pub const READY_PATH: &str = "/_/ready";
/// Takes a frame, answers a frame.
pub const INVOKE_PATH: &str = "/";
