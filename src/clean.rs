//! The last to leave a durable queue marks it as left in order, and the next to attach takes that back. The word is
//! `ring/clean.rs`'s; here are the locks and the file.

use crate::durable::{FileDisk, sync_error, sync_if_changed};
use crate::participant::{Attachment, JoinError, Locks};
use crate::recover::PATIENCE_MS;
use crate::ring::Ring;

/// How long a leaver waits for others who leave or attach, in ms; then it leaves without a mark.
const LEAVERS_PATIENCE_MS: u32 = 2000;

/// For an attacher that has its participant's lock: sees to it that the queue may be changed.
pub fn begin_use(ring: &Ring, locks: &Locks) -> Result<(), JoinError> {
    let Some(file) = locks.file().filter(|_| ring.is_durable()) else {
        return Ok(());
    };
    if ring.is_in_use() {
        return Ok(());
    }
    let begun = locks.in_order(PATIENCE_MS, || ring.begin_use(&FileDisk(file)));
    match begun.map_err(JoinError::Io)? {
        Some(synced) => synced.map_err(|number| JoinError::Io(sync_error(number))),
        None => Err(JoinError::Busy),
    }
}

/// Leaves a durable queue: what has changed is on the disk then, and the mark, if this was the last. False: it has to leave
/// like any other.
pub fn leave(attachment: &Attachment, leaked: bool) -> bool {
    let (ring, (me, held)) = (attachment.ring(), attachment.entry());
    let Some(file) = attachment.file().filter(|_| ring.is_durable()) else {
        return false;
    };
    // Not so after a death that a test pretends.
    let is_attached = ring.participant_state(me) == held;
    let mut publisher = ring.publisher(me, false);
    let mut leave = || {
        attachment.sweep();
        let others = || attachment.has_company();
        // Claims that were leaked are given back only now: as after a death, by a sweep of its own.
        let marked = !leaked && ring.leave_marked(&mut publisher, held, &FileDisk(file), others);
        if !marked {
            // What cannot be synced now was not promised either.
            sync_if_changed(ring, &mut publisher, file);
            attachment.leave();
        }
        // Before the other lock: who waits for that looks for this.
        attachment.end_life();
    };
    let locks = attachment.locks();
    if is_attached
        && matches!(
            locks.in_order(LEAVERS_PATIENCE_MS, &mut leave),
            Ok(Some(()))
        )
    {
        return true;
    }
    sync_if_changed(ring, &mut publisher, file);
    false
}
