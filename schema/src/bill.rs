//! The bill of a request: predicted beside measured.

use crate::{ByteCount, Document, FunctionSize, GibSeconds, Header, LimitsEnforced, Millis, SlicePrediction};
use serde::{Deserialize, Serialize};

/// What a function says of one request (its metrics line and response header).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionMetrics {
    /// Request id, as hexadecimal digits.
    pub request_id: String,
    /// The caller's name of the call (`X-Call-Id`), if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The slice that ran.
    pub slice: String,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// From the last byte of the request to the first of the answer.
    pub billed_ms: Millis,
    /// Waiting for the session: loading, or other requests.
    pub wait_ms: Millis,
    /// Decoding inputs.
    pub decode_ms: Millis,
    /// The engine's run.
    pub run_ms: Millis,
    /// Encoding outputs.
    pub encode_ms: Millis,
    /// Bytes of input tensors, raw.
    pub input_bytes: ByteCount,
    /// Bytes of output tensors, raw.
    pub output_bytes: ByteCount,
    /// Bytes of input tensors as they came.
    pub input_coded_bytes: ByteCount,
    /// Bytes of output tensors as they went.
    pub output_coded_bytes: ByteCount,
    /// Whether this process answered its first request.
    pub cold: bool,
    /// From the start of the process until it could run its slice; with the first answer only, and
    /// where the system tells. Whoever waited for it waited before `billed_ms`, or in `wait_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_up_ms: Option<Millis>,
    /// Highest resident memory of the process so far.
    pub peak_memory_bytes: ByteCount,
}

/// Where a function's start-up went: `start_up` of its readiness, once it is ready.
///
/// The start of the process is known to a hundredth of a second (proc_pid_stat(5), field 22), so
/// `process_ms` and `total_ms` may be up to 10 ms too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StartUp {
    /// From the start of the process until it turned to its slice: loading the program, reading the
    /// manifest. Missing where the system does not tell when the process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_ms: Option<Millis>,
    /// Opening the engine: ONNX Runtime's library is loaded here.
    pub library_ms: Millis,
    /// The engine's loading of the slice: graph and weights.
    pub weights_ms: Millis,
    /// From the start of the process until it could run its slice; the rest is waiting for a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<Millis>,
}

/// What AWS Lambda counts of the calls of one slice in one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LambdaUse {
    /// Invocations that Lambda took, failed ones included: each has a fee.
    pub invocations: u32,
    /// How many of them told their billed duration, in the REPORT line at the end of their log.
    /// Of the others only what the function itself measured is known; of stored requests, which
    /// nobody waits for, all.
    pub reported: u32,
    /// Sum of the billed durations told, in whole milliseconds each; starting is in it (`INIT` is
    /// billed since August 2025).
    pub billed_ms: Millis,
    /// Sum of the start-up times told.
    pub init_ms: Millis,
    /// The function's `MemorySize`, in MiB: what durations are multiplied by.
    pub memory_mib: u32,
    /// [`LambdaUse::billed_ms`] times the memory.
    pub memory_time: GibSeconds,
    /// Bytes of events sent and answers received, as sent.
    pub payload_bytes: ByteCount,
    /// Bytes of these that came as streamed answers.
    pub streamed_bytes: ByteCount,
}

/// What an object store counts of one request, by the driver and the functions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreUse {
    /// Objects written, and writes refused because one was there (PUT).
    pub puts: u32,
    /// Objects read or asked for (GET, HEAD).
    pub gets: u32,
    /// Listings (LIST); deleting has no fee.
    pub lists: u32,
    /// Bytes written.
    pub written_bytes: ByteCount,
    /// Bytes read.
    pub read_bytes: ByteCount,
}

/// What a request took on AWS Lambda beside its slices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LambdaBill {
    /// The object store.
    pub store: StoreUse,
    /// The function that walked the request, which waits while slices run; nothing where the
    /// driver ran elsewhere. Its billed duration is measured from the event's arrival to the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<LambdaUse>,
}

/// One function's part of the bill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceBill {
    /// The slice.
    pub slice: String,
    /// What its function is given.
    pub size: FunctionSize,
    /// Whether it is held to it.
    pub limits: LimitsEnforced,
    /// Tries, failed ones included.
    pub attempts: u32,
    /// What the function measured.
    pub measured: FunctionMetrics,
    /// Memory limit times billed time.
    pub memory_time: GibSeconds,
    /// Request seen by the driver, less what the function billed: the transport.
    pub transport_ms: Millis,
    /// Bytes sent and received for it, as coded.
    pub handoff_bytes: ByteCount,
    /// What the plan expected.
    pub predicted: SlicePrediction,
    /// What Lambda counts, beside what the function measured; only on AWS Lambda.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<LambdaUse>,
}

/// The bill of one request, or the median over several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bill {
    /// Format and version.
    pub header: Header,
    /// Name of the deployment.
    pub deployment: String,
    /// Engine in use.
    pub engine: String,
    /// Requests this bill is the median of.
    pub requests: u32,
    /// One entry a slice.
    pub slices: Vec<SliceBill>,
    /// From the driver's start to the last output.
    pub latency_ms: Millis,
    /// Sum over slices.
    pub billed_ms: Millis,
    /// Sum over slices.
    pub memory_time: GibSeconds,
    /// Sum over slices.
    pub predicted_memory_time: GibSeconds,
    /// What the plan expected.
    pub predicted_latency_ms: Millis,
    /// What it took beside the slices; only on AWS Lambda.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<LambdaBill>,
}

impl Document for Bill {
    const FORMAT: &'static str = "tranche-bill";
    const VERSION: u32 = 1;
}
