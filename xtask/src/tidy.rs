//! `cargo xtask tidy`: what neither the compiler nor clippy can see: who may use whom, and how sources look.
//!
//! The rules are functions of a [`Tree`] and nothing else; this file reads the tree from disk and prints what they find.

mod code;
mod dependencies;
mod kiosk;
mod rooms;
mod sources;

use std::{collections::BTreeMap, fmt, fs};

use anyhow::{Context, Result, bail};

use crate::places::Places;

/// Text files of the checkout: path with `/` from its root, content.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Every Rust source with its path.
    fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.under("", ".rs")
    }

    fn under<'a>(&'a self, prefix: &'a str, suffix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let matches = move |path: &str| path.starts_with(prefix) && path.ends_with(suffix);
        self.files
            .iter()
            .filter(move |(path, _)| matches(path))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
    }
}

/// A rule that a file breaks.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    text: String,
}

impl Finding {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// Checks the checkout.
pub(crate) fn run(places: &Places) -> Result<()> {
    let tree = read(places)?;
    let mut findings = dependencies::check(&tree);
    findings.extend(kiosk::check(&tree));
    findings.extend(rooms::check(&tree));
    findings.extend(sources::check(&tree));
    findings.sort();
    for finding in &findings {
        println!("    {finding}");
    }
    match findings.len() {
        0 => {
            println!("    tidy: {} files hold every rule", tree.files.len());
            Ok(())
        }
        1 => bail!("one rule is broken"),
        count => bail!("{count} rules are broken"),
    }
}

/// Reads what git would keep: tracked files and new ones that are not ignored.
fn read(places: &Places) -> Result<Tree> {
    let output = places
        .command("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .output()
        .context("failed to start git")?;
    if !output.status.success() {
        bail!("`git ls-files` ended with {}: is this a git checkout?", output.status);
    }
    let mut tree = Tree::default();
    for path in String::from_utf8_lossy(&output.stdout).split('\0').filter(|path| !path.is_empty()) {
        let full = places.root.join(path);
        // A file deleted but not yet committed is listed too.
        let Ok(bytes) = fs::read(&full) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            tree.files.insert(path.to_owned(), text);
        }
    }
    Ok(tree)
}
