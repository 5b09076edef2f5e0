//! Orders over HTTP: commands are placed and looked at, open orders are listed.
//!
//! Placing changes a store, so it is guarded ([`Guard`]): with `http.token` by `Authorization: Bearer`, without one only
//! while HTTP listens on loopback, and then only for requests that name a loopback host, so that no web page that
//! somebody has open on that machine can place commands.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State as Shared},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use contract::{
    RequestId, StoreId,
    order::{COMMAND_BYTES_MAX, OrderCommand},
};
use serde_json::{Value, json};

use super::{State, no_store, problem};
use crate::{
    config::Secret,
    desk::{DeskError, Placed},
};

/// Commands in one answer.
const COMMANDS_SHOWN: usize = 200;
/// Orders in one answer.
const ORDERS_SHOWN: usize = 2_000;

/// Who may place commands.
#[derive(Debug, Clone)]
pub struct Guard {
    /// `http.token`.
    pub token: Option<Secret>,
    /// Whether HTTP listens on loopback.
    pub is_loopback: bool,
}

impl Guard {
    fn refusal(&self, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, "needs `Content-Type: application/json`"));
        }
        match &self.token {
            Some(token) => {
                let offered = text(header::AUTHORIZATION).strip_prefix("Bearer ").unwrap_or_default();
                let wrong = (StatusCode::UNAUTHORIZED, "needs `Authorization: Bearer` with `http.token`");
                (!token.matches(offered.as_bytes())).then_some(wrong)
            }
            None if !self.is_loopback => {
                Some((StatusCode::FORBIDDEN, "HTTP listens beyond loopback: set `http.token` first"))
            }
            None => {
                let foreign =
                    (StatusCode::FORBIDDEN, "without `http.token` only a loopback host may be asked");
                (!is_loopback_host(text(header::HOST))).then_some(foreign)
            }
        }
    }
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|addr| addr.is_loopback())
}

/// The routes.
pub fn router() -> Router<State> {
    Router::new()
        .route("/api/orders", get(all_orders))
        .route("/api/stores/{id}/orders", get(orders))
        .route("/api/stores/{id}/commands", get(commands).post(place))
        .layer(DefaultBodyLimit::max(COMMAND_BYTES_MAX + 256))
}

async fn place(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some((status, reason)) = state.guard.refusal(&headers) {
        state.counters.count("commands_refused_guard");
        return problem(status, "request", "", reason);
    }
    let store = match known_store(&state, &id) {
        Ok(store) => store,
        Err(refused) => return *refused,
    };
    let bad = |field: &str, reason: &str| problem(StatusCode::BAD_REQUEST, field, "", reason);
    let mut fields = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return bad("body", "needs a JSON object"),
        Err(error) => {
            let reason = format!("not JSON from line {}, column {} on", error.line(), error.column());
            return bad("body", &reason);
        }
    };
    let command_id = match fields.remove("id") {
        None => fresh_id(),
        Some(Value::String(text)) => match RequestId::parse(&text) {
            Ok(id) => id,
            Err(error) => return bad("id", &error.to_string()),
        },
        Some(_) => return bad("id", "needs a text"),
    };
    let command = match OrderCommand::parse(Value::Object(fields).to_string().as_bytes()) {
        Ok(command) => command,
        // It never shows a code.
        Err(error) => {
            return problem(StatusCode::BAD_REQUEST, &error.field(), error.value(), &error.to_string());
        }
    };
    if let Err(error) = command.check_as_new((state.clock)()) {
        return bad(&error.field(), &error.to_string());
    }
    let placed = state.desk.place(store, command_id.clone(), command).await;
    let answer = |status: StatusCode, state: &str| {
        (status, no_store(), Json(json!({ "id": command_id, "state": state }))).into_response()
    };
    match placed {
        Placed::New => answer(StatusCode::ACCEPTED, "placed"),
        Placed::Known => answer(StatusCode::OK, "known"),
        Placed::Conflict => {
            problem(StatusCode::CONFLICT, "id", command_id.as_str(), "another command has this id")
        }
        Placed::Full => problem(
            StatusCode::TOO_MANY_REQUESTS,
            "id",
            command_id.as_str(),
            "too many commands wait for this store",
        ),
        Placed::NotStored => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "id",
            command_id.as_str(),
            "the database takes no commands now",
        ),
    }
}

