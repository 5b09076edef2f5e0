//! Where everything meets: starts the hub's parts in order, watches them, and stops them in order.
//!
//! Owns: the order of start and stop, and who is told when a part dies. Does not own: what any part does.
//!
//! # Invariants
//!
//! - A client is accepted only when the journal is open: no publish is ever taken that has nowhere to go.
//! - At stop the broker ends first (its pending acknowledgements drain), then the uplink, the projector, the journal.
//! - A part that dies ends the process with its name ([`Gateway::failure`]); nothing lives on by half.

mod advice;
mod data_dir;
mod edge;
mod monitor;
mod orders;
pub(crate) mod rows;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use broker::{Broker, Qos, RetainedMessage, RetainedStore};
use bytes::Bytes;
use contract::{
    hub::{HEALTH_TOPIC, StoreView},
    topic::SensorTopic,
    upstream::BirthDevice,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::orders::Question;
pub use self::{
    data_dir::{DataDir, DataDirError, DataDirLock},
    edge::EdgeCounts,
};
use self::{
    edge::{Edge, hub_device},
    monitor::Monitor,
    orders::{COMMANDS_MAX, Entrance, RESULTS_MAX, ResultOf},
    rows::{Cursors, Rows},
};
use crate::{
    clock::Clock,
    codes::Codes,
    config::Config,
    control::{self, ControlError},
    devices::{DevicesError, Gatekeeper, Registry},
    domain::{Act, DomainView},
    http,
    journal::{Journal, JournalError, Options},
    projector::{self, Outlet, Projector},
    store::{Ledger, Retained},
    upstream::{self, UpstreamHandle},
};

/// How long clients have to take their last acknowledgements at stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// How long the uplink has to say goodbye.
const UPLINK_DEADLINE: Duration = Duration::from_secs(5);
/// How often the hub's health is said; the devices' file is looked at twice as often.
const PULSE: Duration = Duration::from_secs(1);
/// For how long a last will of a device that was removed may still come.
const WILL_AGE_MAX: Duration = Duration::from_secs(2);
/// Health is said again after this many pulses, also when it has not changed.
const HEALTH_EVERY_PULSES: u32 = 30;

/// Why the hub did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error("the data folder cannot be used")]
    DataDir {
        /// Why.
        source: DataDirError,
    },
    /// The devices' file.
    #[error("the devices cannot be read")]
    Devices {
        /// Why.
        source: DevicesError,
    },
    /// The journal.
    #[error("the journal cannot be opened")]
    Journal {
        /// Why.
        source: JournalError,
    },
    /// The MQTT edge.
    #[error(
        "the MQTT broker did not start; is another program listening there? Change `mqtt.listen` or stop it"
    )]
    Broker {
        /// Why.
        source: broker::StartError,
    },
    /// The staff page's address.
    #[error(
        "failed to listen for HTTP on {addr}; is another program listening there? Change `http.listen` or stop it"
    )]
    Http {
        /// The configured address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The control socket.
    #[error("the control socket cannot be opened")]
    Control {
        /// Why.
        source: ControlError,
    },
    /// A thread.
    #[error("failed to start the thread `{name}`")]
    Thread {
        /// Its name.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Where the hub listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Addrs {
    /// MQTT clients.
    pub mqtt: Option<SocketAddr>,
    /// The staff page.
    pub http: Option<SocketAddr>,
}

/// A running hub.
pub struct Gateway {
    addrs: Addrs,
    broker: Broker,
    projector: Projector,
    journal: Journal,
    uplink: Option<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    failures: mpsc::Receiver<&'static str>,
    control_path: PathBuf,
    _lock: DataDirLock,
}

/// Ends what was started when a later part does not start.
struct Undo(Option<(CancellationToken, Journal)>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some((stop, journal)) = self.0.take() {
            stop.cancel();
            journal.close();
        }
    }
}

