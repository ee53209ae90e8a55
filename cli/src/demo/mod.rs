//! The demonstration: a supervisor starts producers and consumers as processes of their own, has them move messages
//! through one queue, and adds up what they report.
//!
//! `supervisor` leads, `fleet` holds the processes; `worker` is what they run; `protocol` is what the two say to each other;
//! `payload` and `numbers` check messages and their numbers; `report` adds up and prints, `progress` does so meanwhile.
//! `chaos` is the same with workers that are killed.

mod chaos;
mod fleet;
mod numbers;
mod payload;
mod progress;
mod protocol;
mod report;
mod supervisor;
mod temporary;
mod worker;

use std::ops::RangeInclusive;

pub use chaos::{Chaos, run as run_chaos};
pub use supervisor::run;
pub use worker::main as worker_main;

/// Bytes a message may have: room for the header at least, and at most what a default arena holds without effort.
pub const SIZES: RangeInclusive<u64> = payload::HEADER as u64..=16 << 20;

/// The work to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Chaos goes by time instead.
    pub messages: u64,
    pub producers: u32,
    pub consumers: u32,
    /// Bytes of a message.
    pub size: u64,
    /// Messages published or received at a time.
    pub batch: u64,
    /// Messages the queue holds.
    pub capacity: u64,
}

impl Plan {
    /// How many messages a producer publishes: numbers 0 to that, exclusive.
    pub fn share(&self, producer: u32) -> u64 {
        let producers = u64::from(self.producers);
        let extra = u64::from(u64::from(producer) < self.messages % producers);
        self.messages / producers + extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_all_the_messages() {
        for messages in [0, 1, 2, 3, 10, 11] {
            let plan = Plan {
                messages,
                producers: 3,
                consumers: 1,
                size: 64,
                batch: 1,
                capacity: 2,
            };
            let shares: Vec<_> = (0..3).map(|producer| plan.share(producer)).collect();
            assert_eq!(shares.iter().sum::<u64>(), messages);
            assert!(shares[0] - shares[2] <= 1);
        }
    }
}
