//! A visitor's finger on the real kiosk: its window on a virtual display, a real hub behind it, a locker that opens.
//!
//! Method: the kiosk says on standard output what it shows and where that can be touched (`--say`); the finger touches
//! those places through the X server, and each step waits until the kiosk says that it has arrived.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use e2e::{
    harness::{
        Display, Link, PATIENCE, Program, Running,
        memory::{self, Pattern},
        run_to_end, wait_for,
    },
    sim::bank::BankFaults,
};
use memchr::memmem;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::pick_up::{CODE, GOODS, Store};

const KIOSK: &str = "kiosk-01";
const PIN: &str = "48151623";
const WRONG_PIN: &str = "10000007";

/// Whether there is something to show a window on and to touch it with; set-up installs both.
fn has_hands() -> bool {
    let is_there = |name: &str, flag: &str| {
        let mut command = std::process::Command::new(name);
        command.arg(flag).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok()
    };
    let missing: Vec<&str> = [("Xvfb", "-version"), ("xdotool", "version")]
        .iter()
        .filter(|(name, flag)| !is_there(name, flag))
        .map(|(name, _)| *name)
        .collect();
    if !missing.is_empty() {
        eprintln!(
            "skipped: no {} on this machine (`cargo xtask setup` installs them)",
            missing.join(", no ")
        );
    }
    missing.is_empty()
}

/// A kiosk on a display of its own, and a finger.
struct Touched {
    display: Display,
    kiosk: Running,
    dir: TempDir,
}

impl Touched {
    async fn start(hub: Option<(std::net::SocketAddr, &str)>) -> Self {
        Self::start_in(folder(hub).await).await
    }

    /// With a hub, and another picture before the camera.
    async fn start_with_camera(hub: (std::net::SocketAddr, &str), picture: &image::RgbImage) -> Self {
        let dir = TempDir::new().expect("the folder for temporary files is writable");
        picture.save(dir.path().join("visitor.png")).expect("our own folder is writable");
        let mut config = configuration(Some(hub)).await;
        let camera = config["camera"].as_table_mut().expect("the example has a camera");
        camera.insert("source".to_owned(), "file:visitor.png".into());
        fs::write(dir.path().join("kiosk.toml"), config.to_string()).expect("our own folder is writable");
        Self::start_in(dir).await
    }

    async fn start_in(dir: TempDir) -> Self {
        Self::start_with(dir, &[]).await
    }

    async fn start_with(dir: TempDir, options: &[&str]) -> Self {
        let display = Display::start(dir.path()).await.expect("there is a virtual display");
        let kiosk = Program::new("storehub-kiosk", dir.path())
            .args(["--config", "kiosk.toml", "--say"])
            .args(options)
            .env("DISPLAY", display.name())
            .start();
        Self { display, kiosk, dir }
    }

    /// What the kiosk said last.
    fn says(&self) -> Value {
        let lines = self.kiosk.lines();
        lines.last().map_or(Value::Null, |line| serde_json::from_str(line).expect("each line is JSON"))
    }

    /// Waits until the kiosk says this.
    async fn shows(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, 2 * PATIENCE, async || {
            let said = self.says();
            if is_so(&said) { Ok(said) } else { Err(format!("{said} ({:?})", self.kiosk.ended())) }
        })
        .await
    }

    async fn is_at(&self, screen: &str) {
        self.shows(&format!("the kiosk is at {screen}"), |said| said["screen"] == screen).await;
    }

    /// Waits until a place can be touched, and says where it is.
    async fn place(&self, name: &str) -> [i64; 2] {
        let said =
            self.shows(&format!("`{name}` can be touched"), |said| said["touch"][name].is_array()).await;
        let at = |index: usize| said["touch"][name][index].as_i64().expect("a place is two numbers");
        [at(0), at(1)]
    }

    async fn touch(&self, name: &str) {
        let place = self.place(name).await;
        self.display.touch(place).await.expect("the display can be touched");
    }

    /// Types digits one after the other, each when the one before has arrived.
    async fn types(&self, keys: &str, digits: &str, part: &str) {
        for (index, digit) in digits.chars().enumerate() {
            self.touch(&format!("{keys}{digit}")).await;
            self.has_digits(part, index + 1).await;
        }
    }

    async fn has_digits(&self, part: &str, count: usize) {
        let what = format!("{count} digits are typed");
        self.shows(&what, |said| said[part]["digits"] == count).await;
    }

    async fn order_is(&self, state: &str) {
        self.shows(&format!("the order is {state}"), |said| said["pick_up"]["state"] == state).await;
    }

    /// Holds the house's mark until the staff's screen is there, and lets go.
    async fn enters_as_staff(&self) {
        let mark = self.place("Mark").await;
        self.display.press(mark).await.expect("the display can be touched");
        self.is_at("staff").await;
        self.display.release().await.expect("the display can be touched");
    }

    /// Everything that it has said and logged.
    fn spoken(&self) -> String {
        let log = fs::read_to_string(self.dir.path().join("storehub-kiosk.log")).unwrap_or_default();
        format!("{}\n{log}", self.kiosk.lines().join("\n"))
    }

    /// `kill -9`, and a new start on the same folder.
    async fn restart(self) -> Self {
        let Self { display, kiosk, dir } = self;
        kiosk.kill().await;
        drop(display);
        Self::start_in(dir).await
    }
}

