//! Steps of a longer command: each is announced, timed, and stops the rest when it fails.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::children::{StopSign, ask_to_end};

/// How often a running command is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What has been done so far, with its time.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration, Option<String>)>,
}

impl Steps {
    /// Carries out one step. The text that it returns stands in the summary.
    ///
    /// # Errors
    /// The step's own, with its name and with what to do about it.
    pub(crate) fn step(
        &mut self,
        name: &str,
        remedy: &str,
        step: impl FnOnce() -> Result<Option<String>>,
    ) -> Result<()> {
        println!("\n==> {name}");
        let start = Instant::now();
        match step() {
            Ok(note) => {
                self.done.push((name.to_owned(), start.elapsed(), note));
                Ok(())
            }
            Err(error) => {
                self.done.push((name.to_owned(), start.elapsed(), Some("FAILED".to_owned())));
                self.summary();
                Err(error.context(format!("{name} failed; {remedy}")))
            }
        }
    }

    /// Prints what was done, in seconds.
    pub(crate) fn summary(&self) {
        println!("\n     seconds  step");
        for (name, took, note) in &self.done {
            let note = note.as_deref().map(|note| format!("  ({note})")).unwrap_or_default();
            println!("{:12.1}  {name}{note}", took.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, took, _)| *took).sum();
        println!("{:12.1}  in all", total.as_secs_f64());
    }
}

/// Runs a command that prints for itself. Whoever stops us stops it too.
///
/// # Errors
/// When it cannot be started, fails, or is stopped; the message has the whole command line.
pub(crate) fn call(command: &mut Command) -> Result<()> {
    let line = shown(command);
    println!("    {line}");
    call_until(command, &StopSign::of_user()?, &line)
}

fn call_until(command: &mut Command, sign: &StopSign, line: &str) -> Result<()> {
    let mut child = command.spawn().with_context(|| format!("failed to start `{line}`"))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if sign.wait(LOOK_EVERY) {
            ask_to_end(&child);
            child.wait()?;
            bail!("`{line}` was stopped");
        }
    };
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program()).to_string_lossy();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(program.into_owned()).chain(args).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_stops_us_stops_the_command_that_runs() {
        let sign = StopSign::default();
        sign.raise();
        let error = call_until(Command::new("sleep").arg("600"), &sign, "sleep 600").unwrap_err().to_string();
        assert!(error.contains("`sleep 600` was stopped"), "{error}");
    }

    #[test]
    fn a_command_that_fails_is_named_with_its_status() {
        let error =
            call_until(Command::new("sh").args(["-c", "exit 3"]), &StopSign::default(), "sh").unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }
}
