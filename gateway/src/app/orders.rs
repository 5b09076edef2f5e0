//! What enters the journal about orders besides publishes of devices: headquarters' commands and what staff do.
//!
//! Owns: sealing (codes become hashes before anything is written) and the order of things: on disk first, `accepted`
//! afterwards. Does not own: what follows, which is the domain's, or the line to headquarters.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use contract::{
    DeviceId, Timestamp,
    order::{OrderCommand, OrderStage, Place},
    topic,
    upstream::{CommandResult, CommandState},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{edge::EdgeCounts, monitor::Monitor};
use crate::{
    clock::Clock,
    codes::Codes,
    domain::{STAFF_TOPIC, SealedCommand, StaffAction, command_topic, door_command_id},
    journal::{AppendError, Journal, Publish, Record},
};

/// Commands from headquarters that wait to be written; more are dropped, and headquarters sends them again.
pub(crate) const COMMANDS_MAX: usize = 64;
/// Results for headquarters that wait for the line; more are dropped, and headquarters asks again.
pub(crate) const RESULTS_MAX: usize = 256;
/// Answers of lockers' controllers that are remembered for staff who wait for one.
const DOOR_RESULTS_MAX: usize = 64;
/// Who the journal says it was.
const HEADQUARTERS: &str = "headquarters";
const STAFF: &str = "staff";

/// Answers the control socket: the status, or what became of what staff did.
pub(crate) async fn answer(monitor: &Monitor, entrance: &Entrance, question: Value) -> Value {
    if question.is_null() {
        return monitor.status();
    }
    match serde_json::from_value::<Question>(question.clone()) {
        Ok(Question::DoorResult { bank, command }) => {
            return json!({ "result": entrance.counts.door_results.of(&bank, &command) });
        }
        Ok(Question::OrdersAt { bank }) => return json!({ "orders": monitor.orders_at(&bank) }),
        Err(_) => {}
    }
    match serde_json::from_value::<StaffAction>(question) {
        Ok(action) => match why_not(monitor, &action) {
            Some(error) => json!({ "error": error }),
            None => {
                let is_open = matches!(&action, StaffAction::Open(place) if monitor.is_door_open(place));
                let mut answer = entrance.staff(action).await;
                // Then its bank may not even be asked.
                answer["is_open"] = json!(is_open);
                answer
            }
        },
        Err(error) => json!({ "error": format!("not an action that this hub knows: {error}") }),
    }
}

/// What the command line asks besides the status.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// What became of a door command: `result` is `null` until the bank has answered.
    DoorResult { bank: DeviceId, command: String },
    /// Which open orders lie in a bank: `orders` says label and stage of each.
    OrdersAt { bank: DeviceId },
}

/// Why nothing can follow from what staff ask; then nothing is written.
fn why_not(monitor: &Monitor, action: &StaffAction) -> Option<String> {
    match action {
        StaffAction::HelpDone { kiosk } => {
            (!monitor.has_called(kiosk)).then(|| format!("kiosk `{kiosk}` has no open call for help"))
        }
        StaffAction::Open(place) | StaffAction::Resolve(place) => {
            let Place { bank, compartment } = place;
            let Some(now) = monitor.compartment(place) else {
                return Some(format!("bank `{bank}` has never reported a compartment {compartment}"));
            };
            let is_stuck = now.stuck || now.order.is_some_and(|order| order.stage == OrderStage::Stuck);
            if matches!(action, StaffAction::Resolve(_)) {
                return (!is_stuck).then(|| format!("compartment {compartment} of `{bank}` is not stuck"));
            }
            let is_connected = monitor.broker.is_connected(bank.as_str());
            (!is_connected).then(|| format!("bank `{bank}` is not connected: nothing was opened"))
        }
    }
}

/// What controllers have answered to door commands lately, for staff who wait for it.
#[derive(Default)]
pub(crate) struct DoorResults(Mutex<VecDeque<(DeviceId, String, CommandResult)>>);

impl DoorResults {
    /// Remembers a publish that is such an answer, at the cost of the oldest one.
    pub(crate) fn note(&self, topic: &str, payload: &[u8]) {
        let Some((bank, command)) = topic::parse_device_result(topic) else { return };
        let Ok(result) = serde_json::from_slice(payload) else { return };
        let mut results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if DOOR_RESULTS_MAX <= results.len() {
            results.pop_front();
        }
        results.push_back((bank, command, result));
    }

    /// How a command went, else how far it is.
    fn of(&self, bank: &DeviceId, command: &str) -> Option<CommandResult> {
        let results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = results.iter().filter(|(by, id, _)| by == bank && id == command);
        let first = found.next()?;
        let is_final = |result: &CommandResult| result.state != CommandState::Accepted;
        let last = [first].into_iter().chain(found).find(|(_, _, result)| is_final(result));
        Some(last.unwrap_or(first).2.clone())
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
        let sealed = SealedCommand::new(command, hasher, self.codes.mark()).to_bytes();
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
        let at = self.append(STAFF, STAFF_TOPIC, &action.to_bytes(), move |result| {
            // Whoever asked may have gone.
            done.send(result).ok();
        });
        match stored.await {
            Ok(Ok(seq)) if matches!(action, StaffAction::Open(_)) => {
                json!({ "done": true, "command": door_command_id(at, seq) })
            }
            Ok(Ok(_)) => json!({ "done": true }),
            Ok(Err(error)) => json!({ "error": error.to_string() }),
            Err(_) => json!({ "error": "the journal is closed" }),
        }
    }

    /// Writes a record; gives its time.
    fn append(
        &self,
        who: &str,
        topic: &str,
        payload: &[u8],
        done: impl FnOnce(Result<u64, AppendError>) + Send + 'static,
    ) -> Timestamp {
        let received_at = self.clock.now();
        let record = Record::Publish(Publish {
            device: who,
            topic,
            payload,
            retain: false,
            qos: 1,
            received_at,
            mono_ms: self.clock.mono_ms(),
            boot: self.boot,
        });
        self.journal.append_then(&record, done);
        received_at
    }
}
