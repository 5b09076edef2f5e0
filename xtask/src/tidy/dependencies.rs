//! Rules about `Cargo.toml`s: who may depend on whom, and that every crate follows the workspace.

use toml::{Table, Value};

use super::{Finding, Tree};

const WORKSPACE: &str = "Cargo.toml";
const DEPENDENCY_TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
const OURS: [&str; 10] =
    ["broker", "contract", "e2e", "gateway", "hq", "http-edge", "kiosk", "provenance", "vision", "xtask"];

/// A crate's folder and what it must not depend on.
const FORBIDDEN: [(&str, &[&str]); 11] = [
    (
        "broker",
        &[
            "e2e",
            "gateway",
            "hq",
            "http-edge",
            "kiosk",
            "provenance",
            "vision",
            "xtask",
            "axum",
            "bevy",
            "sled",
        ],
    ),
    (
        "contract",
        &[
            "broker",
            "e2e",
            "gateway",
            "hq",
            "http-edge",
            "kiosk",
            "provenance",
            "vision",
            "xtask",
            "bevy",
            "tokio",
            "axum",
            "rumqttc",
            "rumqttd",
            "sled",
        ],
    ),
    ("gateway", &["e2e", "hq", "kiosk", "provenance", "vision", "xtask", "bevy"]),
    ("hq", &["e2e", "gateway", "kiosk", "provenance", "vision", "xtask", "bevy", "sled"]),
    (
        "http-edge",
        &[
            "broker",
            "contract",
            "e2e",
            "gateway",
            "hq",
            "kiosk",
            "provenance",
            "vision",
            "xtask",
            "bevy",
            "rumqttc",
            "rumqttd",
            "rusqlite",
            "sled",
        ],
    ),
    ("kiosk", &["broker", "e2e", "gateway", "hq", "http-edge", "xtask", "sled", "axum"]),
    (
        "kiosk/vision",
        &["broker", "e2e", "gateway", "hq", "http-edge", "kiosk", "provenance", "xtask", "bevy", "tokio"],
    ),
    (
        "provenance",
        &[
            "broker",
            "contract",
            "e2e",
            "gateway",
            "hq",
            "http-edge",
            "kiosk",
            "vision",
            "xtask",
            "bevy",
            "tokio",
        ],
    ),
    ("tests", &["xtask"]),
    ("tests/hello", &["broker", "contract", "e2e", "gateway", "hq", "http-edge", "provenance", "xtask"]),
    (
        "xtask",
        &[
            "broker",
            "contract",
            "e2e",
            "gateway",
            "hq",
            "http-edge",
            "kiosk",
            "provenance",
            "vision",
            "bevy",
            "tokio",
        ],
    ),
];

/// Checks every manifest.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut members = Vec::new();
    for (path, text) in tree.under("", "Cargo.toml") {
        match text.parse::<Table>() {
            Ok(manifest) if path == WORKSPACE => members = workspace(&manifest, &mut findings),
            Ok(manifest) => member(path, text, &manifest, &mut findings),
            Err(error) => findings.push(Finding::new(path, 1, format!("is no TOML: {}", error.message()))),
        }
    }
    for member in members {
        if tree.text(&format!("{member}/Cargo.toml")).is_none() {
            findings.push(Finding::new(WORKSPACE, 1, format!("the member `{member}` has no Cargo.toml")));
        }
        if !FORBIDDEN.iter().any(|(folder, _)| *folder == member) {
            let text = format!("the member `{member}` is not in tidy's table of who may depend on whom");
            findings.push(Finding::new(WORKSPACE, 1, text));
        }
    }
    findings
}

