//! The product's programs as children: started with a log each, watched, and stopped in the reverse order.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long a program may take until it listens.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a program may take to drain after SIGTERM, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Lines of standard output that are kept for each program.
const LINES_KEPT_MAX: usize = 200;
const LOG_LINES_SHOWN: usize = 15;

/// A moment's pause that ends early when somebody wants to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopSign(Arc<(Mutex<bool>, Condvar)>);

impl StopSign {
    /// The sign that Ctrl-C, SIGTERM and SIGHUP raise.
    ///
    /// # Errors
    /// When the process cannot listen for signals.
    pub(crate) fn of_user() -> Result<Self> {
        static SIGN: OnceLock<StopSign> = OnceLock::new();
        if let Some(sign) = SIGN.get() {
            return Ok(sign.clone());
        }
        let sign = SIGN.get_or_init(Self::default).clone();
        let raised = sign.clone();
        ctrlc::set_handler(move || raised.raise()).context("failed to listen for Ctrl-C")?;
        Ok(sign)
    }

    /// Raises the sign.
    pub(crate) fn raise(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits until the sign is raised or the time is over; whether it is raised.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let guard = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (raised, _) = self
            .0
            .1
            .wait_timeout_while(guard, limit, |raised| !*raised)
            .unwrap_or_else(PoisonError::into_inner);
        *raised
    }
}

/// One started program.
#[derive(Debug)]
struct Member {
    name: String,
    child: Child,
    log: PathBuf,
    lines: Arc<Mutex<VecDeque<String>>>,
}

/// All started programs. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Children {
    members: Vec<Member>,
    sign: StopSign,
    logs: PathBuf,
}

impl Children {
    /// No program yet; logs go to `logs`.
    pub(crate) fn new(logs: &Path, sign: StopSign) -> Self {
        Self { members: Vec::new(), sign, logs: logs.to_owned() }
    }

    /// Starts a program in a process group of its own, so that Ctrl-C reaches only us and the end has an order.
    pub(crate) fn start(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let log = self.logs.join(format!("{name}.log"));
        let file =
            File::create(&log).with_context(|| format!("failed to create the log `{}`", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| {
                format!("failed to start {name} (`{}`)", command.get_program().to_string_lossy())
            })?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let sink = Arc::clone(&lines);
        thread::Builder::new().name(format!("{name}-output")).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut kept = sink.lock().unwrap_or_else(PoisonError::into_inner);
                if LINES_KEPT_MAX <= kept.len() {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        })?;
        self.members.push(Member { name: name.to_owned(), child, log, lines });
        Ok(())
    }

    /// The address that a program printed for `listening`.
    pub(crate) fn address(&mut self, name: &str, listening: &str) -> Result<String> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let addr = self.lines(name).iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["listening"] == listening).then(|| line["addr"].as_str().map(str::to_owned))?
            });
            if let Some(addr) = addr {
                return Ok(addr);
            }
            self.check()?;
            if deadline <= Instant::now() {
                bail!("{name} did not listen for {listening} within {START_MAX:?}\n{}", self.log_tail(name));
            }
            if self.sign.wait(LOOK_EVERY) {
                bail!("stopped while {name} was starting");
            }
        }
    }

    /// The last line of a program's standard output.
    pub(crate) fn last_line(&self, name: &str) -> Option<String> {
        self.lines(name).pop_back()
    }

    /// Waits for the end of a program that ends by itself.
    pub(crate) fn wait(&mut self, name: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let Some(at) = self.members.iter().position(|member| member.name == name) else { return Ok(()) };
            if let Some(status) = self.members[at].child.try_wait()? {
                let tail = self.log_tail(name);
                self.members.remove(at);
                if !status.success() {
                    bail!("{name} ended with {status}\n{tail}");
                }
                return Ok(());
            }
            if deadline <= Instant::now() {
                bail!("{name} did not end within {limit:?}\n{}", self.log_tail(name));
            }
            if self.sign.wait(LOOK_EVERY) {
                bail!("stopped while waiting for {name}");
            }
        }
    }

    /// Fails when a program has ended by itself; names it and shows what it said last.
    pub(crate) fn check(&mut self) -> Result<()> {
        for at in 0..self.members.len() {
            if let Some(status) = self.members[at].child.try_wait()? {
                let name = self.members[at].name.clone();
                bail!("{name} has ended ({status}); it said last:\n{}", self.log_tail(&name));
            }
        }
        Ok(())
    }

    /// Stops all, the last started first.
    pub(crate) fn stop(&mut self) {
        while let Some(mut member) = self.members.pop() {
            if let Ok(Some(_)) = member.child.try_wait() {
                continue;
            }
            ask_to_end(&member.child);
            let deadline = Instant::now() + STOP_MAX;
            // Its own sign: the one of the user may be raised already.
            let pause = StopSign::default();
            while member.child.try_wait().is_ok_and(|status| status.is_none()) {
                if deadline <= Instant::now() {
                    eprintln!("    {} did not end within {STOP_MAX:?} and is killed", member.name);
                    member.child.kill().ok();
                    member.child.wait().ok();
                    break;
                }
                pause.wait(LOOK_EVERY);
            }
        }
    }

    fn lines(&self, name: &str) -> VecDeque<String> {
        let member = self.members.iter().find(|member| member.name == name);
        member
            .map(|member| member.lines.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }

    fn log_tail(&self, name: &str) -> String {
        let Some(member) = self.members.iter().find(|member| member.name == name) else {
            return String::new();
        };
        let text = std::fs::read_to_string(&member.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

/// SIGTERM. There is no safe call for a signal in the standard library; `kill` is on every machine.
pub(crate) fn ask_to_end(child: &Child) {
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().ok();
}

impl Drop for Children {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `GET` over plain HTTP/1.0 from a loopback address, read as JSON; `None` while nobody answers.
pub(crate) fn get_json(addr: &str, path: &str) -> Option<Value> {
    use std::io::{Read as _, Write as _};
    const ANSWER_MAX: Duration = Duration::from_secs(3);
    const BODY_BYTES_MAX: u64 = 8 << 20;
    let addr = addr.parse().ok()?;
    let mut stream = std::net::TcpStream::connect_timeout(&addr, ANSWER_MAX).ok()?;
    stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {addr}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.take(BODY_BYTES_MAX).read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.split(' ').nth(1)?.starts_with('2') {
        return None;
    }
    serde_json::from_str(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_by_itself_is_named_with_its_last_words() {
        let dir = std::env::temp_dir().join(format!("xtask-children-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut children = Children::new(&dir, StopSign::default());
        children.start("speaker", Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap();
        let error = children.wait("speaker", Duration::from_secs(10)).unwrap_err().to_string();
        assert!(error.contains("speaker") && error.contains("no luck"), "{error}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn stopping_leaves_nothing_running_and_addresses_are_read() {
        let dir = std::env::temp_dir().join(format!("xtask-stop-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut children = Children::new(&dir, StopSign::default());
        let line = "echo '{\"listening\":\"mqtt\",\"addr\":\"127.0.0.1:9\"}'; exec cat /dev/zero > /dev/null";
        children.start("waiter", Command::new("sh").args(["-c", line])).unwrap();
        assert_eq!(children.address("waiter", "mqtt").unwrap(), "127.0.0.1:9");
        children.check().unwrap();
        let id = children.members[0].child.id();
        children.stop();
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