/// A folder of a kiosk that was never started.
async fn folder(hub: Option<(std::net::SocketAddr, &str)>) -> TempDir {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    let config = configuration(hub).await.to_string();
    fs::write(dir.path().join("kiosk.toml"), config).expect("our own folder is writable");
    dir
}

/// The example's, with paths of this checkout, a hub if there is one, and a PIN.
async fn configuration(hub: Option<(std::net::SocketAddr, &str)>) -> toml::Table {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kiosk");
    let example = fs::read_to_string(folder.join("kiosk.example.toml")).expect("the example is there");
    let example = example
        .replace("\"../", &format!("\"{}/../", folder.display()))
        .replace("file:../", &format!("file:{}/../", folder.display()));
    let mut config: toml::Table = example.parse().expect("the example is TOML");
    config.remove("hub");
    if let Some((broker, secret)) = hub {
        let table = toml::Table::from_iter([
            ("mqtt".to_owned(), broker.to_string().into()),
            ("username".to_owned(), KIOSK.into()),
            ("password".to_owned(), secret.into()),
        ]);
        config.insert("hub".to_owned(), table.into());
    }
    let kiosk = config["kiosk"].as_table_mut().expect("the example has a kiosk");
    kiosk.insert("data_dir".to_owned(), "data".into());
    // A slow machine is no visitor who has left.
    let display = config["display"].as_table_mut().expect("the example has a display");
    display.insert("idle_secs".to_owned(), 600.into());
    let staff = toml::Table::from_iter([("pin_hash".to_owned(), pin_hash().await.into())]);
    config.insert("staff".to_owned(), staff.into());
    config
}

