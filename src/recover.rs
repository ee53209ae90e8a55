//! The first to open a queue after a reboot puts it in order; others wait for that. What is done is `ring/recover.rs`.

use std::fmt;
use std::fs::File;

use crate::durable::{FileDisk, sync_error};
use crate::error::OpenErrorKind;
use crate::layout::geometry::control;
use crate::layout::header::Verified;
use crate::layout::{Durability, Offset};
use crate::participant::Locks;
use crate::ring::{Disk, Recovered, Ring, Unrecovered, recovered_in};
use crate::sys;

/// How long an opener waits for another one's recovery, in ms.
pub const PATIENCE_MS: u32 = 60_000;

/// Puts the queue in order, if this boot has not done so yet.
pub fn after_reboot(
    ring: &Ring,
    verified: &Verified,
    locks: &Locks,
    boot: [u8; 16],
) -> Result<Option<Recovered>, OpenErrorKind> {
    let Some(file) = locks.file().filter(|_| is_needed(ring, verified, boot)) else {
        return Ok(None);
    };
    let io = |operation| move |source| OpenErrorKind::from_io(operation, 0, source);
    let recovered = locks.in_order(PATIENCE_MS, || {
        // Somebody else may have done it meanwhile.
        if is_needed(ring, verified, boot) {
            recover(ring, verified, locks, file, boot)
        } else {
            Ok(None)
        }
    });
    let recovered = recovered.map_err(io("locking for recovery"))?;
    recovered.unwrap_or(Err(OpenErrorKind::Recovering))
}

/// Of a system that does not tell.
const UNKNOWN: [u8; 16] = [0; 16];

fn is_needed(ring: &Ring, verified: &Verified, boot: [u8; 16]) -> bool {
    if boot == UNKNOWN {
        // There may have been a reboot: a durable queue loses nothing by being put in order once too often.
        return verified.durability.is_durable();
    }
    ring.recovered_in().unwrap_or(Some(verified.boot_id)) != Some(boot)
}

fn recover(
    ring: &Ring,
    verified: &Verified,
    locks: &Locks,
    file: &File,
    boot: [u8; 16],
) -> Result<Option<Recovered>, OpenErrorKind> {
    if ring
        .geometry()
        .participant_ids()
        .any(|id| locks.is_attached(id))
    {
        return if boot == UNKNOWN {
            Ok(None)
        } else {
            Err(OpenErrorKind::OtherBoot)
        };
    }
    if verified.durability.is_durable() {
        let recovered = ring.recover(&verified.queue_id, &boot, &FileDisk(file));
        return recovered.map(Some).map_err(|why| match why {
            Unrecovered::Damage(damage) => OpenErrorKind::Format(damage.into()),
            Unrecovered::Sync(number) => not_synced(number),
        });
    }
    let mut recovered = ring.drop_messages();
    FileDisk(file).sync().map_err(not_synced)?;
    recovered.epoch = ring.stamp_boot(&boot);
    FileDisk(file).sync().map_err(not_synced)?;
    Ok(Some(recovered))
}

fn not_synced(number: u64) -> OpenErrorKind {
    OpenErrorKind::from_io("syncing the recovered queue", 0, sync_error(number))
}

/// What the next opener does with a file that was last used in another boot. Until then the file is what the disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PendingRecovery {
    /// Takes it as it is: it was left in order.
    Clean,
    /// Looks for what is whole: of what was not confirmed durable any part may be missing.
    Recover,
    /// Drops all messages: it was made without durability.
    Drop,
}

impl PendingRecovery {
    /// Of a file with these words. `None`: it was last used in this boot, or which boot this is cannot be told.
    pub(crate) fn of(
        word: impl Fn(Offset) -> u64,
        made_in: [u8; 16],
        durability: Durability,
    ) -> Option<Self> {
        let boot = sys::boot_id();
        let used_in = recovered_in(&word).unwrap_or(Some(made_in));
        if boot == UNKNOWN || used_in == Some(boot) {
            return None;
        }
        Some(match word(control::CLEAN) {
            _ if !durability.is_durable() => Self::Drop,
            1 => Self::Clean,
            _ => Self::Recover,
        })
    }

    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Recover => "recover",
            Self::Drop => "drop",
        }
    }
}

impl fmt::Display for PendingRecovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => {
                "last used in another boot and left in order, not opened since: what is shown is what the disk has"
            }
            Self::Recover => {
                "last used in another boot, not recovered yet: what is shown is what the disk has, and parts may be missing"
            }
            Self::Drop => {
                "last used in another boot, without durability: what is shown is what the disk has, and the next opener \
                 drops all messages"
            }
        })
    }
}
