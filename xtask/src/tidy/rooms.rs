//! Rules about `use`: rooms of a crate that must not know each other, and libraries that have one home.

use super::{Finding, Tree, code};

/// Where what must not be named, and why.
struct Ban {
    /// Path prefix.
    under: &'static str,
    /// Crates or paths that begin a use.
    crates: &'static [&'static str],
    /// Words of the language.
    words: &'static [&'static str],
    /// The rule as a sentence.
    rule: &'static str,
}

const BANS: [Ban; 6] = [
    Ban {
        under: "contract/src/",
        crates: &["tokio", "bevy", "std::fs", "std::net", "std::env", "std::process", "std::thread"],
        words: &["async", "Instant", "SystemTime"],
        rule: "`contract` never does IO",
    },
    Ban {
        under: "gateway/src/domain",
        crates: &[
            "tokio",
            "sled",
            "rumqttc",
            "rumqttd",
            "broker",
            "axum",
            "tracing",
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "std::thread",
        ],
        words: &["async", "await", "Instant", "SystemTime", "println", "eprintln"],
        rule: "`gateway::domain` is a function of its inputs",
    },
    Ban {
        under: "provenance/src/",
        crates: &["tokio", "bevy", "std::fs", "std::net", "std::env", "std::process", "std::thread"],
        words: &["async", "Instant", "SystemTime"],
        rule: "`provenance` never opens a file, a socket or a clock",
    },
    Ban {
        under: "kiosk/vision/src/",
        crates: &["bevy", "tokio"],
        words: &["async"],
        rule: "`vision` never uses Bevy or tokio",
    },
    Ban {
        under: "kiosk/src/screens",
        crates: &["std::thread", "std::net", "tokio", "rumqttc"],
        words: &[],
        rule: "a kiosk screen never uses another screen, a thread or a socket",
    },
    Ban {
        under: "broker/src/",
        crates: &["gateway", "hq", "kiosk", "provenance", "vision"],
        words: &[],
        rule: "`broker` knows nothing of stores",
    },
];

/// Rooms that hold pictures of visitors, and what could carry one out of memory.
const PICTURE_ROOMS: [&str; 7] = [
    "kiosk/vision/src/",
    "kiosk/src/camera",
    "kiosk/src/jobs.rs",
    "kiosk/src/origin.rs",
    "kiosk/src/paint.rs",
    "kiosk/src/skin.rs",
    "kiosk/src/try_on",
];
/// Files in these rooms that write what is no picture: the numbers of a colour calibration.
const NUMBERS: [&str; 1] = ["kiosk/vision/src/calibration/file.rs"];
const WAYS_OUT: [&str; 9] = [
    "File::create",
    "OpenOptions",
    "fs::write",
    "save_buffer",
    "save_to_disk",
    "save_with_format",
    ".save(",
    ".write_to(",
    "TcpStream",
];

/// Rooms of the gateway that meet only in `app.rs`.
const GATEWAY_ROOMS: [&str; 4] = ["journal", "store", "upstream", "http"];
const SCREENS: &str = "kiosk/src/screens/";
const VISION: &str = "kiosk/vision/src/";

/// Checks every source.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut ort_homes: Vec<(&str, usize)> = Vec::new();
    let screens = screens(tree);
    for (path, source) in tree.rust() {
        let code = code::only(source);
        for ban in BANS.iter().filter(|ban| path.starts_with(ban.under)) {
            banned(path, &code, ban, &mut findings);
        }
        let code = code::without_tests(&code);
        if let Some(room) = GATEWAY_ROOMS.iter().find(|room| is_in(path, "gateway/src/", room)) {
            for (line, name) in code::root_modules(code) {
                if name != **room && GATEWAY_ROOMS.contains(&name.as_str()) {
                    let text = format!("`{room}` and `{name}` never know each other; they meet in `app.rs`");
                    findings.push(Finding::new(path, line, text));
                }
            }
        }
        if let Some(screen) = screens.iter().find(|screen| is_in(path, SCREENS, screen)) {
            let mut named = code::modules_after(code, "screens::");
            named.extend(code::modules_after(code, "super::"));
            for (line, name) in named {
                if name != *screen && screens.contains(&name) {
                    let text =
                        format!("the screen `{screen}` uses the screen `{name}`; they speak by state only");
                    findings.push(Finding::new(path, line, text));
                }
            }
        }
        let is_room = PICTURE_ROOMS.iter().any(|room| path.starts_with(room));
        if is_room && !path.ends_with("/tests.rs") && !NUMBERS.contains(&path) {
            for (index, line) in code.lines().enumerate() {
                for way in WAYS_OUT.iter().filter(|way| line.contains(*way)) {
                    let text = format!("uses `{way}`: the camera's pictures never leave memory");
                    findings.push(Finding::new(path, index + 1, text));
                }
            }
        }
        if path.starts_with(VISION) {
            ort_homes.extend(code::lines_using(code, "ort").next().map(|line| (path, line)));
        }
    }
    for (path, line) in ort_homes.iter().skip(1) {
        let text = format!("`ort` has one home, `{}`", ort_homes[0].0);
        findings.push(Finding::new(path, *line, text));
    }
    findings
}

