//! What the machine gives: control groups, limited processes, memory figures,
//! page-cache eviction, CPU share. Linux only.
//!
//! Limits are best effort by design: where the platform does not allow them,
//! work goes on without and the caller gets a [`tranche_schema::LimitsEnforced`]
//! and a notice that says why.

mod cache;
mod cgroup;
mod cpu;
mod error;
mod process;
mod statistics;

pub use cache::{cached_share, evict};
pub use cgroup::{Cgroups, ControlGroup, GroupFolder, Hierarchy, Limits};
pub use cpu::{cpu_model, own_cpu_share, usable_cpus};
pub use error::HostError;
pub use process::{Placement, ProcessHandle, Spawned, spawn, wait_with_deadline};
pub use statistics::{anonymous_resident, peak_resident, reset_peak, resident, start_ticks};
