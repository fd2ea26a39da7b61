use std::time::Duration;
use tranche_serving::lambda::Initialization;
use tranche_serving::milliseconds;

/// Lambda ends an initialization for a waiting request after 10 s.
const INIT_TIME: Duration = Duration::from_secs(9);
/// Initializations ahead of requests have 130 s or the function's timeout, whichever is longer.
const AHEAD_TIME: Duration = Duration::from_secs(120);

/// What a function's process on AWS Lambda is told besides.
#[derive(Clone, Debug, clap::Args)]
pub struct LambdaOptions {
    /// On AWS Lambda: longest time that loading holds initialization up; then the first request waits
    /// for it. 9 s by default, or 120 s ahead of requests (provisioned concurrency, SnapStart)
    #[arg(long = "init-wait-ms", env = "TRANCHE_INIT_WAIT_MS", value_name = "MS",
          value_parser = milliseconds)]
    pub init_wait: Option<Duration>,
    /// On AWS Lambda: how long before the function's own timeout a request that is not done is answered so
    #[arg(long = "deadline-margin-ms", env = "TRANCHE_DEADLINE_MARGIN_MS", value_name = "MS",
          default_value = "200", value_parser = milliseconds)]
    pub deadline_margin: Duration,
}

impl Default for LambdaOptions {
    fn default() -> Self {
        Self { init_wait: None, deadline_margin: Duration::from_millis(200) }
    }
}

impl LambdaOptions {
    pub(super) fn init_wait(&self, initialization: Initialization) -> Duration {
        self.init_wait.unwrap_or(match initialization {
            Initialization::OnDemand => INIT_TIME,
            Initialization::Ahead | Initialization::SnapStart => AHEAD_TIME,
        })
    }
}
