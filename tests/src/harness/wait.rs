//! Waiting for a state with a limit.

use std::time::Duration;

use tokio::time::Instant;

/// How long a journey waits for a state before it fails. Generous: a loaded machine is slow, a broken one never arrives.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(40);

/// Asks until `poll` gives a value. Its error says what is seen instead, and stands in the failure.
///
/// # Panics
/// When the limit passes.
pub async fn wait_for<T>(what: &str, limit: Duration, mut poll: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match poll().await {
            Ok(value) => return value,
            Err(seen) if deadline <= Instant::now() => {
                panic!("waited {limit:?} until {what}; last seen: {seen}")
            }
            Err(_) => tokio::time::sleep(POLL_EVERY).await,
        }
    }
}
