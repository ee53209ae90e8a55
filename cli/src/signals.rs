//! SIGINT and SIGTERM: the first asks for an end in good order, a second one ends the process at once (which loses
//! nothing: what it held goes to another consumer).

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The longest wait that looks for signals only at its end.
pub const SLICE: Duration = Duration::from_millis(100);

static CAUGHT: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(signal: c_int) {
    CAUGHT.store(signal, Ordering::Relaxed);
}

/// From now on, signals are noted. Those that whoever started us wants ignored stay so.
pub fn install() -> anyhow::Result<()> {
    // Without SA_RESTART, so that a blocked read or write returns; with SA_RESETHAND, so that a second signal kills.
    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESETHAND,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler stores to an atomic, which is async-signal-safe.
        let before = unsafe { sigaction(signal, &action) }.context("installing signal handlers")?;
        if matches!(before.handler(), SigHandler::SigIgn) {
            // SAFETY: puts back what was there before.
            unsafe { sigaction(signal, &before) }.context("installing signal handlers")?;
        }
    }
    Ok(())
}

/// The signal that asked us to stop, if one did.
pub fn caught() -> Option<u8> {
    u8::try_from(CAUGHT.load(Ordering::Relaxed))
        .ok()
        .filter(|&signal| signal != 0)
}

/// Sleeps until then, or until a signal; false for a signal.
pub fn sleep_until(then: Instant) -> bool {
    while caught().is_none() {
        let rest = then.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return true;
        }
        std::thread::sleep(rest.min(SLICE));
    }
    false
}
