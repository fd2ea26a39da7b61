//! What functions on AWS Lambda are packed as, sent and answer (docs/formats/lambda.md).

use crate::{ByteCount, Digest, Document, FunctionMetrics, Header};
use serde::{Deserialize, Serialize};

/// Version of [`LambdaEvent`] and [`LambdaAnswer`].
pub const LAMBDA_EVENT_VERSION: u32 = 1;

/// A folder of a bucket that holds tensors on their way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectStore {
    /// Name of the bucket, in the functions' own region.
    pub bucket: String,
    /// Keys begin with it and a slash; it has none at its ends.
    pub prefix: String,
}

/// How a function is to answer a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerWish {
    /// Whether the caller reads a streamed answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// Most bytes of the answer, as sent; the platform's limit when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Where outputs go that would make the answer larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<ObjectStore>,
}

/// A request whose tensors lie in an object store, each at the key that its name gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredRequest {
    /// Request id: 32 hexadecimal digits.
    pub request: String,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// Where inputs are read and outputs are written.
    pub store: ObjectStore,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// A function that a request goes on to by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LambdaStop {
    /// The slice.
    pub slice: String,
    /// Name or ARN of its function, with its qualifier.
    pub function: String,
    /// Names of the tensors that it reads.
    pub reads: Vec<String>,
    /// Names of the tensors that it writes.
    pub writes: Vec<String>,
}

/// What is left of a stored request's way: whoever writes the last tensor that a stop reads
/// calls it, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LambdaItinerary {
    /// Every stop that has not run, in an order in which they can.
    pub stops: Vec<LambdaStop>,
    /// Names of the model's outputs. The one who writes the last of them writes the answer.
    pub outputs: Vec<String>,
    /// When the request is given up, in milliseconds since 1970.
    pub deadline_ms: u64,
}

/// What a function is invoked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LambdaEvent {
    /// [`LAMBDA_EVENT_VERSION`].
    pub tranche: u32,
    /// What is asked for.
    pub ask: LambdaAsk,
}

/// What is asked of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LambdaAsk {
    /// Load the slice and say so.
    Ping {},
    /// Run a frame.
    Run {
        /// The frame, in base64 (RFC 4648, padded).
        frame: String,
        /// How to answer.
        #[serde(default)]
        answer: AnswerWish,
    },
    /// Run a stored request.
    RunStored {
        /// The request.
        request: StoredRequest,
        /// Where it goes on; the caller goes on itself when `None`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        itinerary: Option<LambdaItinerary>,
    },
}

/// What a function answers. Failures are answered as Lambda's error documents instead, with
/// `errorType` `tranche.CODE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LambdaAnswer {
    /// [`LAMBDA_EVENT_VERSION`].
    pub tranche: u32,
    /// The frame in base64, where one was asked for and the answer is not streamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// What it measured; nothing for a ping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<FunctionMetrics>,
}

/// How a slice goes to Lambda.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LambdaPackageKind {
    /// A zip file within the API call.
    ZipInline,
    /// A zip file through a bucket.
    ZipBucket,
    /// A container image.
    Image,
}

impl std::fmt::Display for LambdaPackageKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::ZipInline => "zip",
            Self::ZipBucket => "zip through S3",
            Self::Image => "image",
        })
    }
}

/// A slice as packed for Lambda.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaPackage {
    /// The slice.
    pub slice: String,
    /// How it goes.
    pub kind: LambdaPackageKind,
    /// Why so, for people.
    pub reason: String,
    /// Zip file in the folder of the packages; `None` for an image.
    pub file: Option<String>,
    /// Size of the zip file, or of the image's layers.
    pub bytes: ByteCount,
    /// Size of what it unpacks to, layers of the function not counted.
    pub unzipped_bytes: ByteCount,
    /// SHA-256 of the zip file, or of the image's manifest.
    pub digest: Digest,
    /// Layers of the function by name, lowest first.
    pub layers: Vec<String>,
}

/// A Lambda layer: files below `/opt` that functions share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaLayer {
    /// Its name.
    pub name: String,
    /// Zip file in the folder of the packages.
    pub file: String,
    /// Size of the zip file.
    pub bytes: ByteCount,
    /// Size of what it unpacks to.
    pub unzipped_bytes: ByteCount,
    /// SHA-256 of the zip file.
    pub digest: Digest,
}

/// lambda.json, in the folder of the packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaIndex {
    /// Format and version.
    pub header: Header,
    /// Digest of the bundle's manifest.json.
    pub bundle_digest: Digest,
    /// Engine that the functions run.
    pub engine: String,
    /// `x86_64` or `arm64`, as Lambda spells it.
    pub architecture: String,
    /// One package a slice, in the plan's order.
    pub packages: Vec<LambdaPackage>,
    /// Layers that packages name.
    pub layers: Vec<LambdaLayer>,
    /// The function that walks whole requests, if there is one.
    pub entry: Option<LambdaPackage>,
}

impl Document for LambdaIndex {
    const FORMAT: &'static str = "tranche-lambda-packages";
    const VERSION: u32 = 1;
}

impl LambdaIndex {
    /// File name in the folder of the packages.
    pub const FILE: &'static str = "lambda.json";
}

/// A slice's function on Lambda.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaFunction {
    /// The slice it runs; `entry` for the one that walks requests.
    pub slice: String,
    /// Name of the function.
    pub function: String,
    /// The version that the alias names.
    pub version: String,
    /// Lambda's `CodeSha256` of that version.
    pub code_sha256: String,
    /// How it was packed.
    pub package: LambdaPackageKind,
    /// `MemorySize`, in MiB.
    pub memory_mib: u32,
}

/// Where a Lambda deployment runs. Credentials are never in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaDeployment {
    /// The region.
    pub region: String,
    /// The account's id.
    pub account: String,
    /// Endpoint of the services instead of AWS's own (an emulator).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The alias that callers use.
    pub alias: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// The functions, in the order of the deployment's.
    pub functions: Vec<LambdaFunction>,
    /// The function that walks whole requests, if one was deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<LambdaFunction>,
    /// URL of the entry function (IAM authentication), if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_url: Option<String>,
    /// Where tensors go that no payload takes; without one they fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<ObjectStore>,
    /// ARN of the Step Functions state machine that walks requests, if one was deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_machine: Option<String>,
}
