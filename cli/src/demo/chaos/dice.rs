//! Random numbers that a seed repeats.

use crate::demo::payload::{STEP, mix};

/// SplitMix64.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Those of this seed, and of this one of its uses.
    pub fn new(seed: u64, used_for: u64) -> Self {
        Self(mix(seed) ^ mix(!used_for))
    }

    fn draw(&mut self) -> u64 {
        let drawn = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        drawn
    }

    /// One of 0 to `limit`, exclusive; 0 if there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw().checked_rem(limit).unwrap_or_default()
    }

    /// How long until the next of events that come at this rate, independently of each other.
    pub fn seconds_to_next(&mut self, per_second: f64) -> f64 {
        let unit = (self.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - unit).ln() / per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed, used_for| {
            let mut dice = Dice::new(seed, used_for);
            [(); 8].map(|()| dice.below(1000))
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(2, 1));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_eq!(Dice::new(1, 2).below(0), 0);
    }

    #[test]
    fn events_come_at_their_rate() {
        let mut dice = Dice::new(7, 7);
        let sum: f64 = (0..10_000).map(|_| dice.seconds_to_next(4.0)).sum();
        assert!((2200.0..2800.0).contains(&sum), "{sum}");
    }
}
