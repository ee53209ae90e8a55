//! The first to open a queue after a reboot puts it in order; others wait for that. What is done is `ring/recover.rs`.

use std::fs::File;

use crate::durable::FileDisk;
use crate::error::OpenErrorKind;
use crate::layout::header::Verified;
use crate::participant::Locks;
use crate::ring::{Disk, Recovered, Ring, Unrecovered};

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

fn is_needed(ring: &Ring, verified: &Verified, boot: [u8; 16]) -> bool {
    const UNKNOWN: [u8; 16] = [0; 16];
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
        return if boot == [0; 16] {
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
    let number = i32::try_from(number).unwrap_or(libc::EIO);
    let source = std::io::Error::from_raw_os_error(number);
    OpenErrorKind::from_io("syncing the recovered queue", 0, source)
}