fn workspace(manifest: &Table, findings: &mut Vec<Finding>) -> Vec<String> {
    let workspace = manifest.get("workspace").and_then(Value::as_table);
    let Some(members) = workspace.and_then(|table| table.get("members")).and_then(Value::as_array) else {
        findings.push(Finding::new(WORKSPACE, 1, "has no workspace members"));
        return Vec::new();
    };
    if manifest.contains_key("package") {
        findings.push(Finding::new(WORKSPACE, 1, "is a virtual workspace and has no package of its own"));
    }
    members.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn member(path: &str, text: &str, manifest: &Table, findings: &mut Vec<Finding>) {
    let line_of = |needle: &str| {
        text.lines().position(|line| line.trim_start().starts_with(needle)).map_or(1, |index| index + 1)
    };
    let follows = |table: &Value| table.get("workspace").and_then(Value::as_bool) == Some(true);
    if !manifest.get("lints").is_some_and(follows) {
        findings.push(Finding::new(path, line_of("[lints]"), "needs `[lints] workspace = true`"));
    }
    let folder = path.trim_end_matches("/Cargo.toml");
    let forbidden = FORBIDDEN.iter().find(|(name, _)| *name == folder).map_or(&[][..], |(_, names)| names);
    for (kind, dependencies) in dependency_tables(manifest) {
        for (name, how) in dependencies {
            let line = line_of(&format!("{name}."));
            if !follows(how) {
                let rule = format!(
                    "`{name}` in `{kind}` is a workspace dependency: write `{name}.workspace = true`"
                );
                findings.push(Finding::new(path, line_of(name), rule));
            }
            if forbidden.contains(&name.as_str()) {
                findings.push(Finding::new(path, line, format!("`{folder}` never depends on `{name}`")));
            } else if OURS.contains(&name.as_str()) && matches!(name.as_str(), "e2e" | "xtask") {
                findings.push(Finding::new(path, line, format!("`{name}` is nobody's dependency")));
            }
        }
    }
}

fn dependency_tables(manifest: &Table) -> Vec<(String, &Table)> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flatten();
    let parts = targets.filter_map(|(target, parts)| Some((format!("target.{target}."), parts.as_table()?)));
    std::iter::once((String::new(), manifest))
        .chain(parts)
        .flat_map(|(prefix, from)| {
            DEPENDENCY_TABLES.into_iter().filter_map(move |name| {
                Some((format!("{prefix}{name}"), from.get(name).and_then(Value::as_table)?))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: (&str, &str) = ("Cargo.toml", "[workspace]\nmembers = [\"contract\", \"tests\"]\n");
    const TESTS: (&str, &str) = (
        "tests/Cargo.toml",
        "[package]\nname = \"e2e\"\n[lints]\nworkspace = true\n[dependencies]\ngateway.workspace = true\n",
    );

    fn texts(tree: &Tree) -> Vec<String> {
        check(tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tree_that_follows_the_rules_has_no_findings() {
        let contract =
            ("contract/Cargo.toml", "[lints]\nworkspace = true\n[dependencies]\nserde.workspace = true\n");
        assert_eq!(texts(&Tree::of(&[ROOT, contract, TESTS])), Vec::<String>::new());
    }

    #[test]
    fn a_forbidden_dependency_is_named_with_its_line() {
        let contract =
            ("contract/Cargo.toml", "[lints]\nworkspace = true\n[dependencies]\ntokio.workspace = true\n");
        assert_eq!(
            texts(&Tree::of(&[ROOT, contract, TESTS])),
            ["contract/Cargo.toml:4: `contract` never depends on `tokio`"]
        );
    }

    #[test]
    fn a_crate_of_its_own_ways_is_found() {
        let contract = (
            "contract/Cargo.toml",
            "[dependencies]\nserde = \"1\"\n[target.'cfg(unix)'.dependencies]\ne2e = { workspace = true }\n",
        );
        let found = texts(&Tree::of(&[ROOT, contract, TESTS])).join("\n");
        assert!(found.contains("needs `[lints] workspace = true`"), "{found}");
        assert!(
            found.contains("contract/Cargo.toml:2: `serde` in `dependencies` is a workspace dependency"),
            "{found}"
        );
        assert!(found.contains("`contract` never depends on `e2e`"), "{found}");
    }

    #[test]
    fn a_member_without_a_row_in_the_table_is_found() {
        let root = ("Cargo.toml", "[workspace]\nmembers = [\"lamp\"]\n");
        let lamp = ("lamp/Cargo.toml", "[lints]\nworkspace = true\n");
        assert_eq!(
            texts(&Tree::of(&[root, lamp])),
            ["Cargo.toml:1: the member `lamp` is not in tidy's table of who may depend on whom"]
        );
    }
}
