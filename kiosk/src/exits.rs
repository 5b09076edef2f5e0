//! How the process ends, and with which code, so that whoever started it knows what to do.
//!
//! | code | meaning | the service |
//! | --- | --- | --- |
//! | 0 | staff ended it | stays down |
//! | 1 | it could not start; the message says why | tries again |
//! | [`MISCONFIGURED`] | the configuration is wrong; the message says where | tries again |
//! | [`PANICKED`] | a part of the main loop broke down | starts it anew |
//! | [`STALLED`] | the main loop stood still | starts it anew |
//! | [`BLIND`] | the graphics device was lost for good | starts it anew |

use std::{
    panic::PanicHookInfo,
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// The configuration is wrong (`EX_CONFIG`).
pub const MISCONFIGURED: u8 = 78;
/// A part of the main loop panicked (`EX_SOFTWARE`).
pub const PANICKED: u8 = 70;
/// The main loop stood still (`EX_OSERR`).
pub const STALLED: u8 = 71;
/// Nothing can be drawn any more (`EX_UNAVAILABLE`).
pub const BLIND: u8 = 69;

/// Set when the process is about to end; a thread that keeps it from ending is not waited for.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// The process is about to end, as somebody wanted.
pub(crate) fn announce() {
    IS_ENDING.store(true, Ordering::Release);
}

/// Whether the process is about to end.
pub(crate) fn is_ending() -> bool {
    IS_ENDING.load(Ordering::Acquire)
}

/// A panic of the main loop is logged and ends the process; one of a worker is logged, and the worker's owner goes on.
pub fn log_panics_and_end() {
    std::panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed");
        bevy::log::error!("the thread `{name}` panicked: {}", said(info));
        if is_main_loop(name) && !IS_ENDING.swap(true, Ordering::AcqRel) {
            process::exit(i32::from(PANICKED));
        }
    }));
}

/// Bevy's pools carry the systems of the main loop, and its renderer has a thread.
fn is_main_loop(thread: &str) -> bool {
    const LOOPS: [&str; 6] =
        ["main", "unnamed", "Compute Task Pool", "Async Compute Task Pool", "IO Task Pool", "pipelined"];
    LOOPS.iter().any(|name| thread.starts_with(name))
}

/// Message and place, without a backtrace: frames of memory may hold what a visitor typed.
fn said(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    match info.location() {
        Some(place) => format!("{message}, at {}:{}", place.file(), place.line()),
        None => message,
    }
}

/// No crash may write a visitor's picture to a disk: the system makes no core dump of this process.
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        bevy::log::warn!("core dumps cannot be switched off: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_the_main_loop_and_workers_are_not() {
        for name in ["main", "Compute Task Pool (0)", "IO Task Pool (1)", "unnamed"] {
            assert!(is_main_loop(name), "{name}");
        }
        for name in ["skin", "hub-link", "camera"] {
            assert!(!is_main_loop(name), "{name}");
        }
    }
}
