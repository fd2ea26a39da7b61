//! Trying again, a few times and not for ever.

use super::http::{Answer, Call, Failure, out_of_time};
use super::{Options, PushEvent, RegistryError};
use hyper::header::RETRY_AFTER;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

/// What holds for one call of this module's user: until when, and who is told.
#[derive(Clone)]
pub(super) struct Operation {
    pub(super) deadline: Instant,
    limit: Duration,
    events: Option<UnboundedSender<PushEvent>>,
}

impl Operation {
    pub(super) fn new(options: &Options, events: Option<UnboundedSender<PushEvent>>) -> Self {
        Self { deadline: Instant::now() + options.deadline, limit: options.deadline, events }
    }

    pub(super) fn tell(&self, event: PushEvent) {
        if let Some(events) = &self.events {
            let _ = events.send(event);
        }
    }

    /// Puts in how long there was.
    pub(super) fn finish(&self, error: RegistryError) -> RegistryError {
        match error {
            RegistryError::Deadline { what, .. } => RegistryError::Deadline { what, limit: self.limit },
            other => other,
        }
    }
}

/// Whether a registry that answers so may answer otherwise later.
pub(super) fn is_passing(answer: &Answer) -> bool {
    // 501: it will never do that.
    matches!(answer.status.as_u16(), 408 | 429 | 500 | 502..=504)
}

/// Tries of one thing.
pub(super) struct Tries<'a> {
    options: &'a Options,
    made: u32,
}

impl<'a> Tries<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        Self { options, made: 0 }
    }

    /// Something went well in between.
    pub(super) fn restart(&mut self) {
        self.made = 0;
    }

    /// Waits before the next try after no answer.
    pub(super) async fn after_failure(
        &mut self,
        call: &Call,
        failure: Failure,
        operation: &Operation,
    ) -> Result<(), RegistryError> {
        let reason = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing { reason } => reason,
        };
        let (method, url) = call.named();
        let tried = self.made + 1;
        let last =
            RegistryError::Connection { method, url, reason: format!("{reason}; tried {tried} times") };
        self.pause(call, reason, None, last, operation).await
    }

    /// Waits before the next try after an answer that [`is_passing`].
    pub(super) async fn after_answer(
        &mut self,
        call: &Call,
        answer: &Answer,
        operation: &Operation,
    ) -> Result<(), RegistryError> {
        let reason = format!("answered {}", answer.status.as_u16());
        let last = super::client::refused(call, answer);
        self.pause(call, reason, asked_pause(answer), last, operation).await
    }

    async fn pause(
        &mut self,
        call: &Call,
        reason: String,
        asked: Option<Duration>,
        last: RegistryError,
        operation: &Operation,
    ) -> Result<(), RegistryError> {
        self.made += 1;
        if self.made >= self.options.attempts {
            return Err(last);
        }
        let doubled = self.options.pause.saturating_mul(1 << (self.made - 1).min(16));
        let pause = asked.unwrap_or(doubled).min(self.options.longest_pause);
        if Instant::now() + pause >= operation.deadline {
            return Err(out_of_time(call));
        }
        let (method, url) = call.named();
        operation.tell(PushEvent::Retrying { request: format!("{method} {url}"), reason, pause });
        sleep(pause).await;
        Ok(())
    }
}

/// `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
fn asked_pause(answer: &Answer) -> Option<Duration> {
    let text = answer.header(RETRY_AFTER.as_str())?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}
