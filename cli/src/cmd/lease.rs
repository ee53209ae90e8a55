//! Keeping claims while they are worked on, in a group where they would end by themselves.

use std::time::{Duration, Instant};

use slipring::Delivery;

/// When to prolong claims.
#[derive(Debug)]
pub struct Lease {
    /// How long a claim lasts; `None`: as long as this process lives.
    timeout: Option<Duration>,
    due: Instant,
}

impl Lease {
    /// Of a group whose claims last so long.
    pub fn new(timeout: Option<Duration>) -> Self {
        Self {
            timeout,
            due: Instant::now(),
        }
    }

    /// How long nothing needs to be prolonged; `None`: ever.
    pub fn rest(&self) -> Option<Duration> {
        self.timeout
            .map(|_| self.due.saturating_duration_since(Instant::now()))
    }

    /// Prolongs what this consumer holds, if a third of the time has passed since it last did.
    pub fn prolong<'d>(&mut self, held: impl IntoIterator<Item = &'d Delivery<'d>>) {
        let Some(timeout) = self.timeout.filter(|_| self.due <= Instant::now()) else {
            return;
        };
        for delivery in held {
            // Whoever settles it later is told that it was too late.
            let _lost = delivery.extend(timeout);
        }
        self.due = Instant::now() + (timeout / 3).max(Duration::from_millis(1));
    }
}
