/// What a receiver accepts. Every bound is checked on the declared number, before
/// anything is allocated for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of the whole frame.
    pub max_frame_bytes: u64,
    /// Tensors in a frame.
    pub max_tensors: u32,
    /// Dimensions of a tensor.
    pub max_rank: u32,
    /// Bytes of a tensor's or the slice's name.
    pub max_name_bytes: u32,
    /// Raw bytes of one tensor, wherever they lie.
    pub max_tensor_bytes: u64,
    /// Raw bytes of all tensors of a frame, wherever they lie.
    pub max_total_tensor_bytes: u64,
}

impl Default for FrameLimits {
    /// 1 GiB frames of at most 4,096 tensors, 2 GiB of raw tensors.
    fn default() -> Self {
        Self {
            max_frame_bytes: 1 << 30,
            max_tensors: 4096,
            max_rank: 32,
            max_name_bytes: 1024,
            max_tensor_bytes: 2 << 30,
            max_total_tensor_bytes: 2 << 30,
        }
    }
}
