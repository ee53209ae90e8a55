//! Where the fields lie in the control block and in the entries: numbers of the file format.
//!
//! Relies on the limits in `layout`; `geometry` passes it on.

use super::{LINE, Offset, PAGE, SLOT_HEADER};

/// Bytes of the immutable header, at the start of the file.
pub const HEADER_SIZE: u64 = PAGE;
/// Bytes of the control block behind it.
pub const CONTROL_SIZE: u64 = PAGE;
/// Bytes of a participant entry.
pub const PARTICIPANT_SIZE: u64 = 2 * LINE;
/// Bytes of a group entry.
pub const GROUP_SIZE: u64 = 20 * LINE;
/// Bytes of a segment entry.
pub const SEGMENT_SIZE: u64 = LINE;
/// Notes on dead messages in a group entry.
pub const NOTES_PER_GROUP: u64 = 8;
/// Bytes of a note.
pub const NOTE_SIZE: u64 = LINE;

/// The control block: offsets from the start of the mapping. One line per writer.
pub mod control {
    use super::{HEADER_SIZE, LINE, Offset};

    /// u64: all sequences below it are taken. Lags.
    pub const TAIL: Offset = Offset(HEADER_SIZE);
    /// u64: a bit per group whose consumers may be asleep. Read by every publish, written only around sleeping.
    pub const WAITING: Offset = Offset(HEADER_SIZE + LINE);
    /// u64: 1 if producers may be asleep for want of room. Read by every ack.
    pub const SPACE_WAITING: Offset = Offset(HEADER_SIZE + 2 * LINE);
    /// u32: the futex word producers sleep on.
    pub const SPACE_EVENT: Offset = Offset(HEADER_SIZE + 3 * LINE);
    /// u64: raised whenever a group starts or stops gating.
    pub const GENERATION: Offset = Offset(HEADER_SIZE + 4 * LINE);
    /// Owned word: the sole producer, if there is one.
    pub const SOLE: Offset = Offset(HEADER_SIZE + 5 * LINE);
    /// u64: when somebody last looked for dead participants, in ms of the monotonic clock. Only thins out the looking.
    pub const LAST_PROBE: Offset = Offset(HEADER_SIZE + 6 * LINE);
    /// u64: slots aborted by sweeps since creation.
    pub const ABORTED: Offset = Offset(HEADER_SIZE + 7 * LINE);
    /// u64: dead participants swept since creation.
    pub const BURIED: Offset = Offset(HEADER_SIZE + 7 * LINE + 8);
    /// u64: claims of dead participants given back since creation.
    pub const RETURNED: Offset = Offset(HEADER_SIZE + 7 * LINE + 16);
    /// Owned word: who syncs the file, if somebody does.
    pub const SYNCER: Offset = Offset(HEADER_SIZE + 8 * LINE);
    /// u64: syncs begun since creation.
    pub const STARTED: Offset = Offset(HEADER_SIZE + 9 * LINE);
    /// u64: the number of the last sync that has ended well.
    pub const FINISHED: Offset = Offset(HEADER_SIZE + 9 * LINE + 8);
    /// u64: no sequence at or above it has ever been published, whatever of the rest the disk has.
    pub const UNTIL_DISK: Offset = Offset(HEADER_SIZE + 9 * LINE + 16);
    /// u64: producers stay below it: the disk has that they may get so far.
    pub const UNTIL_LIVE: Offset = Offset(HEADER_SIZE + 9 * LINE + 24);
    /// u64: the disk has every message below it.
    pub const DURABLE: Offset = Offset(HEADER_SIZE + 9 * LINE + 32);
    /// u64: the error number of the first sync that failed; 0: none has.
    pub const POISONED: Offset = Offset(HEADER_SIZE + 9 * LINE + 40);
    /// u64: what the queue looked like to the last sync at an interval.
    pub const SYNCED_VIEW: Offset = Offset(HEADER_SIZE + 9 * LINE + 48);
    /// u64: how often somebody has begun to wait for a sync.
    pub const ASKED: Offset = Offset(HEADER_SIZE + 9 * LINE + 56);
    /// u64: what that was when the last sync began.
    pub const COVERED: Offset = Offset(HEADER_SIZE + 9 * LINE + 64);
    /// u64: what it will be when all whom the last sync served have come again.
    pub const EXPECTED: Offset = Offset(HEADER_SIZE + 9 * LINE + 72);
    /// u64: how many nanoseconds the last sync took.
    pub const SYNC_NS: Offset = Offset(HEADER_SIZE + 9 * LINE + 80);
    /// u32: the futex word that those sleep on who wait for a sync.
    pub const SYNC_EVENT: Offset = Offset(HEADER_SIZE + 10 * LINE);
    /// u64: recoveries since creation.
    pub const EPOCH: Offset = Offset(HEADER_SIZE + 11 * LINE);
    /// u64: first half of the boot of the last recovery.
    pub const BOOT_FIRST: Offset = Offset(HEADER_SIZE + 11 * LINE + 8);
    /// u64: second half of it.
    pub const BOOT_SECOND: Offset = Offset(HEADER_SIZE + 11 * LINE + 16);
    /// u64: checksum of the three before, plus 2^32; 0: the queue has never been recovered.
    pub const BOOT_CHECK: Offset = Offset(HEADER_SIZE + 11 * LINE + 24);
    /// u64: messages that the last recovery found whole.
    pub const RECOVERED: Offset = Offset(HEADER_SIZE + 11 * LINE + 32);
    /// u64: messages that it found torn.
    pub const TORN: Offset = Offset(HEADER_SIZE + 11 * LINE + 40);
    /// u64: sequences below the highest message that it found missing.
    pub const MISSING: Offset = Offset(HEADER_SIZE + 11 * LINE + 48);
    /// u64: 1 if it found the mark of a clean end, and looked for nothing else.
    pub const FOUND_CLEAN: Offset = Offset(HEADER_SIZE + 11 * LINE + 56);
    /// u64: how the queue was left: 0 not at all, 1 clean, 2 being opened, 3 being closed.
    pub const CLEAN: Offset = Offset(HEADER_SIZE + 12 * LINE);
}