impl Gateway {
    /// Starts every part. Must be called within a tokio runtime. `config_file` is only shown in advice.
    ///
    /// # Errors
    /// The first part that does not start; what was started before is ended.
    pub async fn start(
        config: Config,
        config_file: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let dir = DataDir::new(&config.data_dir);
        let data_dir_error = |source| StartError::DataDir { source };
        let lock = dir.lock().map_err(data_dir_error)?;
        if let Some(words) = monitor::full_disk(dir.path()) {
            tracing::error!("{words}");
        }
        let boot = dir.next_boot();
        let unsaved_boot = match dir.save_boot(boot) {
            Ok(()) => None,
            // On a full disk nothing is appended that could carry this number before it is saved, or nearly so.
            Err(error) if error.is_disk_full() => Some(projector::chain(&error)),
            Err(error) => return Err(data_dir_error(error)),
        };
        let registry = Registry::in_dir(dir.path());
        let gatekeeper = Gatekeeper::open(registry).map_err(|source| StartError::Devices { source })?;
        let gatekeeper = Arc::new(gatekeeper);

        let loaded = projector::load(&dir.projector(), clock.as_ref());
        let options = Options { floor: loaded.floor(), ..config.journal.clone() };
        let (journal, open_report) = Journal::open(&dir.journal(), options, clock.now().as_millis())
            .map_err(|source| StartError::Journal { source })?;
        let stop = CancellationToken::new();
        let mut undo = Undo(Some((stop.clone(), journal.clone())));
        let ledger = Arc::<Ledger>::default();
        let ready = loaded.settle(&journal, &config.planogram, &ledger);

        let counts = Arc::<EdgeCounts>::default();
        let codes = Arc::new(Codes::in_dir(dir.path()));
        let (results_tx, results) = mpsc::channel(RESULTS_MAX);
        let entrance = Entrance {
            journal: journal.clone(),
            codes: Arc::clone(&codes),
            clock: Arc::clone(&clock),
            boot,
            counts: Arc::clone(&counts),
            results: results_tx.clone(),
        };
        let edge = Edge {
            journal: journal.clone(),
            gatekeeper: Arc::clone(&gatekeeper),
            counts: Arc::clone(&counts),
            clock: Arc::clone(&clock),
            boot,
            is_open: config.anonymous,
            codes: Arc::clone(&codes),
            passthrough: config.passthrough,
            config_file: config_file.display().to_string(),
        };
        let http_listener = match config.http_listen {
            Some(addr) => {
                let bound = TcpListener::bind(addr).await;
                Some(bound.map_err(|source| StartError::Http { addr, source })?)
            }
            None => None,
        };
        let broker_config = broker::Config { tcp: config.mqtt_listen, limits: config.limits.clone() };
        let retained = Arc::new(LedgerRetained(Arc::clone(&ledger)));
        let broker = Broker::start(broker_config, Arc::new(edge), retained)
            .await
            .map_err(|source| StartError::Broker { source })?;
        let addrs = Addrs {
            mqtt: broker.tcp_addr(),
            http: http_listener.as_ref().and_then(|listener| listener.local_addr().ok()),
        };

        let streams = config.upstream.as_ref().map(|upstream| upstream.streams.clone()).unwrap_or_default();
        let view = Arc::<Mutex<DomainView>>::default();
        let outlet = HubOutlet {
            broker: broker.handle(),
            view: Arc::clone(&view),
            results: results_tx,
            gatekeeper: Arc::clone(&gatekeeper),
            is_open: config.anonymous,
        };
        let mut projector = Projector::spawn(projector::Start {
            journal: journal.clone(),
            ready,
            ledger: Arc::clone(&ledger),
            paths: dir.projector(),
            pace: config.pace.clone(),
            streams: streams.clone(),
            clock: Arc::clone(&clock),
            boot,
            outlet: Box::new(outlet),
        })
        .map_err(|source| StartError::Thread { name: "projector", source })?;

        let started_at = clock.now();
        let (degraded_tx, degraded) = watch::channel(Vec::new());
        let mut taking = None;
        let uplink = config.upstream.as_ref().map(|uplink| {
            let (commands_tx, commands) = mpsc::channel(COMMANDS_MAX);
            taking = Some(tokio::spawn(entrance.clone().take_commands(commands)));
            let rows = Rows {
                journal: journal.clone(),
                ledger: Arc::clone(&ledger),
                tally: projector.tally(),
                applied: projector.applied(),
                clock: Arc::clone(&clock),
                lanes: BTreeMap::new(),
            };
            let identity = upstream::Identity {
                store: config.store.clone(),
                epoch: rows::present_epoch(&journal),
                boot,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_at,
                config_digest: config.digest.clone(),
            };
            let (clock, known) = (Arc::clone(&clock), Arc::clone(&gatekeeper));
            upstream::spawn(upstream::Start {
                config: upstream::Config {
                    broker: uplink.broker.clone(),
                    streams: uplink.streams.clone(),
                    tuning: upstream::Tuning::default(),
                },
                identity,
                source: Box::new(rows),
                cursors: Box::new(Cursors(Arc::clone(&ledger))),
                new_rows: projector.applied(),
                durable_seq: journal.head_seq(),
                degraded,
                clock: Arc::new(move || clock.now()),
                devices: Arc::new(move || birth_devices(&known)),
                jitter: upstream::random_jitter(),
                orders: upstream::OrderLine { commands: commands_tx, results },
                shutdown: stop.clone(),
            })
        });
        let (uplink_status, uplink) = match uplink {
            Some(UpstreamHandle { status, join }) => (Some(status), Some(join)),
            None => (None, None),
        };

        let page = http::Counts::default();
        let named = [("mqtt", addrs.mqtt), ("http", addrs.http)];
        let named = named.into_iter().filter_map(|(name, addr)| Some((name, addr?.to_string())));
        let monitor = Arc::new(Monitor {
            store: config.store.clone(),
            boot,
            started_at,
            clock,
            addresses: named.collect(),
            data_dir: dir.path().to_owned(),
            is_open: config.anonymous,
            journal: journal.clone(),
            open_report,
            epoch_at_start: journal.epoch(),
            projector: projector.status(),
            tally: projector.tally(),
            ledger,
            gatekeeper,
            edge: counts,
            broker: broker.handle(),
            page: Arc::clone(&page),
            connections_max: config.limits.connections,
            unsaved_boot: Mutex::new(unsaved_boot),
            streams,
            uplink: uplink_status,
            view,
            codes,
        });
        let (views_tx, views) = watch::channel(Arc::new(monitor.store_view()));
        let (failed, failures) = mpsc::channel(8);
        let control_path = control::socket_path(dir.path());
        let listener = control::listen(dir.path()).map_err(|source| StartError::Control { source })?;
        let answering = Arc::clone(&monitor);
        let answer = move |question| {
            let (monitor, entrance) = (Arc::clone(&answering), entrance.clone());
            async move { orders::answer(&monitor, &entrance, question).await }
        };
        let answers = tokio::spawn(control::serve(listener, stop.clone(), answer));
        let pulses = tokio::spawn(pulse(monitor, dir, views_tx, degraded_tx, stop.clone()));
        let mut tasks = vec![
            supervise("control", answers, stop.clone(), failed.clone()),
            supervise("pulse", pulses, stop.clone(), failed.clone()),
        ];
        tasks.extend(taking.map(|taking| supervise("commands", taking, stop.clone(), failed.clone())));
        if let Some(listener) = http_listener {
            let (stop, failed) = (stop.clone(), failed.clone());
            tasks.push(tokio::spawn(async move {
                if let Err(error) = http::serve(listener, views, page, stop.cancelled_owned()).await {
                    tracing::error!(error = %projector::chain(&error), "the staff page ended");
                    // The receiver lives as long as the hub.
                    failed.send("http").await.ok();
                }
            }));
        }
        tasks.push(watch_journal(&journal, stop.clone(), failed.clone()));
        tasks.push(watch_broker(broker.handle(), failed.clone()));
        if let Some(gone) = projector.take_gone() {
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move {
                gone.await.ok();
                if !stop.is_cancelled() {
                    failed.send("projector").await.ok();
                }
            }));
        }
        undo.0 = None;
        Ok(Self {
            addrs,
            broker,
            projector,
            journal,
            uplink,
            tasks,
            stop,
            failures,
            control_path,
            _lock: lock,
        })
    }

    /// Where the hub listens.
    #[must_use]
    pub fn addrs(&self) -> Addrs {
        self.addrs
    }

    /// Resolves with the name of a part that has died; the process should end then.
    pub async fn failure(&mut self) -> &'static str {
        let uplink = async {
            match &mut self.uplink {
                Some(uplink) => {
                    uplink.await.ok();
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            name = self.failures.recv() => name.unwrap_or("supervisor"),
            () = uplink => {
                self.uplink = None;
                "uplink"
            }
        }
    }

    /// Drains and ends every part, so that the next start finds everything written.
    pub async fn shutdown(self) {
        self.broker.shutdown(DRAIN_DEADLINE).await;
        self.stop.cancel();
        if let Some(uplink) = self.uplink
            && tokio::time::timeout(UPLINK_DEADLINE, uplink).await.is_err()
        {
            tracing::warn!("the uplink did not say goodbye in time");
        }
        let (projector, journal) = (self.projector, self.journal);
        let ended = tokio::task::spawn_blocking(move || {
            projector.stop();
            journal.close();
        });
        if ended.await.is_err() {
            tracing::error!("the projector or the journal panicked while ending");
        }
        for task in self.tasks {
            task.abort();
        }
        std::fs::remove_file(&self.control_path).ok();
    }
}

