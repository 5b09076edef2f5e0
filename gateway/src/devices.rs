//! Who may connect, and what each may touch.
//!
//! Owns: the registry file `devices.json`, secrets' hashes, the cache of verified secrets, and the topic rules. Does not
//! own: connections (the broker's), the decision to admit a stranger (the operator's), whose turn it is to be checked
//! ([`verifier`]).
//!
//! # Invariants
//!
//! - The file is replaced whole (temporary file, fsync, rename, fsync of the folder) under a lock, mode 0600; a
//!   reader sees the old or the new one. The running hub notices a change by inode, modification time and length: twice
//!   a second, and before it refuses a login.
//! - A secret is 160 random bits and never stored; its argon2id hash is.
//! - A kind is a closed list; what a kind may touch is decided by [`may_publish`] and [`may_subscribe`] alone.

mod verifier;

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    hash::{BuildHasher as _, RandomState},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::SystemTime,
};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use contract::{DeviceId, IdError, Timestamp};
use serde::{Deserialize, Serialize};

use self::verifier::Verifier;

/// Memory of one hash. A secret has 160 random bits, so a guesser is stopped by them and not by the cost of a guess;
/// a small hash keeps a storm of connections from taking the hub's memory.
const HASH_KIB: u32 = 4 * 1024;
const HASH_PASSES: u32 = 3;
/// Bytes of a secret.
const SECRET_BYTES: usize = 20;
/// Longer passwords are refused unread.
const PASSWORD_BYTES_MAX: usize = 256;
/// Verified secrets that are remembered: every device's.
const VERIFIED_MAX: usize = DEVICES_MAX;
/// Most devices of a registry.
pub const DEVICES_MAX: usize = 10_000;

/// What a device is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A shelf sensor.
    Shelf,
    /// A bank of lockers.
    Locker,
    /// A line counter or zone sensor.
    Traffic,
    /// A fridge or room sensor.
    Climate,
    /// A packaging-return bin.
    Bin,
    /// A customer's screen.
    Kiosk,
    /// Staff tools: read everything.
    Staff,
    /// A sensor of any kind.
    Sensor,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Shelf,
        Self::Locker,
        Self::Traffic,
        Self::Climate,
        Self::Bin,
        Self::Kiosk,
        Self::Staff,
        Self::Sensor,
    ];

    /// The kind's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shelf => "shelf",
            Self::Locker => "locker",
            Self::Traffic => "traffic",
            Self::Climate => "climate",
            Self::Bin => "bin",
            Self::Kiosk => "kiosk",
            Self::Staff => "staff",
            Self::Sensor => "sensor",
        }
    }

    /// The kind that a word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The kind of everybody when the hub is open (`mqtt.anonymous`): what any device may do, as its own client id.
pub const ANONYMOUS_KIND: &str = "anonymous";

/// Whether a device of this kind may publish to this topic.
#[must_use]
pub fn may_publish(id: &str, kind: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    let (root, second, third) = (levels.next(), levels.next(), levels.next());
    match (root, second, third) {
        (Some("sensors"), Some(sensor), Some(device)) => {
            device == id
                && (kind == sensor || kind == Kind::Sensor.as_str() || kind == ANONYMOUS_KIND)
                && !matches!(kind, "kiosk" | "staff")
        }
        (Some("kiosk"), Some(kiosk), Some(_)) => kiosk == id && matches!(kind, "kiosk" | ANONYMOUS_KIND),
        // A device answers its own commands.
        (Some("commands"), Some(device), Some(_)) => device == id && topic.ends_with("/result"),
        _ => false,
    }
}

/// Whether a device of this kind may subscribe to this filter.
#[must_use]
pub fn may_subscribe(id: &str, kind: &str, filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let own = |root: &str| levels.len() >= 3 && levels[0] == root && levels[1] == id;
    let below = |root: &str| levels[0] == root && 2 <= levels.len();
    let is_screen = matches!(kind, "kiosk" | ANONYMOUS_KIND);
    let is_staff = matches!(kind, "staff" | ANONYMOUS_KIND);
    own("commands")
        || (is_screen && own("kiosk") && levels[2] == "reply")
        || ((is_screen || is_staff) && below("hub"))
        || (is_staff && below("sensors"))
}

/// What a device of this kind may publish to, for advice; `+` is one level of its choice.
#[must_use]
pub fn publishes(id: &str, kind: &str) -> Vec<String> {
    let own = match kind {
        "kiosk" => Some(format!("kiosk/{id}/+")),
        "staff" => None,
        "sensor" | ANONYMOUS_KIND => Some(format!("sensors/+/{id}/+")),
        kind => Some(format!("sensors/{kind}/{id}/+")),
    };
    own.into_iter().chain([format!("commands/{id}/+/result")]).collect()
}

