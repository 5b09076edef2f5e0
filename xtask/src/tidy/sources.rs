//! Rules about how sources look: headers, names, sizes, leftovers, and that the architecture document names each rule.

use super::{Finding, Tree, code};

/// Most lines of one Rust source, tests included; whoever passes it has two nouns in one file.
const LINES_MAX: usize = 1000;

/// Files of text that a person writes.
const WRITTEN: [&str; 11] =
    [".rs", ".toml", ".md", ".py", ".sh", ".css", ".js", ".html", ".ftl", ".wgsl", "/run"];

/// Words that mark something as unfinished. In two parts, so that this file does not break its own rule.
const LEFTOVERS: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("Not written", " yet"),
    concat!("lorem", " ipsum"),
];

/// Folders that exist on one machine only. In two parts for the same reason.
const MACHINE_PATHS: [&str; 5] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Use", "rs/"),
    concat!("/wo", "rk/"),
    concat!("/tm", "p/"),
];

/// What the invariants in `ARCHITECTURE.md` must say, because a rule here checks it.
const INVARIANTS: [&str; 10] = [
    "`contract` never does IO",
    "`gateway::domain` is a function of its inputs",
    "`gateway::{journal, store, upstream, http}` never know each other",
    "`broker` knows nothing of stores",
    "`provenance` never opens a file, a socket or a clock",
    "`vision` never uses Bevy or tokio",
    "A kiosk screen never uses another screen",
    "`kiosk`, `gateway` and `hq` never import each other",
    "`e2e` is nobody's dependency",
    "A module begins by saying what it is",
];

/// Checks every text file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.rust() {
        rust(path, source, &mut findings);
    }
    for (path, text) in WRITTEN.iter().flat_map(|suffix| tree.under("", suffix)) {
        for (index, line) in text.lines().enumerate() {
            if let Some(word) = LEFTOVERS.iter().find(|word| has_marker(line, word)) {
                findings.push(Finding::new(path, index + 1, format!("`{word}` marks something unfinished")));
            }
            if let Some(folder) = MACHINE_PATHS.iter().find(|folder| has_path(line, folder)) {
                findings.push(Finding::new(
                    path,
                    index + 1,
                    format!("`{folder}…` is a folder of one machine"),
                ));
            }
        }
    }
    architecture(tree, &mut findings);
    findings
}

fn rust(path: &str, source: &str, findings: &mut Vec<Finding>) {
    if path.ends_with("/mod.rs") {
        findings.push(Finding::new(path, 1, "a module `foo` is `foo.rs` beside `foo/`"));
    }
    if !source.starts_with("//!") {
        findings.push(Finding::new(path, 1, "a module begins by saying what it is (`//!`)"));
    }
    let lines = source.lines().count();
    if LINES_MAX < lines {
        findings.push(Finding::new(
            path,
            1,
            format!("has {lines} lines, at most {LINES_MAX}: split it by nouns"),
        ));
    }
    let code = code::only(source);
    for (index, line) in code.lines().enumerate() {
        let line = line.trim_start();
        let attribute =
            |name: &str| ["#[", "#!["].iter().any(|open| line.starts_with(&format!("{open}{name}")));
        if attribute("ignore") {
            findings.push(Finding::new(
                path,
                index + 1,
                "a test is not switched off: it skips with a printed reason, or runs",
            ));
        }
        if attribute("allow") {
            findings.push(Finding::new(path, index + 1, "`#[expect(lint, reason = …)]` instead of `allow`"));
        }
        if attribute("should_panic") {
            findings.push(Finding::new(path, index + 1, "a test says which error it expects"));
        }
        if path.starts_with("tests/tests/") && line.contains("sleep(") {
            findings.push(Finding::new(
                path,
                index + 1,
                "a journey waits for a state with a limit, it never sleeps",
            ));
        }
    }
}

/// A leftover marker stands as a word of its own; in lower case it may be part of a sentence.
fn has_marker(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_name) && !line[at + word.len()..].starts_with(is_name))
}

/// A folder is meant when nothing that could be a longer path, an address or a pattern stands before it.
fn has_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~*/}>)]:$".contains(c)))
}

fn architecture(tree: &Tree, findings: &mut Vec<Finding>) {
    const PATH: &str = "ARCHITECTURE.md";
    let Some(text) = tree.text(PATH) else {
        findings.push(Finding::new(PATH, 1, "is missing: the bird's view, the code map and the invariants"));
        return;
    };
    for invariant in INVARIANTS.iter().filter(|invariant| !text.contains(**invariant)) {
        findings.push(Finding::new(PATH, 1, format!("does not name the invariant “{invariant}”")));
    }
    let places = tree.under("", "/Cargo.toml").filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"));
    for folder in places.filter(|folder| !text.contains(&format!("`{folder}/"))) {
        findings.push(Finding::new(PATH, 1, format!("the code map does not name `{folder}/`")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> Vec<String> {
        let architecture = INVARIANTS.join("\n");
        let mut all = vec![("ARCHITECTURE.md", architecture.as_str())];
        all.extend(files);
        check(&Tree::of(&all)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plain_module_is_fine() {
        assert_eq!(
            texts(&[("a/src/lib.rs", "//! Says what it is.\n\n#[expect(x, reason = \"y\")]\nfn a() {}\n")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_source_that_breaks_rules_is_named_with_its_lines() {
        let source = format!(
            "fn a() {{}}\n#[allow(x)]\n#[ignore]\n// {}: later\nlet a = \"{}x\";\n",
            LEFTOVERS[0], MACHINE_PATHS[1]
        );
        let found = texts(&[("a/src/mod.rs", &source)]).join("\n");
        for part in [
            "mod.rs:1: a module `foo`",
            "mod.rs:1: a module begins",
            "mod.rs:2: `#[expect",
            "mod.rs:3: a test",
            "mod.rs:4: `",
            "mod.rs:5: `",
        ] {
            assert!(found.contains(part), "{part} in\n{found}");
        }
    }

    #[test]
    fn a_long_file_is_found_and_a_url_is_no_machine_path() {
        let long = "//! x\n".repeat(LINES_MAX + 1);
        assert!(texts(&[("a/src/lib.rs", &long)])[0].contains("has 1001 lines"));
        let url = format!("//! see https://example.org{}a\n", MACHINE_PATHS[1]);
        assert_eq!(texts(&[("a/src/lib.rs", &url)]), Vec::<String>::new());
    }

    #[test]
    fn the_architecture_names_every_rule_and_every_crate() {
        let found: Vec<String> = check(&Tree::of(&[("ARCHITECTURE.md", ""), ("lamp/Cargo.toml", "")]))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found.len(), INVARIANTS.len() + 1);
        assert!(found.iter().any(|text| text.contains("does not name `lamp/`")));
    }
}
