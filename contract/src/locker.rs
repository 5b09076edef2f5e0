//! What the hub tells a locker controller: `commands/<bank>/<id>`, answered on `commands/<bank>/<id>/result` with a
//! [`CommandResult`](crate::upstream::CommandResult).
//!
//! # Rules for the controller
//!
//! - It subscribes to `commands/<bank>/+` at each connection and answers `accepted` when it has understood, then `done`
//!   when the latch was released, or `failed` with a reason.
//! - The same `<id>` again is answered again and done once: the hub repeats a command that it has not heard of. A
//!   controller remembers the ids of its last 32 commands, also without power where it can.
//! - A command whose `expires_at` has passed is `failed` with `expired`, unless its clock is known to be wrong.
//! - What the door then does comes as `sensors/locker/<bank>/door`, which alone decides: `done` does not mean open.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// `commands/<bank>/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum LockerCommand {
    /// Release one latch.
    Open {
        /// The number on the door.
        compartment: u16,
        /// Do nothing after this.
        expires_at: Timestamp,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_plain_json() {
        let open = LockerCommand::Open { compartment: 3, expires_at: Timestamp::UNIX_EPOCH };
        let text = r#"{"command":"open","compartment":3,"expires_at":"1970-01-01T00:00:00.000Z"}"#;
        assert_eq!(serde_json::to_string(&open).unwrap(), text);
        assert_eq!(serde_json::from_str::<LockerCommand>(text).unwrap(), open);
    }
}