/// What a device of this kind may subscribe to, for advice.
#[must_use]
pub fn subscribes(id: &str, kind: &str) -> Vec<String> {
    let more = match kind {
        "kiosk" => vec!["hub/#".to_owned(), format!("kiosk/{id}/reply/#")],
        "staff" => vec!["hub/#".to_owned(), "sensors/#".to_owned()],
        ANONYMOUS_KIND => vec!["hub/#".to_owned(), "sensors/#".to_owned(), format!("kiosk/{id}/reply/#")],
        _ => Vec::new(),
    };
    more.into_iter().chain([format!("commands/{id}/#")]).collect()
}

/// One registered device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id and user name.
    pub id: DeviceId,
    /// What it is.
    pub kind: Kind,
    /// argon2id, PHC string format.
    secret_hash: String,
    /// When it was added.
    pub added_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryWire {
    version: u32,
    devices: Vec<Device>,
}

const REGISTRY_VERSION: u32 = 1;

/// Why the registry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    /// The file cannot be read, locked or replaced.
    #[error("failed to {operation} the device registry `{}`", path.display())]
    File {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Was there and is not any more.
    #[error("the device registry `{}` has vanished; the devices known before stay until it is back", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// Not ours.
    #[error("the device registry `{}` cannot be understood", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Of another release.
    #[error("the device registry `{}` has version {found}, this release knows {REGISTRY_VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// No device id.
    #[error("`{id}` cannot be a device id")]
    Id {
        /// What was given.
        id: String,
        /// What is wrong.
        source: IdError,
    },
    /// There already.
    #[error("device `{id}` is registered already; remove it first to give it a new secret")]
    Exists {
        /// Which.
        id: DeviceId,
    },
    /// Not there.
    #[error("device `{id}` is not registered; `device list` shows those that are")]
    Unknown {
        /// Which.
        id: DeviceId,
    },
    /// No room.
    #[error("the registry holds {DEVICES_MAX} devices, which is the most")]
    Full,
    /// No randomness, or argon2 refuses.
    #[error("failed to make a secret for device `{id}`: {reason}")]
    Secret {
        /// For which.
        id: DeviceId,
        /// Why.
        reason: String,
    },
    /// No thread to check secrets on.
    #[error("failed to start the threads that check secrets")]
    Threads {
        /// Why.
        source: io::Error,
    },
}

/// The registry's file. Commands use it while the hub runs.
#[derive(Debug, Clone)]
pub struct Registry {
    path: PathBuf,
}

impl Registry {
    /// The registry of a data folder.
    #[must_use]
    pub fn in_dir(data_dir: &Path) -> Self {
        Self { path: data_dir.join("devices.json") }
    }

    /// Every device by id; none when the file does not exist yet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> Result<BTreeMap<String, Device>, DevicesError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(self.file("read", source)),
        };
        let wire: RegistryWire = serde_json::from_slice(&text)
            .map_err(|source| DevicesError::Parse { path: self.path.clone(), source })?;
        if wire.version != REGISTRY_VERSION {
            return Err(DevicesError::Version { path: self.path.clone(), found: wire.version });
        }
        Ok(wire.devices.into_iter().map(|device| (device.id.to_string(), device)).collect())
    }

    /// Admits a device and returns its new secret, which is shown this once.
    ///
    /// # Errors
    /// When it is there already, its id is none, or the file cannot be replaced.
    pub fn add(&self, id: &str, kind: Kind, now: Timestamp) -> Result<String, DevicesError> {
        let id = DeviceId::parse(id).map_err(|source| DevicesError::Id { id: id.to_owned(), source })?;
        let (secret, secret_hash) =
            new_secret().map_err(|reason| DevicesError::Secret { id: id.clone(), reason })?;
        self.change(|devices| {
            if devices.contains_key(id.as_str()) {
                return Err(DevicesError::Exists { id: id.clone() });
            }
            if DEVICES_MAX <= devices.len() {
                return Err(DevicesError::Full);
            }
            let device = Device { id: id.clone(), kind, secret_hash, added_at: now };
            devices.insert(id.to_string(), device);
            Ok(())
        })?;
        Ok(secret)
    }

    /// Removes a device; a running hub closes its connections.
    ///
    /// # Errors
    /// When it is not there or the file cannot be replaced.
    pub fn remove(&self, id: &str) -> Result<(), DevicesError> {
        let id = DeviceId::parse(id).map_err(|source| DevicesError::Id { id: id.to_owned(), source })?;
        self.change(|devices| match devices.remove(id.as_str()) {
            Some(_) => Ok(()),
            None => Err(DevicesError::Unknown { id: id.clone() }),
        })
    }

    /// What tells two versions of the file apart.
    fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some((metadata.ino(), metadata.modified().ok()?, metadata.len()))
    }

    fn file(&self, operation: &'static str, source: io::Error) -> DevicesError {
        DevicesError::File { operation, path: self.path.clone(), source }
    }

    fn change(
        &self,
        edit: impl FnOnce(&mut BTreeMap<String, Device>) -> Result<(), DevicesError>,
    ) -> Result<(), DevicesError> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir).map_err(|source| self.file("create the folder of", source))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path.with_extension("lock"))
            .map_err(|source| self.file("lock", source))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| self.file("lock", error.into()))?;
        let mut devices = self.read()?;
        edit(&mut devices)?;
        let wire = RegistryWire { version: REGISTRY_VERSION, devices: devices.into_values().collect() };
        let text = serde_json::to_vec_pretty(&wire).expect("a registry is plain text and numbers");
        self.replace(dir, &text).map_err(|source| self.file("replace", source))
    }

    fn replace(&self, dir: &Path, text: &[u8]) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        // A leftover of a crash may have another mode.
        fs::remove_file(&temporary).ok();
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(dir)?.sync_all()
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(HASH_KIB, HASH_PASSES, 1, None).expect("the constants are in argon2's range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn new_secret() -> Result<(String, String), String> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let hash = argon2().hash_password(secret.as_bytes()).map_err(|error| error.to_string())?;
    Ok((secret, hash.to_string()))
}

