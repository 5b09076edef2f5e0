//! A program of ours as a child process: found beside the test, killed when dropped, its log shown when a journey fails.

use std::{
    env,
    fs::File,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use crate::harness::wait::PATIENCE;

/// Last lines of a log that a failure shows.
const LOG_LINES_SHOWN: usize = 40;
/// Lines of standard output that are kept.
const LINES_KEPT_MAX: usize = 10_000;

/// A program of the workspace, built in the same profile as the running test.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the operating system knows the running program");
    // target/<profile>/deps/journeys-… or target/<profile>/storehub-bench
    let profile =
        test.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).expect("a program is in a folder");
    let path = profile.join(name);
    assert!(
        path.is_file(),
        "`{}` is not built: run `cargo build --workspace --bins` (`cargo xtask test` does) before the journeys",
        path.display()
    );
    path
}

/// What to start.
#[derive(Debug)]
pub struct Program {
    name: String,
    command: Command,
    log: PathBuf,
}

impl Program {
    /// A program of ours with its log in `dir`.
    #[must_use]
    pub fn new(name: &str, dir: &Path) -> Self {
        Self::of(Command::new(program(name)), name, dir)
    }

    /// The same, as a terminal starts it: SIGHUP is not ignored, even where these tests run under `nohup`.
    #[must_use]
    pub fn in_terminal(name: &str, dir: &Path) -> Self {
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP").arg(program(name));
        Self::of(command, name, dir)
    }

    fn of(mut command: Command, name: &str, dir: &Path) -> Self {
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command.env("RUST_BACKTRACE", "1");
        if env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "info");
        }
        Self { name: name.to_owned(), command, log: dir.join(format!("{name}.log")) }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it; its log is appended to.
    ///
    /// # Panics
    /// When the operating system cannot start it.
    #[must_use]
    pub fn start(mut self) -> Running {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("the journey's folder is writable");
        let mut child = self
            .command
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {}: {error}", self.name));
        let stdout = child.stdout.take().expect("standard output is piped");
        let (sender, lines) = watch::channel(Arc::new(Vec::new()));
        tokio::spawn(async move {
            let mut reader = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                sender.send_modify(|lines| {
                    let lines = Arc::make_mut(lines);
                    if LINES_KEPT_MAX <= lines.len() {
                        lines.remove(0);
                    }
                    lines.push(line);
                });
            }
        });
        Running { name: self.name, child: Mutex::new(Some(child)), lines, log: self.log }
    }
}

/// A started program.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Mutex<Option<Child>>,
    lines: watch::Receiver<Arc<Vec<String>>>,
    log: PathBuf,
}

impl Running {
    /// The process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.lock().expect("nobody panics while holding it").as_ref()?.id()
    }

    /// Its standard output so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().to_vec()
    }

    /// The address that it printed for `listening`.
    ///
    /// # Panics
    /// When it ends first or says nothing in time.
    pub async fn listening(&self, what: &str) -> SocketAddr {
        let mut lines = self.lines.clone();
        let address = |lines: &Arc<Vec<String>>| {
            lines.iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["listening"] == what).then(|| line["addr"].as_str()?.parse().ok())?
            })
        };
        let found = timeout(PATIENCE, async {
            loop {
                if let Some(addr) = address(&lines.borrow_and_update()) {
                    return Some(addr);
                }
                if lines.changed().await.is_err() {
                    return address(&lines.borrow());
                }
            }
        });
        match found.await {
            Ok(Some(addr)) => addr,
            Ok(None) => panic!("{} ended before it listened for {what}\n{}", self.name, self.log_tail()),
            Err(_) => panic!("{} did not listen for {what} in {PATIENCE:?}\n{}", self.name, self.log_tail()),
        }
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let id = self.id().ok_or_else(|| io::Error::other("it has ended"))?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmRSS in its status"))
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(self) {
        let mut child = self.into_child();
        child.kill().await.expect("our own child can be killed");
    }

    /// SIGTERM, and waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn stop(self) -> ExitStatus {
        self.terminate();
        self.wait(PATIENCE).await
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGHUP: its terminal has closed.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id() {
            let id = rustix::process::Pid::from_raw(id.cast_signed()).expect("a process id is not 0");
            rustix::process::kill_process(id, signal).ok();
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn wait(self, limit: Duration) -> ExitStatus {
        let (name, log) = (self.name.clone(), self.log.clone());
        let mut child = self.into_child();
        match timeout(limit, child.wait()).await {
            Ok(status) => status.expect("our own child can be waited for"),
            Err(_) => panic!("{name} did not end within {limit:?}\n{}", tail(&log)),
        }
    }

    /// Whether it has ended, and how.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().expect("nobody panics while holding it").as_mut()?.try_wait().ok()?
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    fn into_child(self) -> Child {
        let mut child = self.child.lock().expect("nobody panics while holding it");
        child.take().expect("only the methods that take `self` take the child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} said last:\n{}", self.name, self.log_tail());
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

/// What a program that ended by itself has said.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output as one JSON value.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}\n{}", self.stdout, self.stderr))
    }

    /// Both outputs, for `contains`.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

/// Runs a program of ours that ends by itself.
///
/// # Panics
/// When it does not end in time.
pub async fn run_to_end<S: AsRef<std::ffi::OsStr>>(
    name: &str,
    dir: &Path,
    args: impl IntoIterator<Item = S>,
) -> Finished {
    run_with(name, dir, args, &[]).await
}

/// As [`run_to_end`], with variables of the environment.
///
/// # Panics
/// When it does not end in time.
pub async fn run_with<S: AsRef<std::ffi::OsStr>>(
    name: &str,
    dir: &Path,
    args: impl IntoIterator<Item = S>,
    variables: &[(&str, &str)],
) -> Finished {
    let mut command = Command::new(program(name));
    command
        .args(args)
        .current_dir(dir)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output())
        .await
        .unwrap_or_else(|_| panic!("{name} did not end within {PATIENCE:?}"))
        .unwrap_or_else(|error| panic!("failed to start {name}: {error}"));
    Finished {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
