//! `cargo xtask models`: every network made anew, from nothing but our own code.
//!
//! Owns the order: pictures are drawn before a network learns from them, a network is exported before the next thing is
//! measured with it, and the cards come last. What each command does stands in `models/storehub_models`.
//!
//! # Invariants
//!
//! - What is there is kept: scenes that were drawn, and a training that ended with the very settings that it would have
//!   now. A command that was stopped goes on where it was; deleting the work folder starts from nothing.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    places::Places,
    setup,
    steps::{self, Steps},
};

/// Names an interpreter with the packages of `models/pyproject.toml`; default `models/.venv/bin/python`.
const PYTHON_VARIABLE: &str = "STOREHUB_MODELS_PYTHON";
/// Imports everything that the commands below do.
const PACKAGES_ARE_THERE: &str =
    "from storehub_models import evaluate, reference, train_cover, train_landmarks, train_skinmap";

/// Commands of the Python package in their order, with what each is for.
const ORDER: [(&str, &[&str]); 12] = [
    ("scenes for the landmark network", &["render"]),
    ("the landmark network", &["train"]),
    ("the landmark network's files", &["export"]),
    ("scenes for the cover network", &["render", "--scenes", "covered"]),
    ("the cover network", &["train-cover"]),
    ("the cover network's files", &["export-cover"]),
    ("scenes for the skin network", &["render", "--scenes", "skin"]),
    ("scenes of the other renderer, to judge it by", &["render", "--scenes", "skin-b"]),
    ("the skin network", &["train-skin"]),
    ("the skin network's files", &["export-skin"]),
    ("what scores are compared with", &[REFERENCE]),
    ("the model cards", &["card"]),
];
/// The command that measures with the kiosk's own analysis.
const REFERENCE: &str = "reference";

/// Makes every network and all that is derived from it anew.
///
/// `--work DIR`: where scenes and trainings are kept, default `models/.work`.
pub(crate) fn run(places: &Places, rest: &[String]) -> Result<()> {
    let work = work_folder(places, "models", rest)?;
    let python = python(places)?;
    setup::run(places, setup::Extent::NETWORKS)?;
    let mut done = Steps::default();
    done.step("packages of the models", "make the environment as `models/README.md` says", || {
        steps::call(package(places, &python).args(["-c", PACKAGES_ARE_THERE]))?;
        Ok(None)
    })?;
    done.step("storehub-vision", "it measures what scores are compared with", || {
        let mut build = places.cargo();
        steps::call(build.args(["build", "--release", "--locked", "-p", "storehub-vision", "--bins"]))?;
        Ok(None)
    })?;
    let vision = places.program("release", "storehub-vision");
    for (name, arguments) in ORDER {
        done.step(name, "run it again to go on from here", || {
            let mut command = package(places, &python);
            command.args(["-m", "storehub_models"]).args(arguments).arg("--work").arg(&work);
            if arguments == [REFERENCE] {
                command.arg("--vision").arg(&vision);
            }
            steps::call(&mut command)?;
            Ok(None)
        })?;
    }
    done.summary();
    println!(
        "\n    models/weights, models/MODEL_CARD.md; the figures of docs/skin-report.md: `cargo xtask bench skin`"
    );
    Ok(())
}

/// The folder that `--work DIR` of a command names, or the models' own.
pub(crate) fn work_folder(places: &Places, command: &str, rest: &[String]) -> Result<PathBuf> {
    match rest {
        [] => Ok(places.root.join("models/.work")),
        [flag, folder] if flag == "--work" => {
            Ok(env::current_dir().context("the current folder is gone")?.join(folder))
        }
        other => bail!("`{command}` takes `--work DIR` or nothing, found `{}`", other.join(" ")),
    }
}

/// The interpreter that has the models' packages.
pub(crate) fn python(places: &Places) -> Result<PathBuf> {
    interpreter(&places.root, env::var_os(PYTHON_VARIABLE).map(PathBuf::from))
}

fn interpreter(root: &Path, named: Option<PathBuf>) -> Result<PathBuf> {
    let python = named.unwrap_or_else(|| root.join("models/.venv/bin/python"));
    if !python.is_file() {
        bail!(
            "no interpreter `{}` with the models' packages: make it as `models/README.md` says, or set {PYTHON_VARIABLE}",
            python.strip_prefix(root).unwrap_or(&python).display()
        );
    }
    Ok(python)
}

/// The interpreter in the folder of the package.
pub(crate) fn package(places: &Places, python: &Path) -> std::process::Command {
    let mut command = places.command(python);
    command.current_dir(places.root.join("models"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_that_is_missing_is_named_with_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let missing = interpreter(root.path(), None).unwrap_err().to_string();
        assert!(missing.contains("`models/.venv/bin/python`"), "{missing}");
        assert!(missing.contains("models/README.md") && missing.contains(PYTHON_VARIABLE), "{missing}");
        let named = root.path().join("python");
        std::fs::write(&named, "").unwrap();
        assert_eq!(interpreter(root.path(), Some(named.clone())).unwrap(), named);
    }

    #[test]
    fn the_order_names_commands_that_the_package_has() {
        let main = include_str!("../../models/storehub_models/__main__.py");
        for (name, arguments) in ORDER {
            assert!(main.contains(&format!("command(\"{}\", ", arguments[0])), "{name}");
        }
    }
}
