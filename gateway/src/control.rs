//! The control socket: asks a running hub how it is, and tells it what staff do.
//!
//! Owns: a unix socket in the data folder, mode 0600. Whoever connects says one JSON document, or nothing to ask for the
//! status, and closes its side; it is answered with one JSON document. Limits: one connection at a time,
//! [`ANSWER_DEADLINE`] each, [`QUESTION_BYTES_MAX`], [`STATUS_BYTES_MAX`].

use std::{
    io,
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long one answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// How long one who connects has to say what it wants; an older `status` says nothing and does not close its side.
const QUESTION_DEADLINE: Duration = Duration::from_millis(500);
/// Largest question that is read.
const QUESTION_BYTES_MAX: u64 = 16 * 1024;
/// Largest status document that is read.
const STATUS_BYTES_MAX: u64 = 16 * 1024 * 1024;
const SOCKET_NAME: &str = "control.sock";

/// Why the socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket cannot be made.
    #[error("failed to listen on the control socket `{}`", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("no hub answers on `{}`; start it with `storehub-gateway run`", path.display())]
    NotRunning {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket is another user's, whether a hub answers on it or not.
    #[error(
        "this user may not speak to the hub's socket `{}`; ask as the user that the hub runs as, or with `sudo`",
        path.display()
    )]
    NotPermitted {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody answers, but not in time or not as a hub does.
    #[error("the hub on `{}` did not answer: {reason}", path.display())]
    NoAnswer {
        /// Where.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

/// Where the socket of a data folder is.
#[must_use]
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join(SOCKET_NAME)
}

/// Runs `with` on a name of the socket that fits into a socket address (108 bytes), however long the folder's is:
/// through the folder's file descriptor.
fn through_dir<T>(data_dir: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let dir = std::fs::File::open(data_dir)?;
    with(&PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", dir.as_raw_fd())))
}

/// Opens the socket; a file that a dead hub left behind is replaced, which is safe under the data folder's lock.
///
/// # Errors
/// When the file system refuses.
pub fn listen(data_dir: &Path) -> Result<UnixListener, ControlError> {
    let path = socket_path(data_dir);
    let attempt = || {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = through_dir(data_dir, |path| UnixListener::bind(path))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    attempt().map_err(|source| ControlError::Listen { path: path.clone(), source })
}

/// Answers until `stop` is cancelled. The question is `null` where nothing was said.
pub async fn serve<F: Future<Output = Value> + Send>(
    listener: UnixListener,
    stop: CancellationToken,
    answer: impl Fn(Value) -> F + Send,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((mut stream, _)) => {
                let mut question = Vec::new();
                let mut limited = (&mut stream).take(QUESTION_BYTES_MAX);
                timeout(QUESTION_DEADLINE, limited.read_to_end(&mut question)).await.ok();
                let answered = async {
                    let text = if question.is_empty() {
                        answer(Value::Null).await
                    } else {
                        match serde_json::from_slice(&question) {
                            Ok(question) => answer(question).await,
                            Err(error) => serde_json::json!({ "error": format!("no JSON: {error}") }),
                        }
                    };
                    stream.write_all(text.to_string().as_bytes()).await.ok();
                };
                // Whoever asks and does not read gets no answer; the next one does.
                timeout(ANSWER_DEADLINE, answered).await.ok();
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket refused a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Asks the hub of a data folder how it is.
///
/// # Errors
/// When none runs there, or it does not answer.
pub async fn ask(data_dir: &Path) -> Result<Value, ControlError> {
    tell(data_dir, &Value::Null).await
}

/// Says something to the hub of a data folder, and hears its answer.
///
/// # Errors
/// When none runs there, or it does not answer.
pub async fn tell(data_dir: &Path, question: &Value) -> Result<Value, ControlError> {
    let path = socket_path(data_dir);
    let connect = async {
        let dir = std::fs::File::open(data_dir)?;
        UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET_NAME}", dir.as_raw_fd())).await
    };
    let mut stream = connect.await.map_err(|source| not_reached(&path, source))?;
    if !question.is_null() {
        // A hub that has gone is noticed by its missing answer.
        stream.write_all(question.to_string().as_bytes()).await.ok();
    }
    stream.shutdown().await.ok();
    let mut answer = Vec::new();
    let mut limited = stream.take(STATUS_BYTES_MAX);
    let no_answer = |reason: String| ControlError::NoAnswer { path: path.clone(), reason };
    timeout(ANSWER_DEADLINE, limited.read_to_end(&mut answer))
        .await
        .map_err(|_| no_answer(format!("it took longer than {} s", ANSWER_DEADLINE.as_secs())))?
        .map_err(|error| no_answer(error.to_string()))?;
    serde_json::from_slice(&answer).map_err(|error| no_answer(error.to_string()))
}

/// Why nobody could be spoken to.
fn not_reached(path: &Path, source: io::Error) -> ControlError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => ControlError::NotPermitted { path, source },
        _ => ControlError::NotRunning { path, source },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_socket_of_another_user_is_not_called_a_hub_that_does_not_run() {
        let said = |kind: io::ErrorKind| not_reached(Path::new("data/control.sock"), kind.into()).to_string();
        let denied = said(io::ErrorKind::PermissionDenied);
        assert!(denied.contains("may not speak") && denied.contains("sudo"), "{denied}");
        assert!(said(io::ErrorKind::ConnectionRefused).contains("storehub-gateway run"));
    }

    #[tokio::test]
    async fn a_running_hub_answers_also_in_a_folder_with_a_long_name_and_a_missing_one_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(120));
        std::fs::create_dir(&long).unwrap();
        let error = ask(&long).await.unwrap_err();
        assert!(error.to_string().contains("storehub-gateway run"), "{error}");
        let stop = CancellationToken::new();
        let answer = |question| async move { json!({ "a": 1, "of": question }) };
        let serving = tokio::spawn(serve(listen(&long).unwrap(), stop.clone(), answer));
        for _ in 0..2 {
            assert_eq!(ask(&long).await.unwrap(), json!({ "a": 1, "of": null }));
        }
        let told = tell(&long, &json!({ "open": 3 })).await.unwrap();
        assert_eq!(told, json!({ "a": 1, "of": { "open": 3 } }));
        stop.cancel();
        serving.await.unwrap();
        drop(listen(&long).expect("a socket that a dead hub left is replaced"));
    }
}