/// Fields of a participant entry, from its start.
pub mod participant {
    use super::LINE;

    /// Owned word: free or live.
    pub const STATE: u64 = 0;
    /// u64: a bit per group it has consumers in.
    pub const MEMBER_OF: u64 = 8;
    /// u64: 1 if it has ordinary producers.
    pub const PRODUCES: u64 = 16;
    /// u64: process id, for people to read only.
    pub const PID: u64 = 24;
    /// u64: wall clock ns of the attach, for people to read only.
    pub const ATTACHED_NS: u64 = 32;
    /// u64: length of the name, for people to read only.
    pub const NAME_LENGTH: u64 = 40;
    /// 64 bytes: the name.
    pub const NAME: u64 = 64;
    /// u64: messages published by this participant; lags by a few.
    pub const PUBLISHED: u64 = LINE;
}

/// Fields of a group entry, from its start.
pub mod group {
    use super::LINE;

    /// Owned word: free, joining, pinned, live or closing.
    pub const STATE: u64 = 0;
    /// u64: bit 0 exclusive, bit 1 ephemeral.
    pub const FLAGS: u64 = 8;
    /// u64: the sequence it started at.
    pub const START: u64 = 16;
    /// u64: length of the name.
    pub const NAME_LENGTH: u64 = 24;
    /// 64 bytes: the name.
    pub const NAME: u64 = 64;
    /// u64: every sequence below it is settled. In an exclusive group this is the cursor.
    pub const FLOOR: u64 = LINE;
    /// u64: exclusive groups: one past the highest sequence handed over since the last hand-over of the group.
    pub const OPENED: u64 = LINE + 8;
    /// u64: every sequence below it has been claimed or aborted at least once. Lags.
    pub const HEAD: u64 = 2 * LINE;
    /// Ready hint.
    pub const READY: u64 = 3 * LINE;
    /// Owned word: the active consumer's participant, in an exclusive group.
    pub const OWNER: u64 = 4 * LINE;
    /// u32: the futex word stand-by consumers sleep on.
    pub const STANDBY_EVENT: u64 = 4 * LINE + 8;
    /// u32: the futex word consumers sleep on.
    pub const EVENT: u64 = 5 * LINE;
    /// u64: messages handed over, counting every time; lags.
    pub const DELIVERED: u64 = 6 * LINE;
    /// u64: of those, not the first time; lags.
    pub const REDELIVERED: u64 = 6 * LINE + 8;
    /// u64: messages acked; lags.
    pub const ACKED: u64 = 6 * LINE + 16;
    /// u64: messages moved to the dead-letter queue.
    pub const DEAD_LETTERED: u64 = 6 * LINE + 24;
    /// u64: claims given back because their lease had ended.
    pub const EXPIRED: u64 = 6 * LINE + 32;
    /// u64: messages dropped for want of room (lossy queues).
    pub const LOST: u64 = 7 * LINE;
    /// u64: deliveries of a message before it is dead; 0: any number.
    pub const MAX_DELIVERIES: u64 = 8 * LINE;
    /// u64: ms a claim lasts unless it is extended; 0: as long as its owner lives.
    pub const ACK_TIMEOUT: u64 = 8 * LINE + 8;
    /// u64: length of the name of the dead-letter queue; 0: none.
    pub const DEAD_QUEUE_LENGTH: u64 = 8 * LINE + 16;
    /// 256 bytes: the name of the dead-letter queue.
    pub const DEAD_QUEUE: u64 = 9 * LINE;
    /// 8 notes of 128 bytes: why the messages parked last are dead.
    pub const NOTES: u64 = 12 * LINE;
}

/// Fields of a note on a dead message, from its start. The note of a sequence is the one of its last three bits.
pub mod note {
    /// u64: the sequence plus 1; 0: no note.
    pub const SEQUENCE: u64 = 0;
    /// u64: length of the reason.
    pub const LENGTH: u64 = 8;
    /// 112 bytes: the reason.
    pub const REASON: u64 = 16;
}

/// Fields of a segment entry, from its start.
pub mod segment {
    /// Owned word: free, live (held) or closing (open).
    pub const STATE: u64 = 0;
    /// u64: bytes used from its start.
    pub const BUMP: u64 = 8;
    /// u64: one past the highest sequence that points into it.
    pub const USED_UNTIL: u64 = 16;
    /// u64: raised every time it is emptied, before it is written again.
    pub const EMPTIED: u64 = 24;
}

/// Fields of a slot, from its start.
pub mod slot {
    use super::SLOT_HEADER;

    /// Owned word.
    pub const WORD: u64 = 0;
    /// The 24 bytes of a [`super::super::SlotHeader`].
    pub const HEADER: u64 = 8;
    /// The payload, or a [`super::super::SegmentPointer`].
    pub const PAYLOAD: u64 = SLOT_HEADER;
}
