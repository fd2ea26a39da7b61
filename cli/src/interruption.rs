//! Ctrl-C and SIGTERM: what a command deployed for its own use is removed before
//! it ends, and a deploy that is under way is undone.

use crate::failure::Failure;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tranche_deployer::Target as _;
use tranche_deployer::local::LocalTarget;
use tranche_schema::exit_code;

/// Set for good by the first signal; a deploy that sees it gives up.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Deployments to remove.
static DEPLOYED: Mutex<Vec<(LocalTarget, String)>> = Mutex::new(Vec::new());

/// The deployments that end with this process. Held during a deploy, so that an
/// interruption finds either nothing or all of it; held until the end by an
/// interruption, so that nothing else is deployed.
pub fn deployed() -> MutexGuard<'static, Vec<(LocalTarget, String)>> {
    // A list of names is whole whoever panicked.
    DEPLOYED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for signals from now on, in a thread of its own. The first one removes
/// what there is and ends this process, a second one ends it at once.
pub fn watch(json: bool) {
    use tokio::signal::unix::{SignalKind, signal};
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            for first in [true, false] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if first {
                    INTERRUPTED.store(true, Ordering::SeqCst);
                    std::thread::spawn(move || end(json));
                }
            }
            std::process::exit(exit_code::INTERRUPTED.into());
        });
    });
}

/// Once interrupted, waits for the end of the process instead of returning: what
/// the verb has to say does not matter any more.
pub fn wait_for_end() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Removes what was deployed, says so, and ends the process.
fn end(json: bool) {
    let deployed = deployed();
    let mut failure = Failure::new("interrupted", exit_code::INTERRUPTED, "interrupted");
    for (target, name) in deployed.iter() {
        failure.message = match target.destroy(name) {
            Ok(_) => format!("{}; `{name}` is removed", failure.message),
            Err(error) => format!("{}; `{name}` is not removed: {error}", failure.message),
        };
    }
    crate::report(&failure, json);
    std::process::exit(exit_code::INTERRUPTED.into());
}