/// Who somebody is, once proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The device's id.
    pub id: Arc<str>,
    /// Its kind's word.
    pub kind: Arc<str>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// No such device.
    Unknown,
    /// Another secret.
    WrongSecret,
    /// The client id is not the device's id.
    OtherClientId,
    /// Too many wait to be checked.
    Busy,
    /// Its address gave wrong secrets for this device, and has to wait.
    BackingOff,
}

/// Inode, modification time and length of the file.
type Stamp = (u64, SystemTime, u64);

#[derive(Default)]
struct Known {
    devices: BTreeMap<String, Device>,
    stamp: Option<Stamp>,
}

/// The running hub's view of the registry.
pub struct Gatekeeper {
    registry: Registry,
    known: RwLock<Known>,
    /// Keyed hash of a verified secret, by id, with the hash that it was verified against.
    verified: Mutex<HashMap<String, (String, [u64; 2])>>,
    keys: [RandomState; 2],
    verifier: Verifier,
    /// Why the file could not be read when it was looked at last.
    fault: Mutex<Option<String>>,
    /// Held by the one who looks at the file.
    looking: Mutex<()>,
    /// Devices that have changed, for the next [`Self::refresh`] to say.
    changed: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gatekeeper {
    /// Reads the registry and starts the threads that check secrets.
    ///
    /// # Errors
    /// When the file cannot be read or a thread does not start.
    pub fn open(registry: Registry) -> Result<Self, DevicesError> {
        let stamp = registry.stamp();
        let known = Known { devices: registry.read()?, stamp };
        Ok(Self {
            registry,
            known: RwLock::new(known),
            verified: Mutex::default(),
            keys: [RandomState::new(), RandomState::new()],
            verifier: Verifier::start().map_err(|source| DevicesError::Threads { source })?,
            fault: Mutex::default(),
            looking: Mutex::default(),
            changed: Mutex::default(),
        })
    }

    /// Reads the registry again when it has changed, and returns the devices that since the last time are gone or
    /// have another secret or kind: their connections must end. While the file cannot be read or has gone, the devices
    /// known before stay, and [`Self::fault`] says why.
    pub fn refresh(&self) -> Vec<String> {
        self.look();
        std::mem::take(&mut *lock(&self.changed))
    }

    fn look(&self) {
        let _alone = lock(&self.looking);
        let refreshed = self.read_if_changed();
        *lock(&self.fault) = refreshed.as_ref().err().map(|error| crate::projector::chain(error));
        lock(&self.changed).extend(refreshed.unwrap_or_default());
    }

    /// The same because of a login that would be refused: `device add` may have been a moment ago. A file that has not
    /// changed costs one look at its metadata; one that cannot be read is left to [`Self::refresh`] and its pace.
    fn look_for_login(&self) {
        if lock(&self.fault).is_none() {
            self.look();
        }
    }

    /// What was wrong with the file when it was looked at last.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Whether a device is registered.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).devices.contains_key(id)
    }

