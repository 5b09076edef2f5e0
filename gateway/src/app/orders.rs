//! What enters the journal about orders besides publishes of devices: headquarters' commands and what staff do.
//!
//! Owns: sealing (codes become hashes before anything is written) and the order of things: on disk first, `accepted`
//! afterwards. Does not own: what follows, which is the domain's, or the line to headquarters.

use std::sync::Arc;

use contract::{
    order::{OrderCommand, Place},
    upstream::{CommandResult, CommandState},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{edge::EdgeCounts, monitor::Monitor};
use crate::{
    clock::Clock,
    codes::Codes,
    domain::{STAFF_TOPIC, SealedCommand, StaffAction, command_topic},
    journal::{AppendError, Journal, Publish, Record},
};

/// Commands from headquarters that wait to be written; more are dropped, and headquarters sends them again.
pub(crate) const COMMANDS_MAX: usize = 64;
/// Results for headquarters that wait for the line; more are dropped, and headquarters asks again.
pub(crate) const RESULTS_MAX: usize = 256;
/// Who the journal says it was.
const HEADQUARTERS: &str = "headquarters";
const STAFF: &str = "staff";

/// Answers the control socket: the status, or what became of what staff did.
pub(crate) async fn answer(monitor: &Monitor, entrance: &Entrance, question: Value) -> Value {
    if question.is_null() {
        return monitor.status();
    }
    match serde_json::from_value::<StaffAction>(question) {
        Ok(action) => {
            if let StaffAction::Open(place) | StaffAction::Resolve(place) = &action
                && !monitor.has_compartment(place)
            {
                let Place { bank, compartment } = place;
                let error = format!("bank `{bank}` has never reported a compartment {compartment}");
                return json!({ "error": error });
            }
            entrance.staff(action).await
        }
        Err(error) => json!({ "error": format!("not an action that this hub knows: {error}") }),
    }
}

/// A command's id and how it went.
pub(crate) type ResultOf = (String, CommandResult);

/// Writes to the journal what no device has published.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub(crate) journal: Journal,
    pub(crate) codes: Arc<Codes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) boot: u64,
    pub(crate) counts: Arc<EdgeCounts>,
    pub(crate) results: mpsc::Sender<ResultOf>,
}

impl Entrance {
    /// Takes commands until nobody sends any.
    pub(crate) async fn take_commands(self, mut commands: mpsc::Receiver<(String, Vec<u8>)>) {
        while let Some((id, payload)) = commands.recv().await {
            self.command(&id, &payload);
        }
    }

    fn command(&self, id: &str, payload: &[u8]) {
        let answer = |state, reason| {
            // A result that finds no room is asked for again.
            self.results.try_send((id.to_owned(), CommandResult { state, reason })).ok();
        };
        let command = match OrderCommand::parse(payload) {
            Ok(command) => command,
            Err(error) => {
                self.counts.count("commands_refused", "malformed");
                return answer(CommandState::Failed, Some(error.to_string()));
            }
        };
        let hasher = match self.codes.hasher() {
            Ok(hasher) => hasher,
            Err(error) => {
                // Not answered: headquarters asks again, and the disk may be well then.
                self.counts.count("commands_not_stored", "no_key");
                return tracing::error!(error = %crate::projector::chain(&error), "a command cannot be taken");
            }
        };
        let sealed = SealedCommand::new(command, hasher).to_bytes();
        let (counts, results, accepted_id) = (Arc::clone(&self.counts), self.results.clone(), id.to_owned());
        self.append(HEADQUARTERS, &command_topic(id), &sealed, move |result| match result {
            Ok(_) => {
                counts.count("commands", "stored");
                let accepted = CommandResult { state: CommandState::Accepted, reason: None };
                results.try_send((accepted_id, accepted)).ok();
            }
            Err(error) => counts.count("commands_not_stored", error.reason()),
        });
    }

    /// Does what staff ask at the command line, once it is on disk.
    pub(crate) async fn staff(&self, action: StaffAction) -> Value {
        let (done, stored) = oneshot::channel();
        self.append(STAFF, STAFF_TOPIC, &action.to_bytes(), move |result| {
            // Whoever asked may have gone.
            done.send(result.map(drop)).ok();
        });
        match stored.await {
            Ok(Ok(())) => json!({ "done": true }),
            Ok(Err(error)) => json!({ "error": error.to_string() }),
            Err(_) => json!({ "error": "the journal is closed" }),
        }
    }

    fn append(
        &self,
        who: &str,
        topic: &str,
        payload: &[u8],
        done: impl FnOnce(Result<u64, AppendError>) + Send + 'static,
    ) {
        let record = Record::Publish(Publish {
            device: who,
            topic,
            payload,
            retain: false,
            qos: 1,
            received_at: self.clock.now(),
            mono_ms: self.clock.mono_ms(),
            boot: self.boot,
        });
        self.journal.append_then(&record, done);
    }
}
