//! A set of message numbers: a bitmap in memory, ranges on the wire.

use serde::{Deserialize, Serialize};

/// Numbers from 0 to a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    words: Vec<u64>,
    count: u64,
    limit: u64,
}

/// The same, as ranges `[first, last]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges(Vec<(u64, u64)>);

impl Numbers {
    /// None of those below the limit.
    pub fn below(limit: u64) -> Self {
        let words = usize::try_from(limit.div_ceil(64)).unwrap_or_default();
        Self {
            words: vec![0; words],
            count: 0,
            limit,
        }
    }

    /// Adds one; false if it is at or above the limit.
    pub fn insert(&mut self, number: u64) -> bool {
        let index = usize::try_from(number / 64).unwrap_or(usize::MAX);
        let Some(word) = self.words.get_mut(index).filter(|_| number < self.limit) else {
            return false;
        };
        let bit = 1 << (number % 64);
        self.count += u64::from(*word & bit == 0);
        *word |= bit;
        true
    }

    /// Adds all of them; those at or above the limit count for nothing.
    pub fn extend(&mut self, ranges: &Ranges) {
        for &(first, last) in &ranges.0 {
            for number in first..=last.min(self.limit) {
                self.insert(number);
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn contains(&self, number: u64) -> bool {
        let index = usize::try_from(number / 64).unwrap_or(usize::MAX);
        let word = self.words.get(index).copied().unwrap_or_default();
        word >> (number % 64) & 1 == 1
    }

    /// As ranges.
    pub fn ranges(&self) -> Ranges {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for number in (0..self.limit).filter(|&number| self.contains(number)) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        Ranges(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_survive_the_wire_and_add_up() {
        let (mut one, mut other) = (Numbers::below(200), Numbers::below(200));
        for number in [0, 1, 2, 63, 64, 199] {
            assert!(one.insert(number));
        }
        assert!(!one.insert(200));
        assert!(one.insert(64));
        assert_eq!(one.count(), 6);
        assert_eq!(one.ranges(), Ranges(vec![(0, 2), (63, 64), (199, 199)]));
        other.insert(3);
        other.insert(64);
        other.extend(&one.ranges());
        assert_eq!(other.count(), 7);
        assert_eq!(other.ranges(), Ranges(vec![(0, 3), (63, 64), (199, 199)]));
    }

    #[test]
    fn ranges_beyond_the_limit_are_cut() {
        let mut numbers = Numbers::below(10);
        numbers.extend(&Ranges(vec![(8, u64::MAX)]));
        assert_eq!(numbers.count(), 2);
    }
}
