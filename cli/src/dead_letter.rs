//! Where a dead message comes from and why it is dead, as the user gets to see it.

use serde::Serialize;
use slipring::{Cause, DeadLetter};

use crate::record::hex;

/// A dead letter, as JSON.
#[derive(Serialize)]
pub struct DeadLetterView<'a> {
    queue_id: String,
    group: &'a str,
    sequence: u64,
    timestamp_ns: u64,
    deliveries: u16,
    cause: &'static str,
    reason: &'a str,
}

impl<'a> From<&'a DeadLetter> for DeadLetterView<'a> {
    fn from(letter: &'a DeadLetter) -> Self {
        Self {
            queue_id: hex(&letter.queue_id),
            group: &letter.group,
            sequence: letter.sequence,
            timestamp_ns: letter.timestamp,
            deliveries: letter.deliveries,
            cause: cause_name(letter.cause),
            reason: &letter.reason,
        }
    }
}

/// A cause in one word.
pub fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::TooManyDeliveries => "too-many-deliveries",
        Cause::Rejected => "rejected",
        _ => "other",
    }
}

/// The variables that tell a command about a dead letter.
pub const VARIABLES: [&str; 7] = [
    "SLIPRING_DEAD_QUEUE",
    "SLIPRING_DEAD_GROUP",
    "SLIPRING_DEAD_SEQUENCE",
    "SLIPRING_DEAD_TIMESTAMP",
    "SLIPRING_DEAD_DELIVERIES",
    "SLIPRING_DEAD_CAUSE",
    "SLIPRING_DEAD_REASON",
];

/// What [`VARIABLES`] are set to.
pub fn values(letter: &DeadLetter) -> [String; 7] {
    // A group's name and a reason are whatever somebody wrote, and a variable cannot hold a NUL.
    let text = |text: &str| text.replace('\0', " ");
    [
        hex(&letter.queue_id),
        text(&letter.group),
        letter.sequence.to_string(),
        letter.timestamp.to_string(),
        letter.deliveries.to_string(),
        cause_name(letter.cause).to_owned(),
        text(&letter.reason),
    ]
}
