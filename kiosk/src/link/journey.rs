//! The link against a real broker (mosquitto, from PATH) that goes away and comes back.
//!
//! Method: the hub's side is a client of the same broker that answers requests and collects events. The app is pumped
//! until a state is reached, with a limit. Skips with a message where there is no mosquitto.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::{Duration, Instant},
};

use bevy::prelude::*;
use contract::kiosk::{Ask, PickUpCode, ReplyState};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use super::{Desk, Link, LinkState, Matter, Said, StoreFacts};
use crate::{
    config::{Config, Folders, Hub},
    session::{EndSession, Session},
};

/// Generous: a loaded machine is slow, a broken link never arrives.
const PATIENCE: Duration = Duration::from_secs(60);

struct Broker {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Broker {
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let config = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        std::fs::write(dir.path().join("mosquitto.conf"), config).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let Some(child) = run(&dir) else {
            eprintln!("skipped: there is no mosquitto to talk to");
            return None;
        };
        let broker = Self { child, address, dir };
        broker.wait();
        Some(broker)
    }

    fn wait(&self) {
        let limit = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < limit, "mosquitto does not listen");
            thread::yield_now();
        }
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = run(&self.dir).unwrap();
        self.wait();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(dir: &tempfile::TempDir) -> Option<Child> {
    Command::new("mosquitto")
        .arg("-c")
        .arg(dir.path().join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

/// What the hub's side hears.
enum Heard {
    Subscribed,
    Request(String),
    Experience(String),
}

/// A hub that says its health, answers every request with `answer`, and tells what it hears.
fn hub(address: SocketAddr, answers: &'static [&'static str]) -> Receiver<Heard> {
    let (said, heard) = sync_channel(1000);
    let mut options = MqttOptions::new("hub", address.ip().to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut connection) = Client::new(options, 100);
    thread::Builder::new()
        .name("test-hub".to_owned())
        .spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        let health = r#"{"degraded":[],"uplink_online":true,"waiting_rows":0,"at":"2026-01-01T00:00:00.000Z"}"#;
                        client.try_subscribe("kiosk/#", QoS::AtLeastOnce).unwrap();
                        client.try_publish("hub/health", QoS::AtLeastOnce, true, health).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        if said.send(Heard::Subscribed).is_err() {
                            return;
                        }
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let text = String::from_utf8_lossy(&publish.payload).into_owned();
                        let heard = if let Some(id) = publish.topic.strip_prefix("kiosk/k1/request/") {
                            for answer in answers {
                                let topic = format!("kiosk/k1/reply/{id}");
                                client.try_publish(topic, QoS::AtLeastOnce, false, *answer).unwrap();
                            }
                            Heard::Request(text)
                        } else if publish.topic == "kiosk/k1/experience" {
                            Heard::Experience(text)
                        } else {
                            continue;
                        };
                        if said.send(heard).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    // The broker is away; a test that has ended is noticed when it is back.
                    Err(_) => thread::park_timeout(Duration::from_millis(100)),
                }
            }
        })
        .unwrap();
    heard
}

fn app(address: SocketAddr) -> App {
    let text = format!("[kiosk]\nid = \"k1\"\n[hub]\nmqtt = \"{address}\"\n");
    let folders = Folders { cache: "cache".as_ref(), state: None };
    let config = Config::parse(&text, "kiosk.toml".as_ref(), folders).unwrap();
    let hub: Hub = config.hub.clone().unwrap();
    let mut app = App::new();
    app.add_plugins((MinimalPlugins, crate::i18n::plugin, crate::session::plugin, super::plugin))
        .insert_resource(Link::start(&config, &hub).unwrap());
    app
}

fn pump(app: &mut App, what: &str, mut until: impl FnMut(&mut App) -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !until(app) {
        assert!(Instant::now() < limit, "waited {PATIENCE:?} until {what}");
        app.update();
        thread::park_timeout(Duration::from_millis(2));
    }
}

fn is(app: &App, state: LinkState) -> bool {
    app.world().resource::<StoreFacts>().link == state
}

fn ask(app: &mut App) {
    let code = PickUpCode::parse("042137").unwrap();
    app.world_mut().resource_mut::<Desk>().ask(Matter::Order, Ask::PickUp { code }, crate::now());
}

fn answer(app: &mut App) -> Option<Said> {
    app.world_mut().resource_mut::<Desk>().answer(Matter::Order)
}

fn next(heard: &Receiver<Heard>) -> Heard {
    heard.recv_timeout(PATIENCE).expect("the hub hears something in time")
}

