//! How the C library's heap treats tensors.
//!
//! By default glibc raises the size from which a block is mapped on its own to that of the largest
//! block freed so far, up to 32 MiB (mallopt(3), `M_MMAP_THRESHOLD`). Tensors then come from the
//! arenas of several threads: one receives a request's body, another runs the slice. What one
//! arena has free no other can take, and little is given back: a slice that reads 12 MB and
//! writes 20 MB held 180 MiB after ten requests, and 35 MiB with a size that stays. A mapped
//! block costs its page faults again in each request, 0.5 to 2 % of a run.

/// Blocks of this size and above are mapped, and given back when they are freed. Below it a
/// request's blocks come from the heap, where they cost no page faults.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES: i32 = 4 << 20;
/// Free bytes at the heap's end before they are given back: twice the above, as the C library
/// itself would have it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: i32 = 2 * MAPPED_BYTES;

/// Gives large blocks back to the system as soon as they are freed, for the process's whole life.
/// Called first in a process that runs a slice, and in those that measure how much memory a
/// slice needs. Settings of the environment (`MALLOC_MMAP_THRESHOLD_`) are overruled; where the
/// C library is another, nothing is done.
pub fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "the C library is called")]
        // SAFETY: mallopt takes two integers and changes parameters of the allocator alone, under
        // its own lock; these are valid at any time, and blocks handed out before stay as they are.
        let done = unsafe {
            [
                libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES),
                libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES),
            ]
        };
        if done.contains(&0) {
            tracing::debug!("the heap keeps what is freed");
        }
    }
}