    fn read_if_changed(&self) -> Result<Vec<String>, DevicesError> {
        let stamp = self.registry.stamp();
        let known_stamp = self.known.read().unwrap_or_else(PoisonError::into_inner).stamp;
        if stamp == known_stamp {
            return Ok(Vec::new());
        }
        if stamp.is_none() {
            // Devices are removed one by one; a file that vanishes is an accident that must not empty the store.
            return Err(DevicesError::Gone { path: self.registry.path.clone() });
        }
        let devices = self.registry.read()?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *known, Known { devices, stamp });
        let changed = |(id, device): &(&String, &Device)| known.devices.get(*id) != Some(device);
        let changed: Vec<_> = old.devices.iter().filter(changed).map(|(id, _)| id.clone()).collect();
        let mut verified = lock(&self.verified);
        for id in &changed {
            verified.remove(id);
        }
        Ok(changed)
    }

    /// Every registered device.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).devices.values().cloned().collect()
    }

    /// Checks who somebody is, who says so from `address`. A secret that was right before costs no hash and no
    /// waiting.
    ///
    /// # Errors
    /// Why not.
    pub async fn verify(
        &self,
        name: &str,
        client_id: &str,
        password: &[u8],
        address: IpAddr,
    ) -> Result<Identity, Stranger> {
        if PASSWORD_BYTES_MAX < password.len() {
            return Err(if self.knows(name) { Stranger::WrongSecret } else { Stranger::Unknown });
        }
        let tag = self.tag(name, password);
        let cached = lock(&self.verified).get(name).cloned();
        let is_verified = |device: &Device| {
            cached.as_ref().is_some_and(|(hash, right)| (hash, right) == (&device.secret_hash, &tag))
        };
        let mut device = self.device(name);
        if !device.as_ref().is_some_and(is_verified) {
            self.look_for_login();
            device = self.device(name);
        }
        let device = device.ok_or(Stranger::Unknown)?;
        if client_id != name {
            return Err(Stranger::OtherClientId);
        }
        if !is_verified(&device) {
            self.verifier.verify(address, name, &device.secret_hash, password).await?;
            let mut verified = lock(&self.verified);
            if verified.len() < VERIFIED_MAX {
                verified.insert(name.to_owned(), (device.secret_hash.clone(), tag));
            }
        }
        Ok(Identity { id: device.id.as_str().into(), kind: device.kind.as_str().into() })
    }

    fn device(&self, name: &str) -> Option<Device> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).devices.get(name).cloned()
    }

    /// Two keyed hashes over name and password: enough to tell another password from the one that argon2 has
    /// verified, because the keys are random and never leave this process.
    fn tag(&self, name: &str, password: &[u8]) -> [u64; 2] {
        self.keys.each_ref().map(|keys| keys.hash_one((name, password)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_device_touches_its_own_topics_and_no_others() {
        let cases = [
            ("s1", "shelf", "sensors/shelf/s1/reading", true),
            ("s1", "shelf", "sensors/shelf/s2/reading", false),
            ("s1", "shelf", "sensors/locker/s1/door", false),
            ("s1", "sensor", "sensors/locker/s1/door", true),
            ("s1", "shelf", "hub/stock/s1", false),
            ("s1", "shelf", "kiosk/s1/experience", false),
            ("s1", "shelf", "commands/s1/c1/result", true),
            ("s1", "shelf", "commands/s1/c1", false),
            ("s1", "shelf", "commands/s2/c1/result", false),
            ("k1", "kiosk", "kiosk/k1/experience", true),
            ("k1", "kiosk", "kiosk/k2/experience", false),
            ("k1", "kiosk", "sensors/kiosk/k1/reading", false),
            ("m1", "staff", "sensors/staff/m1/reading", false),
            ("a1", "anonymous", "sensors/shelf/a1/reading", true),
            ("a1", "anonymous", "sensors/shelf/a2/reading", false),
        ];
        for (id, kind, topic, allowed) in cases {
            assert_eq!(may_publish(id, kind, topic), allowed, "{id} ({kind}) → {topic}");
        }
        let cases = [
            ("s1", "shelf", "commands/s1/#", true),
            ("s1", "shelf", "commands/+/#", false),
            ("s1", "shelf", "commands/#", false),
            ("s1", "shelf", "#", false),
            ("s1", "shelf", "hub/#", false),
            ("k1", "kiosk", "hub/#", true),
            ("k1", "kiosk", "hub/stock/+", true),
            ("k1", "kiosk", "kiosk/k1/reply/#", true),
            ("k1", "kiosk", "kiosk/+/reply/#", false),
            ("k1", "kiosk", "sensors/#", false),
            ("m1", "staff", "sensors/#", true),
            ("m1", "staff", "hub/#", true),
            ("m1", "staff", "+/#", false),
            ("m1", "staff", "kiosk/k1/reply/#", false),
        ];
        for (id, kind, filter, allowed) in cases {
            assert_eq!(may_subscribe(id, kind, filter), allowed, "{id} ({kind}) ← {filter}");
        }
    }

    #[test]
    fn what_a_device_is_advised_to_touch_it_may_touch() {
        for kind in Kind::ALL.map(Kind::as_str).into_iter().chain([ANONYMOUS_KIND]) {
            for pattern in publishes("d1", kind) {
                let topic = pattern.replace('+', "x");
                assert!(may_publish("d1", kind, &topic), "{kind}: {topic}");
            }
            for filter in subscribes("d1", kind) {
                assert!(may_subscribe("d1", kind, &filter), "{kind}: {filter}");
            }
        }
    }

    #[tokio::test]
    async fn a_registered_device_gets_in_with_its_secret_until_it_is_removed() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::in_dir(dir.path());
        let secret = registry.add("shelf-01", Kind::Shelf, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(secret.len(), 2 * SECRET_BYTES);
        let file = dir.path().join("devices.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&file).unwrap().contains(&secret));

        let gatekeeper = Gatekeeper::open(registry.clone()).unwrap();
        for _ in 0..2 {
            let identity = gatekeeper.verify("shelf-01", "shelf-01", secret.as_bytes(), LOCAL).await.unwrap();
            assert_eq!((&*identity.id, &*identity.kind), ("shelf-01", "shelf"));
        }
        let wrong = [
            ("shelf-01", "shelf-01", "nonsense", Stranger::WrongSecret),
            ("shelf-01", "other", secret.as_str(), Stranger::OtherClientId),
            ("shelf-02", "shelf-02", secret.as_str(), Stranger::Unknown),
        ];
        for (name, client_id, password, why) in wrong {
            assert_eq!(gatekeeper.verify(name, client_id, password.as_bytes(), LOCAL).await, Err(why));
        }
        assert!(matches!(
            registry.add("shelf-01", Kind::Shelf, Timestamp::UNIX_EPOCH),
            Err(DevicesError::Exists { .. })
        ));

        registry.remove("shelf-01").unwrap();
        assert_eq!(gatekeeper.refresh(), ["shelf-01"]);
        let gone = gatekeeper.verify("shelf-01", "shelf-01", secret.as_bytes(), LOCAL).await;
        assert_eq!(gone, Err(Stranger::Unknown));
        assert!(matches!(registry.remove("shelf-01"), Err(DevicesError::Unknown { .. })));
        assert_eq!(gatekeeper.refresh(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_device_is_let_in_by_the_first_login_after_it_was_added_and_with_its_new_secret_alone() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::in_dir(dir.path());
        let gatekeeper = Gatekeeper::open(registry.clone()).unwrap();
        let log_in = async |secret: &str| {
            gatekeeper.verify("shelf-01", "shelf-01", secret.as_bytes(), LOCAL).await.map(drop)
        };
        let first = registry.add("shelf-01", Kind::Shelf, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(log_in(&first).await, Ok(()));
        registry.remove("shelf-01").unwrap();
        let second = registry.add("shelf-01", Kind::Shelf, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(log_in(&second).await, Ok(()));
        assert_eq!(log_in(&first).await, Err(Stranger::WrongSecret));
        assert_eq!(gatekeeper.refresh(), ["shelf-01"], "connections with the old secret are still to end");
        assert_eq!(gatekeeper.refresh(), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_breaks_or_vanishes_is_named_and_takes_no_device_away() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::in_dir(dir.path());
        registry.add("shelf-01", Kind::Shelf, Timestamp::UNIX_EPOCH).unwrap();
        let gatekeeper = Gatekeeper::open(registry.clone()).unwrap();
        let file = dir.path().join("devices.json");
        let whole = fs::read(&file).unwrap();
        for attempt in ["broken", "gone"] {
            if attempt == "gone" { fs::remove_file(&file) } else { fs::write(&file, b"{") }.unwrap();
            assert_eq!(gatekeeper.refresh(), Vec::<String>::new());
            let fault = gatekeeper.fault().unwrap();
            assert!(fault.contains("devices.json"), "{attempt}: {fault}");
            assert!(gatekeeper.knows("shelf-01"), "{attempt}");
        }
        fs::write(&file, whole).unwrap();
        assert_eq!(gatekeeper.refresh(), Vec::<String>::new());
        assert_eq!(gatekeeper.fault(), None);
    }
}