fn birth_devices(gatekeeper: &Gatekeeper) -> Vec<BirthDevice> {
    let devices = gatekeeper.devices().into_iter();
    devices
        .map(|device| BirthDevice { id: device.id.to_string(), kind: device.kind.as_str().to_owned() })
        .collect()
}

/// Reports a task that has ended, by itself or by a panic, although nobody asked it to.
fn supervise(
    name: &'static str,
    task: JoinHandle<()>,
    stop: CancellationToken,
    failed: mpsc::Sender<&'static str>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        task.await.ok();
        if !stop.is_cancelled() {
            failed.send(name).await.ok();
        }
    })
}

/// Reports a broker that cannot go on. It has said why in the log.
fn watch_broker(broker: broker::Handle, failed: mpsc::Sender<&'static str>) -> JoinHandle<()> {
    tokio::spawn(async move {
        broker.failed().await;
        failed.send("mqtt").await.ok();
    })
}

/// Reports a journal whose writer has ended although nobody asked it to.
fn watch_journal(
    journal: &Journal,
    stop: CancellationToken,
    failed: mpsc::Sender<&'static str>,
) -> JoinHandle<()> {
    let mut head = journal.head();
    tokio::spawn(async move {
        while head.changed().await.is_ok() {}
        if !stop.is_cancelled() {
            failed.send("journal").await.ok();
        }
    })
}