#[test]
fn retained_topics_become_facts_and_a_request_is_answered() {
    let Some(broker) = Broker::start() else { return };
    let heard = hub(
        broker.address,
        &[
            r#"{"at":"2026-01-01T00:00:00.000Z","state":"open"}"#,
            r#"{"at":"2026-01-01T00:00:00.000Z","final":true,"state":"collected"}"#,
        ],
    );
    assert!(matches!(next(&heard), Heard::Subscribed));
    let mut app = app(broker.address);
    pump(&mut app, "the hub is healthy", |app| app.world().resource::<StoreFacts>().health.is_some());
    assert!(is(&app, LinkState::Online));
    ask(&mut app);
    let mut said = Vec::new();
    pump(&mut app, "the order is collected", |app| {
        said.extend(answer(app));
        said.len() == 2
    });
    assert_eq!(said, [Said::State(ReplyState::Open), Said::State(ReplyState::Collected)]);
    let Heard::Request(request) = next(&heard) else { panic!("a request was sent") };
    assert!(request.contains(r#""kind":"pick_up","code":"042137""#), "{request}");
}

#[test]
fn an_answer_for_a_visitor_who_has_left_is_dropped() {
    let Some(broker) = Broker::start() else { return };
    let heard = hub(broker.address, &[r#"{"at":"2026-01-01T00:00:00.000Z","state":"open"}"#]);
    assert!(matches!(next(&heard), Heard::Subscribed));
    let mut app = app(broker.address);
    pump(&mut app, "the hub is there", |app| is(app, LinkState::Online));
    app.world_mut().resource_mut::<Session>().touch();
    ask(&mut app);
    app.update();
    app.world_mut().trigger(EndSession);
    pump(&mut app, "the late answer came", |app| app.world().resource::<Desk>().late == 1);
    assert_eq!(answer(&mut app), None);
}

#[test]
fn a_visit_that_asked_leaves_a_new_connection_behind_and_the_next_visitor_notices_nothing() {
    let Some(broker) = Broker::start() else { return };
    let heard =
        hub(broker.address, &[r#"{"at":"2026-01-01T00:00:00.000Z","final":true,"state":"collected"}"#]);
    assert!(matches!(next(&heard), Heard::Subscribed));
    let mut app = app(broker.address);
    pump(&mut app, "the hub is there", |app| is(app, LinkState::Online));
    let connections = |app: &App| app.world().resource::<StoreFacts>().connection;
    let first = connections(&app);
    let visit = |app: &mut App| {
        app.world_mut().resource_mut::<Session>().touch();
        ask(app);
        pump(app, "the order is collected", |app| {
            assert!(is(app, LinkState::Online), "nobody is told that the hub is away");
            match answer(app) {
                None => false,
                Some(said) => {
                    assert_eq!(said, Said::State(ReplyState::Collected));
                    true
                }
            }
        });
        app.world_mut().trigger(EndSession);
        app.update();
    };
    // The second comes while the first one's connection still stands or is being renewed.
    visit(&mut app);
    visit(&mut app);
    // What the visit leaves to be told goes out, too.
    app.world().resource::<Link>().tell(b"1".to_vec());
    pump(&mut app, "a new connection stands", |app| first < connections(app));
    pump(&mut app, "the event has arrived", |app| app.world().resource::<Link>().waiting() == 0);
    let renewed = connections(&app);
    visit(&mut app);
    pump(&mut app, "the third visit has left a new one, too", |app| renewed < connections(app));
    let asked =
        std::iter::from_fn(|| heard.try_recv().ok()).filter(|heard| matches!(heard, Heard::Request(_)));
    assert!(3 <= asked.count(), "each visit has asked");
}

#[test]
fn while_the_hub_is_away_requests_fail_at_once_and_events_wait_in_order() {
    let Some(mut broker) = Broker::start() else { return };
    let heard = hub(broker.address, &[]);
    assert!(matches!(next(&heard), Heard::Subscribed));
    let mut app = app(broker.address);
    pump(&mut app, "the hub is there", |app| is(app, LinkState::Online));
    broker.stop();
    pump(&mut app, "the hub is away", |app| is(app, LinkState::Offline));
    ask(&mut app);
    pump(&mut app, "the request has failed", |app| answer(app) == Some(Said::Unreachable));
    for number in 0..20 {
        app.world().resource::<Link>().tell(number.to_string().into_bytes());
    }
    pump(&mut app, "all events wait", |app| app.world().resource::<Link>().waiting() == 20);
    broker.start_again();
    pump(&mut app, "the hub is back and has every event", |app| {
        is(app, LinkState::Online) && app.world().resource::<Link>().waiting() == 0
    });
    // What the hub's own side missed before it subscribed again cannot be told; what it heard is in order, once.
    let mut numbers: Vec<u32> = Vec::new();
    while let Ok(heard) = heard.try_recv() {
        if let Heard::Experience(text) = heard {
            numbers.push(text.parse().unwrap());
        }
    }
    assert!(numbers.is_sorted_by(|one, other| one < other), "{numbers:?}");
}