/// 122 random bits, as every `RandomState` has them from the system's randomness.
fn fresh_id() -> RequestId {
    use std::hash::{BuildHasher as _, RandomState};
    let word = || RandomState::new().hash_one(0);
    RequestId::parse(&format!("c-{:016x}{:016x}", word(), word())).expect("hexadecimal digits are an id's")
}

fn known_store(state: &State, id: &str) -> Result<StoreId, Box<Response>> {
    let refused = |status, reason: &str| Err(Box::new(problem(status, "id", id, reason)));
    match StoreId::parse(id) {
        Err(error) => refused(StatusCode::BAD_REQUEST, &error.to_string()),
        Ok(store) if !state.fleet.lock().contains_key(&store) => {
            refused(StatusCode::NOT_FOUND, "nothing ever came from this store")
        }
        Ok(store) => Ok(store),
    }
}

async fn commands(Shared(state): Shared<State>, Path(id): Path<String>) -> Response {
    let store = match known_store(&state, &id) {
        Ok(store) => store,
        Err(refused) => return *refused,
    };
    let desk = state.desk.clone();
    let read = tokio::task::spawn_blocking(move || desk.commands(&store, COMMANDS_SHOWN)).await;
    answer(read.map(|read| read.map(|commands| json!({ "commands": commands }))))
}

async fn orders(Shared(state): Shared<State>, Path(id): Path<String>) -> Response {
    let store = match known_store(&state, &id) {
        Ok(store) => store,
        Err(refused) => return *refused,
    };
    let desk = state.desk.clone();
    let read = tokio::task::spawn_blocking(move || {
        desk.orders(Some(&store), true, ORDERS_SHOWN).map(|mut orders| orders.remove(store.as_str()))
    });
    answer(read.await.map(|read| read.map(|orders| json!({ "orders": orders.unwrap_or_default() }))))
}

async fn all_orders(Shared(state): Shared<State>) -> Response {
    let desk = state.desk.clone();
    let read = tokio::task::spawn_blocking(move || desk.orders(None, false, ORDERS_SHOWN)).await;
    answer(read.map(|read| read.map(|orders| json!({ "stores": orders }))))
}

fn answer(read: Result<Result<Value, DeskError>, tokio::task::JoinError>) -> Response {
    match read {
        Ok(Ok(document)) => (no_store(), Json(document)).into_response(),
        Ok(Err(error)) => {
            tracing::error!("{error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "orders", "", "the orders cannot be read now")
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "orders", "", "reading the orders failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_command_is_taken_with_the_token_or_from_this_machine_alone() {
        let json = ("content-type", "application/json; charset=utf-8");
        let status = |guard: &Guard, pairs: &[_]| guard.refusal(&headers(pairs)).map(|(status, _)| status);
        let token: Secret = serde_json::from_str("\"a-token-of-16-bytes\"").unwrap();
        let guarded = Guard { token: Some(token), is_loopback: false };
        assert_eq!(status(&guarded, &[json, ("authorization", "Bearer a-token-of-16-bytes")]), None);
        for wrong in ["Bearer a-token-of-16-bytez", "a-token-of-16-bytes", "Bearer "] {
            assert_eq!(status(&guarded, &[json, ("authorization", wrong)]), Some(StatusCode::UNAUTHORIZED));
        }
        let local = Guard { token: None, is_loopback: true };
        for host in ["127.0.0.1:8090", "localhost", "localhost:1", "[::1]:8090", "127.0.0.1"] {
            assert_eq!(status(&local, &[json, ("host", host)]), None, "{host}");
        }
        for host in ["evil.example:8090", "localhost.evil.example", "", "10.0.0.1:8090"] {
            assert_eq!(status(&local, &[json, ("host", host)]), Some(StatusCode::FORBIDDEN), "{host}");
        }
        let form = ("content-type", "text/plain");
        assert_eq!(
            status(&local, &[form, ("host", "localhost")]),
            Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            "what a page may send without asking is refused"
        );
        let open = Guard { token: None, is_loopback: false };
        assert_eq!(status(&open, &[json, ("host", "localhost")]), Some(StatusCode::FORBIDDEN));
    }
}
