//! What AWS Lambda takes at most.
//!
//! From the Lambda developer guide, "Lambda quotas" (gettingstarted-limits) where nothing else
//! is said; megabytes there are mebibytes. Functions on managed instances have other limits
//! and are not made here.

use crate::elf::GlibcVersion;
use std::ops::RangeInclusive;

/// `MemorySize`, in MiB.
pub const MEMORY_MIB: RangeInclusive<u32> = 128..=10_240;
/// Memory that comes with one whole processor, in MiB; shares go with memory.
pub const MEMORY_MIB_PER_CPU: u32 = 1769;
/// `EphemeralStorage`, in MiB: what `/tmp` holds.
pub const EPHEMERAL_STORAGE_MIB: RangeInclusive<u32> = 512..=10_240;
/// Most ephemeral storage that SnapStart takes, in MiB.
pub const SNAP_START_EPHEMERAL_STORAGE_MIB: u32 = 512;
/// `Timeout`, in seconds.
pub const TIMEOUT_S: RangeInclusive<u32> = 1..=900;
/// Bytes of all environment variables as one JSON object, which is how Lambda measures them.
pub const ENVIRONMENT_BYTES: usize = 4096;
/// Longest name of a function (`CreateFunction`).
pub const NAME_LENGTH: usize = 64;
/// Longest `Handler` (`CreateFunction`).
pub const HANDLER_LENGTH: usize = 128;
/// Longest `Description` (`CreateFunction`).
pub const DESCRIPTION_LENGTH: usize = 256;
/// Tags of a function.
pub const TAG_COUNT: usize = 50;
/// Longest key of a tag.
pub const TAG_KEY_LENGTH: usize = 128;
/// Longest value of a tag.
pub const TAG_VALUE_LENGTH: usize = 256;
/// Layers of a function.
pub const LAYER_COUNT: usize = 5;
/// Bytes of a zip file that is sent within a call.
///
/// Lambda refuses zip files of 52,428,800 bytes (50 MiB) and requests of 70,167,211, which
/// hold the file in base64 and everything else that describes the function. This is the
/// documented "50 MB" in its smaller meaning: 66,666,668 bytes of base64, and 3 MB to spare.
pub const INLINE_ZIP_BYTES: u64 = 50_000_000;
/// Bytes that a zip file and its layers unpack to.
pub const UNZIPPED_BYTES: u64 = 262_144_000;
/// Bytes that an image's layers unpack to.
pub const IMAGE_BYTES: u64 = 10 * 1024 * 1024 * 1024;
/// Bytes of a request and of a buffered answer (measured on AWS's Runtime Interface Emulator).
pub const PAYLOAD_BYTES: u64 = 6_291_556;
/// Bytes of a streamed answer.
pub const STREAM_BYTES: u64 = 200 * 1024 * 1024;
/// Bytes a second of a streamed answer beyond [`PAYLOAD_BYTES`].
pub const STREAM_BYTES_PER_S: u64 = 2 * 1024 * 1024;
/// Bytes of a state machine's input, output and state between two states.
pub const STATE_BYTES: u64 = 262_144;
/// Longest run of an Express state machine, in seconds.
pub const EXPRESS_S: u32 = 300;
/// Concurrency that Lambda keeps for functions that reserved none.
pub const UNRESERVED_CONCURRENCY: u32 = 100;

/// Bytes of a payload that are not base64 of tensors: JSON around it, the frame's head and
/// padding.
const PAYLOAD_OVERHEAD: u64 = 8192;

/// Bytes of tensors that a payload takes: base64 makes four bytes of three.
pub const PAYLOAD_TENSOR_BYTES: u64 = (PAYLOAD_BYTES - PAYLOAD_OVERHEAD) / 4 * 3;

/// The C library of Amazon Linux 2023, on which `provided.al2023` runs.
pub const GLIBC: GlibcVersion = GlibcVersion(2, 34);
/// The runtime of zip files.
pub const RUNTIME: &str = "provided.al2023";
/// `Handler` of zip files; the runtime starts `bootstrap` whatever it is.
pub const HANDLER: &str = "bootstrap";

/// Libraries that `provided.al2023` has: its C library's and the compiler's, which every
/// program that Rust links needs. `/lib64` comes first in Lambda's `LD_LIBRARY_PATH`, so
/// others of these names would not be loaded anyway.
pub(super) const GIVEN_LIBRARIES: [&str; 13] = [
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libanl.so.1",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libmvec.so.1",
    "libnsl.so.1",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
];

/// Variables that Lambda sets itself and refuses from others (developer guide,
/// "Defined runtime environment variables").
pub const RESERVED_VARIABLES: [&str; 18] = [
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
];
