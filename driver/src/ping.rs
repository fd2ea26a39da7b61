//! The pings of one request: a start of each function that it will need, asked for once.

use crate::lambda::LambdaRequest;
use crate::warmth::Pinged;
use crate::{FunctionIndex, Inner};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Pings under way; they end with this. What they are answered matters to nobody but whoever looks
/// for warm functions next.
#[derive(Default)]
pub(crate) struct Pings {
    tasks: JoinSet<()>,
    ends: HashMap<FunctionIndex, oneshot::Receiver<Pinged>>,
}

impl Pings {
    /// Pings a function, unless another request is at it; waits for its answer no longer than `left`.
    pub(crate) fn send(
        &mut self,
        inner: &Arc<Inner>,
        function: FunctionIndex,
        left: Duration,
        lambda: Option<&Arc<LambdaRequest>>,
    ) {
        let Some(client) = inner.clients.get(function).map(Arc::clone) else { return };
        let Some(under_way) = inner.warmth.ping(function) else { return };
        let (ended, end) = oneshot::channel();
        if client.runs_one_at_a_time() {
            self.ends.insert(function, end);
        }
        let left = inner.options.attempt_timeout.map_or(left, |most| left.min(most));
        let (inner, lambda) = (Arc::clone(inner), lambda.map(Arc::clone));
        self.tasks.spawn(async move {
            match client.ping(left, lambda.as_deref()).await {
                Ok(()) => inner.warmth.answered(function),
                Err(failure) => tracing::debug!(slice = client.slice(), reason = %failure.reason, "pinged"),
            }
            // Sent or dropped, it says that the ping has ended.
            let _ = ended.send(under_way);
        });
    }

    /// What the call of a function has to wait for: the end of this request's ping, where a call
    /// beside it would start another instance, from nothing. Waiting for the rest of a start takes
    /// less than a start.
    pub(crate) fn end_of(&mut self, function: FunctionIndex) -> Option<oneshot::Receiver<Pinged>> {
        self.ends.remove(&function)
    }
}
