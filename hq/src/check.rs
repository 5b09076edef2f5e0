//! What would stop headquarters from starting here and now, and what somebody should know who has configured it so.
//!
//! Changes nothing: files are opened and addresses are bound for a moment, none is made. The configuration's own mistakes
//! are [`crate::config`]'s.

use std::{
    fs::{self, File, TryLockError},
    io,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use rustix::fs::{Access, access};

use crate::{
    config::{Admission, Config, Mqtt},
    database::{FILES, LOCK, beside},
};

/// Everybody on this machine may read it.
const MODE_READ_BY_ALL: u32 = 0o004;

/// Sentences for the operator, each with the key that it is about.
#[derive(Debug, Default)]
pub struct Findings {
    /// Headquarters would not start.
    pub problems: Vec<String>,
    /// It would, and still somebody should look.
    pub warnings: Vec<String>,
}

/// Looks at this machine with a configuration that was read from `file`.
#[must_use]
pub fn findings(file: &Path, config: &Config) -> Findings {
    let problems = database_problems(&config.database).into_iter().chain(address_problems(config)).collect();
    Findings { problems, warnings: warnings(file, config) }
}

fn database_problems(path: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    let mut refuse = |what: &Path, why: &dyn std::fmt::Display| {
        problems.push(format!("`database.url`: `{}` {why}", what.display()));
    };
    // SQLite makes files beside it.
    if let Some(folder) = Config::database_folder(path)
        && let Err(error) = access(folder, Access::WRITE_OK | Access::EXEC_OK)
    {
        refuse(folder, &format_args!("cannot be written by this user: {}", io::Error::from(error)));
    }
    for file in FILES.map(|more| beside(path, more)) {
        match File::options().read(true).write(true).open(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                refuse(&file, &format_args!("cannot be written by this user: {error}"));
            }
            Ok(_) | Err(_) => {}
        }
    }
    let lock = beside(path, LOCK);
    match File::options().read(true).write(true).open(&lock).map(|lock| lock.try_lock()) {
        Ok(Err(TryLockError::WouldBlock)) => refuse(path, &"is in use by another storehub-hq"),
        Ok(Err(TryLockError::Error(error))) => refuse(&lock, &format_args!("cannot be locked: {error}")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            refuse(&lock, &format_args!("cannot be written by this user: {error}"));
        }
        Ok(Ok(())) | Err(_) => {}
    }
    problems
}

fn address_problems(config: &Config) -> Vec<String> {
    let mqtt = match config.mqtt {
        Mqtt::Embedded { listen, .. } => Some(("mqtt.embedded", listen)),
        Mqtt::External(_) => None,
    };
    let mut problems = Vec::new();
    // All are held until the end, so that two keys with one address are found.
    let mut held = Vec::new();
    for (key, addr) in [("http.listen", config.http)].into_iter().chain(mqtt) {
        match TcpListener::bind(addr) {
            Ok(listener) => held.push(listener),
            Err(error) => problems.push(format!("`{key}` = `{addr}`: cannot be listened on: {error}")),
        }
    }
    problems
}

/// What somebody should know; said at every start too.
#[must_use]
pub fn warnings(file: &Path, config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if !config.http.ip().is_loopback() && config.token.is_none() {
        warnings.push(format!(
            "`http.listen` = `{}` is beyond loopback, and there is no `http.token`: everybody who reaches it sees the \
             fleet, and commands are taken from nobody",
            config.http
        ));
    }
    let is_read_by_all = |path: &Path| {
        fs::metadata(path).is_ok_and(|found| found.permissions().mode() & MODE_READ_BY_ALL != 0)
    };
    let has_secrets = config.token.is_some()
        || match &config.mqtt {
            Mqtt::Embedded { admission, .. } => matches!(admission, Admission::Listed(_)),
            Mqtt::External(external) => external.login.is_some(),
        };
    if has_secrets && is_read_by_all(file) {
        let file = file.display();
        warnings.push(format!("`{file}` holds secrets, and everybody can read it: chmod 600 {file}"));
    }
    if is_read_by_all(&config.database) {
        warnings.push(format!(
            "`database.url`: everybody can read `{}`; it is shut to others at the next start",
            config.database.display()
        ));
    }
    warnings
}
