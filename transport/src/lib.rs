//! The frame, its codecs and its channels.
//!
//! A [`Frame`] is what one function sends another: a [`RequestHeader`] and a table of
//! [`CodedTensor`]s, each with its bytes inline, in memory that both sides map
//! ([`SharedFolder`], [`SlotPool`]), or behind an object reference. Parsing a frame reads its header
//! alone; payloads stay coded until somebody calls [`CodedTensor::decode`], so a driver
//! passes a tensor on by moving the `CodedTensor` into the next frame.
//!
//! ```
//! use tranche_schema::{Codec, Tensor};
//! use tranche_transport::{CodedTensor, Frame, FrameLimits, Placement, RequestHeader};
//!
//! let tensor = Tensor::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0])?;
//! let frame = Frame {
//!     header: RequestHeader::new([7; 16], "slice-0"),
//!     tensors: vec![CodedTensor::encode("x", &tensor, Codec::Zstd, Placement::Inline)?],
//! };
//! let limits = FrameLimits::default();
//! let received = Frame::parse(frame.to_bytes()?, &limits)?;
//! assert_eq!(received.tensors[0].decode(&limits, None)?, tensor);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "aws")]
pub mod aws;
mod buffer;
mod codec;
mod error;
mod folder;
mod frame;
mod header;
mod http;
mod in_place;
pub mod lambda;
mod limits;
mod measure;
mod pool;
mod shared;
mod tensor;
mod wire;

pub use buffer::{aligned_buffer, buffer_aligned_at};
pub use codec::ZSTD_LEVEL;
pub use error::FrameError;
pub use frame::{ALIGNMENT, FIXED_HEADER_BYTES, Frame, MAGIC, VERSION};
pub use header::RequestHeader;
pub use http::{
    CALL_ID_HEADER, CONTENT_TYPE, HEALTH_PATH, INVOKE_PATH, ITINERARY_HEADER, METRICS_HEADER, READY_PATH,
    TIMEOUT_HEADER, TRAIL_HEADER, call_id, parse_go_duration,
};
pub use in_place::TensorWriter;
pub use limits::FrameLimits;
pub use measure::{CodecMeasurement, measure_codec};
pub use pool::{PoolLimits, SlotPool, SlotWriter};
pub use shared::{LeaseReference, SharedError, SharedFolder, Swept};
pub use tensor::{CodedTensor, ObjectReference, Payload, Placement};