async fn pin_hash() -> String {
    use tokio::io::AsyncWriteExt as _;
    let mut child = tokio::process::Command::new(e2e::harness::program("storehub-kiosk"))
        .arg("staff-pin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the kiosk can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(format!("{PIN}\n").as_bytes()).await.expect("it reads a line");
    drop(stdin);
    let said = child.wait_with_output().await.expect("it ends").stdout;
    let line: toml::Table = String::from_utf8_lossy(&said).parse().expect("it prints a line of TOML");
    line["pin_hash"].as_str().expect("the hash is a text").to_owned()
}

/// A store whose locker holds an order, and the secret of our kiosk.
async fn store_with_an_order() -> (Store, String) {
    let mut store = Store::open(BankFaults::default(), Duration::from_secs(2)).await;
    let secret = store.hub().folder.add_device(KIOSK, "kiosk").await;
    store.place("c-1", "o-1001").await;
    assert_eq!(store.result("c-1").await["state"], "done");
    store.deposit().await;
    (store, secret)
}

#[tokio::test]
async fn a_visitor_touches_the_wrong_things_first_and_gets_the_goods_all_the_same() {
    if !has_hands() {
        return;
    }
    let (store, secret) = store_with_an_order().await;

    let kiosk = Touched::start(Some((store.hub().mqtt, &secret))).await;
    kiosk
        .shows("the kiosk waits for visitors", |said| said["screen"] == "attract" && said["hub"] == "online")
        .await;
    kiosk.touch("Start").await;
    kiosk.is_at("home").await;
    kiosk.touch("PickUp").await;
    kiosk.order_is("typing").await;
    assert_eq!(kiosk.says()["touch"]["Send"], Value::Null, "nothing can be sent yet");

    // Half a code, and away: nothing of it is there when somebody comes back.
    kiosk.types("Key", &CODE[..3], "pick_up").await;
    kiosk.touch("Delete").await;
    kiosk.has_digits("pick_up", 2).await;
    kiosk.touch("Home").await;
    kiosk.is_at("home").await;
    kiosk.touch("PickUp").await;
    kiosk.has_digits("pick_up", 0).await;

    // A code that opens nothing.
    kiosk.types("Key", "100000", "pick_up").await;
    kiosk.touch("Send").await;
    kiosk.order_is("wrong_code").await;
    kiosk.touch("Retry").await;
    kiosk.has_digits("pick_up", 0).await;

    // The right one, with a finger that comes once too often.
    kiosk.types("Key", CODE, "pick_up").await;
    kiosk.touch("Key7").await;
    kiosk.touch("Send").await;
    kiosk.order_is("open").await;
    store.is_seen_by_staff("/lockers/0/compartments/1/door", &json!("open")).await;
    kiosk.order_is("collected").await;
    store.is_at_headquarters("o-1001", "collected").await;
    kiosk.is_at("attract").await;

    let spoken = kiosk.spoken();
    assert!(!spoken.contains(CODE) && !spoken.contains(&secret), "a secret was said: {spoken}");
    assert!(!spoken.contains('\u{1b}'), "colours stand in a log that is no terminal: {spoken}");
    assert_eq!(kiosk.kiosk.ended(), None);
}

#[tokio::test]
async fn staff_hold_the_mark_and_a_restart_forgives_no_wrong_pin() {
    if !has_hands() {
        return;
    }
    let kiosk = Touched::start(None).await;
    kiosk.is_at("attract").await;
    kiosk.enters_as_staff().await;
    kiosk.types("Pin", PIN, "staff").await;
    kiosk.touch("PinEnter").await;
    kiosk.shows("the right PIN opens", |said| said["staff"]["is_open"] == true).await;
    kiosk.touch("Home").await;
    kiosk.is_at("home").await;
    // A short touch of the mark is nothing: the touch after it finds the same screen.
    kiosk.touch("Mark").await;
    kiosk.touch("Offers").await;
    kiosk.is_at("offers").await;
    kiosk.touch("Home").await;
    kiosk.is_at("home").await;

    kiosk.enters_as_staff().await;
    for _ in 0..3 {
        kiosk.types("Pin", WRONG_PIN, "staff").await;
        kiosk.touch("PinEnter").await;
        let is_refused = |said: &Value| said["staff"]["gate"] == "wrong" && said["staff"]["digits"] == 0;
        kiosk.shows("the wrong PIN is refused", is_refused).await;
    }
    let pauses = |said: &Value| said["staff"]["pauses"] == true;
    kiosk.shows("three wrong ones cost a pause", pauses).await;

    let kiosk = kiosk.restart().await;
    kiosk.is_at("attract").await;
    kiosk.enters_as_staff().await;
    kiosk.shows("the pause is there again", pauses).await;
    let kept = fs::read_to_string(kiosk.dir.path().join("data/staff-pin.json")).expect("it was kept");
    assert_eq!(kept, r#"{"version":1,"wrong":3}"#);
    assert!(!kiosk.spoken().contains(PIN) && !kiosk.spoken().contains(WRONG_PIN), "a PIN was said");
    assert!(!kiosk.spoken().contains('\u{1b}'), "colours stand in a log that is no terminal");
}

#[tokio::test]
async fn a_kiosk_that_is_not_let_in_is_told_so_before_it_starts() {
    let (store, secret) = store_with_an_order().await;
    let about_hub = async |secret: &str| {
        let dir = folder(Some((store.hub().mqtt, secret))).await;
        let args = ["check", "--config", "kiosk.toml"];
        let checked = run_to_end("storehub-kiosk", dir.path(), args).await;
        let line = checked.stdout.lines().find(|line| line.contains("hub.mqtt")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("nothing about the hub: {}", checked.said()))
    };
    let (good, wrong) = (about_hub(&secret).await, about_hub("not-the-secret").await);
    assert!(good.starts_with("ok ") && good.contains("lets this kiosk in"), "{good}");
    assert!(wrong.starts_with("warning ") && wrong.contains("refuses the login"), "{wrong}");
}

#[tokio::test]
async fn a_visitor_goes_on_where_the_graphics_device_was_lost() {
    if !has_hands() {
        return;
    }
    let kiosk = Touched::start_with(folder(None).await, &["--lose-graphics-after", "2"]).await;
    wait_for("another device draws", PATIENCE, async || {
        let log = kiosk.kiosk.log_tail();
        if log.contains("another graphics device draws") { Ok(()) } else { Err(log) }
    })
    .await;
    kiosk.touch("Start").await;
    kiosk.is_at("home").await;
    let see = || kiosk.display.rows().expect("the display can be read");
    let home = see();
    kiosk.touch("Offers").await;
    kiosk.is_at("offers").await;
    wait_for("the touch is seen", PATIENCE, async || {
        if see() == home { Err("the screen stands still".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(kiosk.kiosk.ended(), None);
}

/// The demonstration's face above a band of one colour that no drawing of ours has: copies that are mirrored, scaled
/// or painted over the face keep a run of it.
fn visitor(band: [u8; 3]) -> image::RgbImage {
    let portrait = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo/portrait.png");
    let mut picture = image::open(portrait).expect("the demonstration has a portrait").to_rgb8();
    let top = picture.height() * 9 / 10;
    for (_, y, pixel) in picture.enumerate_pixels_mut() {
        if top <= y {
            *pixel = image::Rgb(band);
        }
    }
    picture
}

#[tokio::test]
async fn after_a_visit_no_picture_code_or_order_is_in_memory_on_the_wire_or_on_the_disk() {
    const BAND: [u8; 3] = [137, 41, 211];
    const RUN: usize = 24;
    if !has_hands() {
        return;
    }
    let (store, secret) = store_with_an_order().await;

    let [r, g, b] = BAND;
    let pattern = |name: &str, bytes: Vec<u8>| Pattern { name: name.to_owned(), bytes };
    let picture = [
        pattern("the picture as RGB", [r, g, b].repeat(RUN)),
        pattern("the picture as RGBA", [r, g, b, 255].repeat(RUN)),
        pattern("the picture as BGRA", [b, g, r, 255].repeat(RUN)),
    ];
    let order = [pattern("the code", CODE.into()), pattern("the goods", GOODS.into())];
    let both: Vec<_> = picture.iter().chain(&order).cloned().collect();

    let wire = Link::to(store.hub().mqtt).await;
    let kiosk = Touched::start_with_camera((wire.addr(), &secret), &visitor(BAND)).await;
    kiosk
        .shows("the kiosk waits for visitors", |said| said["screen"] == "attract" && said["hub"] == "online")
        .await;
    let id = kiosk.kiosk.id().expect("it runs");
    let find = |patterns: &[Pattern]| memory::find(id, patterns).expect("we may read our own child's memory");
    assert_eq!(find(&both), Vec::<String>::new(), "nobody has been here yet");

    kiosk.touch("Start").await;
    kiosk.is_at("home").await;
    kiosk.touch("Skin").await;
    kiosk.is_at("consent").await;
    kiosk.touch("OldEnough").await;
    kiosk.touch("Agree").await;
    kiosk.shows("the skin is measured", |said| said["skin"]["state"] == "found").await;
    assert!(!find(&picture).is_empty(), "the visitor sees the picture");
    kiosk.touch("Home").await;
    kiosk.is_at("home").await;
    kiosk.touch("PickUp").await;
    kiosk.types("Key", CODE, "pick_up").await;
    kiosk.touch("Send").await;
    kiosk.order_is("open").await;
    assert!(!find(&order[1..]).is_empty(), "the visitor sees the goods");
    kiosk.order_is("collected").await;
    kiosk.is_at("attract").await;

    wait_for("nothing of the visitor is left", PATIENCE, async || {
        let left = find(&both);
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    })
    .await;
    assert_eq!(kiosk.kiosk.ended(), None);

    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let has = |bytes: &[u8], pattern: &Pattern| memmem::find(bytes, &pattern.bytes).is_some();
    let told = wait_for("the visit is told", PATIENCE, async || {
        let told = shown(&wire.carried());
        let is_whole =
            [r#""feature":"skin""#, r#""feature":"pick_up""#].iter().all(|part| told.contains(part));
        if is_whole { Ok(told) } else { Err(told) }
    })
    .await;
    let carried = wire.carried();
    for pattern in &picture {
        assert!(!has(&carried, pattern), "{} went by", pattern.name);
    }
    // What was measured, by the names that a report has for it.
    for word in
        ["lines", "spots", "redness", "shine", "evenness", "tone", "ita", "score", "landmark", "calibration"]
    {
        assert!(!told.contains(word), "`{word}` went by: {told}");
    }
    // The camera's own picture and its configuration are ours; everything else was written by the kiosk.
    for path in files_below(kiosk.dir.path()) {
        let bytes = fs::read(&path).expect("our own file can be read");
        let name = path.display();
        if path.ends_with("visitor.png") {
            continue;
        }
        assert!(both.iter().all(|pattern| !has(&bytes, pattern)), "something of the visitor is in {name}");
        let is_picture =
            [&b"\x89PNG"[..], b"\xff\xd8\xff", b"RIFF"].iter().any(|magic| bytes.starts_with(magic));
        assert!(!is_picture, "{name} is a picture");
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("our own folder can be read").flatten() {
        let kind = entry.file_type().expect("it is there");
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}
