//! HTTP questions of a journey.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;

const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The body of a page.
///
/// # Errors
/// When nobody answers, or with another status than success; the text is for [`crate::harness::wait_for`].
pub async fn get(addr: SocketAddr, path: &str) -> Result<String, String> {
    let url = format!("http://{addr}{path}");
    let asked = url.clone();
    let get = move || {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(ANSWER_MAX)).build().into();
        agent.get(&url).call()?.body_mut().read_to_string()
    };
    let answer = tokio::task::spawn_blocking(get).await.map_err(|error| error.to_string())?;
    answer.map_err(|error| format!("GET {asked}: {error}"))
}

/// As [`get`], read as JSON.
///
/// # Errors
/// As [`get`], and when the body is no JSON.
pub async fn get_json(addr: SocketAddr, path: &str) -> Result<Value, String> {
    let body = get(addr, path).await?;
    serde_json::from_str(&body).map_err(|error| format!("GET http://{addr}{path}: {error} in {body}"))
}
