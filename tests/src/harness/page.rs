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

/// Posts JSON and reads the answer's status and JSON.
///
/// # Errors
/// When nobody answers, or with something that is no JSON.
pub async fn post(addr: SocketAddr, path: &str, body: &Value) -> Result<(u16, Value), String> {
    let url = format!("http://{addr}{path}");
    let (asked, text) = (url.clone(), body.to_string());
    let post = move || {
        let config =
            ureq::Agent::config_builder().timeout_global(Some(ANSWER_MAX)).http_status_as_error(false);
        let agent: ureq::Agent = config.build().into();
        let mut answer = agent.post(&url).header("Content-Type", "application/json").send(&text)?;
        Ok::<_, ureq::Error>((answer.status().as_u16(), answer.body_mut().read_to_string()?))
    };
    let answer = tokio::task::spawn_blocking(post).await.map_err(|error| error.to_string())?;
    let (status, text) = answer.map_err(|error| format!("POST {asked}: {error}"))?;
    let json = serde_json::from_str(&text).map_err(|error| format!("POST {asked}: {error} in {text}"))?;
    Ok((status, json))
}

/// As [`post`], for an answer of success.
///
/// # Errors
/// As [`post`], and with any other status than success.
pub async fn post_json(addr: SocketAddr, path: &str, body: &Value) -> Result<Value, String> {
    match post(addr, path, body).await? {
        (200..=299, answer) => Ok(answer),
        (status, answer) => Err(format!("POST http://{addr}{path}: {status} {answer}")),
    }
}