/// Saves the number of this start where the disk had no room for it before.
fn save_boot(monitor: &Monitor, dir: &DataDir) {
    let mut unsaved = monitor.unsaved_boot.lock().unwrap_or_else(PoisonError::into_inner);
    if unsaved.is_some() && dir.save_boot(monitor.boot).is_ok() {
        *unsaved = None;
    }
}

/// What devices have retained, and what the hub has about them, goes with them.
fn forget_retained(broker: &broker::Handle, devices: &[(Instant, String)]) {
    if !devices.is_empty() {
        broker.remove_retained(|topic| {
            let is_theirs = |device: &str| devices.iter().any(|(_, id)| id == device);
            let sensor = SensorTopic::parse(topic).map(|topic| topic.device);
            sensor.is_ok_and(|device| is_theirs(device.as_str())) || hub_device(topic).is_some_and(is_theirs)
        });
    }
}

/// The reduced modes that are in the first list and not in the second; one whose numbers have changed is the same.
fn only_in<'a>(reasons: &'a [String], others: &[String]) -> Vec<&'a String> {
    let words = |reason: &str| reason.replace(|c: char| c.is_ascii_digit(), "");
    let known: Vec<String> = others.iter().map(|other| words(other)).collect();
    reasons.iter().filter(|reason| !known.contains(&words(reason))).collect()
}

