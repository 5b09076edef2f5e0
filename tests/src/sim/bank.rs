//! A bank of lockers that obeys: opens the door that it is told to open, and somebody stands before it.
//!
//! Follows the contract's rules for controllers: each command id is done once and answered as often as it comes, and what
//! a door does is said until it is acknowledged. The visitor takes what is inside, or puts something in, and closes.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    str::FromStr,
    time::Duration,
};

use contract::{
    DeviceId, Timestamp,
    locker::LockerCommand,
    native::{Door, LockerDoor},
    topic,
    upstream::{CommandResult, CommandState},
};
use rumqttc::{AsyncClient, Event, Incoming, LastWill, MqttOptions, QoS};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

const KEEP_ALIVE: Duration = Duration::from_secs(20);
const BACKOFF: Duration = Duration::from_millis(200);
/// Command ids that are remembered, as the contract asks.
const COMMANDS_KEPT: usize = 32;
/// Publishes that wait for the connection.
const QUEUE_MAX: usize = 256;

/// What goes wrong at the doors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BankFaults {
    /// A command is answered and the door stays closed.
    pub stuck: bool,
    /// The visitor leaves the door open.
    pub never_closes: bool,
    /// The visitor closes the door and leaves everything as it was.
    pub untouched: bool,
    /// Commands are not answered, but done.
    pub lost_result: bool,
    /// Commands are answered twice.
    pub duplicate_result: bool,
}

impl FromStr for BankFaults {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let fault = match name {
                "stuck" => &mut faults.stuck,
                "never-closes" => &mut faults.never_closes,
                "untouched" => &mut faults.untouched,
                "lost-result" => &mut faults.lost_result,
                "duplicate-result" => &mut faults.duplicate_result,
                other => {
                    return Err(format!(
                        "locker fault `{other}` is unknown; known are stuck, never-closes, untouched, lost-result, \
                         duplicate-result"
                    ));
                }
            };
            *fault = true;
        }
        Ok(faults)
    }
}

/// What the bank is.
#[derive(Debug, Clone)]
pub struct BankOptions {
    /// Its id, also client id and user name.
    pub id: DeviceId,
    /// Its password; none where the hub lets everybody in.
    pub secret: Option<String>,
    /// The hub.
    pub broker: SocketAddr,
    /// How many doors.
    pub compartments: u16,
    /// From the command to the open door.
    pub opens_after: Duration,
    /// From the open door to the closed one.
    pub closes_after: Duration,
    /// What goes wrong.
    pub faults: BankFaults,
}

/// From outside: what a test or the simulation changes while the bank runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The faults are these from now on.
    Faults(BankFaults),
    /// The hub is there now.
    Broker(SocketAddr),
}

#[derive(Debug, Clone, Copy)]
struct Compartment {
    door: Door,
    occupied: bool,
    moves_at: Option<Instant>,
}

struct Bank {
    options: BankOptions,
    doors: BTreeMap<u16, Compartment>,
    done: VecDeque<String>,
    seq: u64,
}

/// Runs until the changes end.
pub async fn run(options: BankOptions, mut changes: mpsc::Receiver<Change>) {
    let empty = Compartment { door: Door::Closed, occupied: false, moves_at: None };
    let doors = (1..=options.compartments).map(|number| (number, empty)).collect();
    let mut bank = Bank { options, doors, done: VecDeque::new(), seq: 0 };
    loop {
        if bank.live(&mut changes).await {
            return;
        }
        sleep(BACKOFF).await;
    }
}

