//! Which functions may have to start, and what is done about it while a request is on its way:
//! overlapped start-up. Every function that the request will need later is pinged when it arrives,
//! so that it waits for the longest remaining start and never for the sum.

use crate::FunctionIndex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tranche_schema::Deployment;

/// Whether functions that a request needs later are started when it arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Where the platform stops functions: AWS Lambda, and a local deployment that scales to zero.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Always: OpenFaaS's gateway does not say whether it scales a function to zero.
    Always,
}

impl Overlap {
    /// How long a function of the deployment is taken to be warm after an answer; nothing where none
    /// is ever pinged.
    pub(crate) fn window(self, deployment: &Deployment, keep_warm: Duration) -> Option<Duration> {
        let local = deployment.local.as_ref().and_then(|local| local.scale_to_zero_seconds);
        // Well before the supervisor's patience ends; 0 there is for ever, but who starts it anew
        // does not tell.
        let local = local.map(|seconds| match seconds {
            0 => keep_warm,
            seconds => keep_warm.min(Duration::from_millis(seconds.saturating_mul(800))),
        });
        match self {
            Self::Never => None,
            Self::Always => Some(local.unwrap_or(keep_warm)),
            Self::Auto => local.or_else(|| deployment.lambda.is_some().then_some(keep_warm)),
        }
    }
}

/// When each function last answered.
#[derive(Debug)]
pub(crate) struct Warmth {
    began: Instant,
    window: Option<Duration>,
    functions: Vec<Arc<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Milliseconds from [`Warmth::began`], plus one; 0 for never.
    answered: AtomicU64,
    pinged: AtomicBool,
}

impl Warmth {
    pub(crate) fn new(functions: usize, window: Option<Duration>) -> Self {
        Self { began: Instant::now(), window, functions: (0..functions).map(|_| Arc::default()).collect() }
    }

    /// Functions not known to be warm, and not being pinged for another request.
    pub(crate) fn doubtful(&self) -> Vec<FunctionIndex> {
        let Some(window) = self.window else { return Vec::new() };
        let now = self.now();
        let warm = |known: &Known| {
            let answered = known.answered.load(Ordering::Relaxed);
            answered > 0
                && now.saturating_sub(answered) < u64::try_from(window.as_millis()).unwrap_or(u64::MAX)
        };
        let doubtful = |known: &Known| !warm(known) && !known.pinged.load(Ordering::Relaxed);
        (0..).zip(&self.functions).filter(|(_, known)| doubtful(known)).map(|(index, _)| index).collect()
    }

    /// The function has answered.
    pub(crate) fn answered(&self, function: FunctionIndex) {
        if let Some(known) = self.functions.get(function) {
            known.answered.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A ping is under way until what this gives is dropped; nothing when one is already.
    pub(crate) fn ping(&self, function: FunctionIndex) -> Option<Pinged> {
        let known = self.functions.get(function)?;
        (!known.pinged.swap(true, Ordering::Relaxed)).then(|| Pinged(Arc::clone(known)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// A ping under way.
pub(crate) struct Pinged(Arc<Known>);

impl Drop for Pinged {
    fn drop(&mut self) {
        self.0.pinged.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answered_lately_or_is_being_pinged_is_not_pinged() {
        let warmth = Warmth::new(3, Some(Duration::from_secs(60)));
        warmth.answered(0);
        let ping = warmth.ping(1);
        assert!(ping.is_some() && warmth.ping(1).is_none());
        assert_eq!(warmth.doubtful(), [2]);
        drop(ping);
        assert_eq!(warmth.doubtful(), [1, 2]);
    }

    #[test]
    fn without_a_window_nobody_is_pinged_and_a_window_ends() {
        assert!(Warmth::new(2, None).doubtful().is_empty());
        let warmth = Warmth::new(1, Some(Duration::ZERO));
        warmth.answered(0);
        assert_eq!(warmth.doubtful(), [0]);
    }
}