/// The slow rhythm of the hub: devices that came or went, health, and the picture for the screens.
async fn pulse(
    monitor: Arc<Monitor>,
    dir: DataDir,
    views: watch::Sender<Arc<StoreView>>,
    degraded: watch::Sender<Vec<String>>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(PULSE / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pulses = 0_u32;
    let mut said = None;
    let mut removed = Vec::<(Instant, String)>::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        pulses = pulses.wrapping_add(1);
        let changed = monitor.gatekeeper.refresh();
        changed.iter().for_each(|id| monitor.broker.disconnect_principal(id));
        removed.extend(changed.into_iter().map(|id| (Instant::now(), id)));
        // Again and again for a while: a will may have been on its way when its device was removed.
        removed.retain(|(at, id)| at.elapsed() < WILL_AGE_MAX && !monitor.gatekeeper.knows(id));
        forget_retained(&monitor.broker, &removed);
        views.send_replace(Arc::new(monitor.store_view()));
        if !pulses.is_multiple_of(2) {
            continue;
        }
        save_boot(&monitor, &dir);
        let health = monitor.health();
        degraded.send_if_modified(|words| {
            for reason in only_in(&health.degraded, words) {
                tracing::warn!(reason, "a reduced mode begins");
            }
            for reason in only_in(words, &health.degraded) {
                tracing::info!(reason, "a reduced mode has ended");
            }
            let is_new = *words != health.degraded;
            words.clone_from(&health.degraded);
            is_new
        });
        let key = (health.degraded.clone(), health.uplink_online);
        if said.as_ref() != Some(&key) || pulses.is_multiple_of(2 * HEALTH_EVERY_PULSES) {
            let payload = serde_json::to_vec(&health).expect("health is plain text and numbers");
            // A full router is counted by the broker; health is said again.
            let is_said =
                monitor.broker.publish(HEALTH_TOPIC, payload.into(), Qos::AtLeastOnce, true).is_ok();
            said = is_said.then_some(key);
        }
    }
}

/// The projector's words, carried to the broker and the screens.
struct HubOutlet {
    broker: broker::Handle,
    view: Arc<Mutex<DomainView>>,
    results: mpsc::Sender<ResultOf>,
    gatekeeper: Arc<Gatekeeper>,
    is_open: bool,
}

impl Outlet for HubOutlet {
    fn publish(&mut self, topic: &str, payload: &[u8]) -> bool {
        // The journal remembers devices that were removed; nobody is told of them any more.
        if hub_device(topic).is_some_and(|device| !self.is_open && !self.gatekeeper.knows(device)) {
            return true;
        }
        match self.broker.publish(topic, Bytes::copy_from_slice(payload), Qos::AtLeastOnce, true) {
            Err(broker::PublishError::QueueFull { .. }) => false,
            Err(error) => {
                tracing::warn!(%error, "a hub message was not published");
                true
            }
            Ok(()) => true,
        }
    }

    fn act(&mut self, act: &Act) -> bool {
        match act {
            Act::Publish { topic, payload } => {
                let payload = Bytes::copy_from_slice(payload);
                match self.broker.publish(topic, payload, Qos::AtLeastOnce, false) {
                    Err(broker::PublishError::QueueFull { .. }) => false,
                    Err(error) => {
                        tracing::warn!(%error, "an answer was not published");
                        true
                    }
                    Ok(()) => true,
                }
            }
            // Without room or an uplink it is dropped: headquarters asks again.
            Act::Result { id, result } => {
                self.results.try_send((id.clone(), result.clone())).ok();
                true
            }
        }
    }

    fn show(&mut self, view: DomainView) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }
}

/// The broker's retained messages, kept in the ledger and so in the store.
struct LedgerRetained(Arc<Ledger>);

impl RetainedStore for LedgerRetained {
    fn load(&self) -> Vec<RetainedMessage> {
        let message = |(topic, Retained { qos, payload }): (String, Retained)| RetainedMessage {
            topic: topic.into(),
            payload: payload.into(),
            qos: match qos {
                0 => Qos::AtMostOnce,
                1 => Qos::AtLeastOnce,
                _ => Qos::ExactlyOnce,
            },
        };
        self.0.retained().into_iter().map(message).collect()
    }

    fn put(&self, message: &RetainedMessage) {
        let qos = match message.qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
            Qos::ExactlyOnce => 2,
        };
        self.0.retain(&message.topic, Retained { qos, payload: message.payload.to_vec() });
    }

    fn remove(&self, topic: &str) {
        self.0.forget(topic);
    }
}