impl Bank {
    /// One connection; true when the changes have ended.
    async fn live(&mut self, changes: &mut mpsc::Receiver<Change>) -> bool {
        let BankOptions { id, secret, broker, .. } = &self.options;
        let status = format!("sensors/locker/{id}/status");
        let mut mqtt = MqttOptions::new(id.as_str(), broker.ip().to_string(), broker.port());
        mqtt.set_keep_alive(KEEP_ALIVE).set_clean_session(true);
        mqtt.set_last_will(LastWill::new(&status, "offline", QoS::AtLeastOnce, true));
        if let Some(secret) = secret {
            mqtt.set_credentials(id.as_str(), secret);
        }
        let (client, mut events) = AsyncClient::new(mqtt, QUEUE_MAX);
        loop {
            let next = self.doors.values().filter_map(|door| door.moves_at).min();
            let moves = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                change = changes.recv() => match change {
                    None => return true,
                    Some(Change::Faults(faults)) => self.options.faults = faults,
                    Some(Change::Broker(broker)) => {
                        self.options.broker = broker;
                        return false;
                    }
                },
                () = moves => self.move_doors(&client),
                event = events.poll() => match event {
                    Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                        let id = &self.options.id;
                        let filter = topic::device_command(id, "+");
                        client.try_subscribe(filter, QoS::AtLeastOnce).ok();
                        client.try_publish(&status, QoS::AtLeastOnce, true, "online").ok();
                        // Whatever was not heard before is said by the present state.
                        let numbers: Vec<u16> = self.doors.keys().copied().collect();
                        numbers.into_iter().for_each(|number| self.say(&client, number));
                    }
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        self.obey(&client, &publish.topic, &publish.payload);
                    }
                    Ok(_) => {}
                    Err(_) => return false,
                },
            }
        }
    }

    fn obey(&mut self, client: &AsyncClient, topic: &str, payload: &[u8]) {
        let prefix = topic::device_command(&self.options.id, "");
        let Some(id) = topic.strip_prefix(&prefix) else { return };
        let result = topic::device_result(&self.options.id, id);
        let answer = |state, reason: Option<&str>| {
            let result_text = CommandResult { state, reason: reason.map(str::to_owned) };
            let text = serde_json::to_vec(&result_text).expect("a result is JSON");
            client.try_publish(&result, QoS::AtLeastOnce, false, text).ok();
        };
        let Ok(LockerCommand::Open { compartment, expires_at }) = serde_json::from_slice(payload) else {
            return answer(CommandState::Failed, Some("not a command"));
        };
        let Some(door) = self.doors.get_mut(&compartment) else {
            return answer(CommandState::Failed, Some("no such compartment"));
        };
        let is_known = self.done.iter().any(|done| done == id);
        if !is_known && expires_at <= now() {
            return answer(CommandState::Failed, Some("expired"));
        }
        let faults = self.options.faults;
        if !is_known {
            self.done.push_back(id.to_owned());
            if COMMANDS_KEPT < self.done.len() {
                self.done.pop_front();
            }
            if !faults.stuck && door.door == Door::Closed {
                door.moves_at = Some(Instant::now() + self.options.opens_after);
            }
        }
        if !faults.lost_result {
            answer(CommandState::Accepted, None);
            answer(CommandState::Done, None);
            if faults.duplicate_result {
                answer(CommandState::Done, None);
            }
        }
    }

    fn move_doors(&mut self, client: &AsyncClient) {
        let due: Vec<u16> = (self.doors.iter())
            .filter(|(_, door)| door.moves_at.is_some_and(|at| at <= Instant::now()))
            .map(|(&number, _)| number)
            .collect();
        let faults = self.options.faults;
        for number in due {
            let door = self.doors.get_mut(&number).expect("it was just found");
            door.moves_at = None;
            if door.door == Door::Closed {
                door.door = Door::Open;
                if !faults.never_closes {
                    door.moves_at = Some(Instant::now() + self.options.closes_after);
                }
            } else {
                door.door = Door::Closed;
                door.occupied ^= !faults.untouched;
            }
            self.say(client, number);
        }
    }

    fn say(&mut self, client: &AsyncClient, number: u16) {
        let door = self.doors[&number];
        self.seq += 1;
        let reading = LockerDoor {
            at: Some(now()),
            seq: Some(self.seq),
            compartment: number,
            door: door.door,
            occupied: Some(door.occupied),
            tamper: Some(false),
        };
        let text = serde_json::to_vec(&reading).expect("a reading is JSON");
        let topic = format!("sensors/locker/{}/door", self.options.id);
        client.try_publish(topic, QoS::AtLeastOnce, false, text).ok();
    }
}

fn now() -> Timestamp {
    Timestamp::saturating_from_millis(jiff::Timestamp::now().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_and_an_unknown_one_is_named() {
        let faults: BankFaults = "stuck, lost-result".parse().unwrap();
        assert_eq!(faults, BankFaults { stuck: true, lost_result: true, ..BankFaults::default() });
        assert!("jammed".parse::<BankFaults>().unwrap_err().contains("jammed"));
    }
}