fn banned(path: &str, code: &str, ban: &Ban, findings: &mut Vec<Finding>) {
    for name in ban.crates {
        for line in code::lines_using(code, name) {
            findings.push(Finding::new(path, line, format!("uses `{name}`: {}", ban.rule)));
        }
    }
    for word in ban.words {
        for line in code::lines_with(code, word) {
            findings.push(Finding::new(path, line, format!("says `{word}`: {}", ban.rule)));
        }
    }
}

fn is_in(path: &str, parent: &str, module: &str) -> bool {
    path.strip_prefix(parent)
        .and_then(|rest| rest.strip_prefix(module))
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The values of `enum Screen`, as their modules are called; other modules beside them are what screens share.
fn screens(tree: &Tree) -> Vec<String> {
    let code = code::only(tree.text("kiosk/src/screens.rs").unwrap_or_default());
    let Some((_, body)) = code.split_once("enum Screen {") else { return Vec::new() };
    let body = body.split('}').next().unwrap_or_default();
    body.lines()
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_domain_has_no_clock_and_no_async() {
        let found = texts(&[(
            "gateway/src/domain/stock.rs",
            "//! x\nuse std::time::Instant;\nasync fn f() { tokio::spawn(g()) }\n// SystemTime in a sentence\n",
        )]);
        let rule = "`gateway::domain` is a function of its inputs";
        assert_eq!(
            found,
            [
                format!("gateway/src/domain/stock.rs:3: uses `tokio`: {rule}"),
                format!("gateway/src/domain/stock.rs:3: says `async`: {rule}"),
                format!("gateway/src/domain/stock.rs:2: says `Instant`: {rule}"),
            ]
        );
    }

    #[test]
    fn rooms_of_the_gateway_meet_only_in_app() {
        let found = texts(&[
            ("gateway/src/http/page.rs", "use crate::{domain::State, store::Store};"),
            (
                "gateway/src/journal.rs",
                "use crate::journal::segment;\n#[cfg(test)]\nmod tests { use crate::store; }",
            ),
            ("gateway/src/app.rs", "use crate::{journal, store, upstream, http};"),
        ]);
        assert_eq!(
            found,
            ["gateway/src/http/page.rs:1: `http` and `store` never know each other; they meet in `app.rs`"]
        );
    }

    #[test]
    fn a_screen_knows_the_states_and_no_other_screen() {
        let found = texts(&[
            (
                "kiosk/src/screens.rs",
                "pub enum Screen {\n    /// A.\n    #[default]\n    Home,\n    Skin,\n}",
            ),
            ("kiosk/src/screens/chrome.rs", "use super::Screen;"),
            ("kiosk/src/screens/home.rs", "use crate::screens::{Screen, chrome, skin::Result};"),
            ("kiosk/src/screens/skin.rs", "use super::Screen;"),
        ]);
        assert_eq!(
            found,
            [
                "kiosk/src/screens/home.rs:1: the screen `home` uses the screen `skin`; they speak by state only"
            ]
        );
    }

    #[test]
    fn what_holds_a_picture_writes_nothing() {
        let found = texts(&[
            (
                "kiosk/src/camera/eye.rs",
                "fn f() { std::fs::write(a, b); }\n#[cfg(test)]\nmod tests { fn g() { x.save(p); } }",
            ),
            ("kiosk/src/camera/tests.rs", "fn f() { x.save(p); }"),
            ("kiosk/src/shot.rs", "fn f() { image::save_buffer(a); }"),
        ]);
        assert_eq!(
            found,
            ["kiosk/src/camera/eye.rs:1: uses `fs::write`: the camera's pictures never leave memory"]
        );
    }

    #[test]
    fn ort_has_one_home() {
        let found = texts(&[
            ("kiosk/vision/src/face.rs", "use ort::Session;"),
            ("kiosk/vision/src/network.rs", "use ort::Session;"),
        ]);
        assert_eq!(found, ["kiosk/vision/src/network.rs:1: `ort` has one home, `kiosk/vision/src/face.rs`"]);
    }
}
