//! A set of numbers that mostly follow each other: it takes the room of its gaps, however many there are in it.

use std::collections::BTreeMap;
use std::ops::Range;

/// First number to end, exclusive; no two touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// Adds them, and says how many are new.
    pub fn insert(&mut self, added: Range<u64>) -> u64 {
        if added.is_empty() {
            return 0;
        }
        let (mut start, mut end) = (added.start, added.end);
        let mut known = 0;
        // Whatever touches it becomes a part of it.
        while let Some((&first, &past)) = self.0.range(..=end).next_back()
            && past >= start
        {
            self.0.remove(&first);
            known += past.min(added.end).saturating_sub(first.max(added.start));
            (start, end) = (start.min(first), end.max(past));
        }
        self.0.insert(start, end);
        added.end - added.start - known
    }

    pub fn contains(&self, number: u64) -> bool {
        let before = self.0.range(..=number).next_back();
        before.is_some_and(|(_, &past)| number < past)
    }

    /// How many there are below a limit.
    pub fn count_below(&self, limit: u64) -> u64 {
        let below = self.0.range(..limit);
        below.map(|(first, past)| past.min(&limit) - first).sum()
    }

    /// One past the highest below a limit; 0 if there is none.
    pub fn end_below(&self, limit: u64) -> u64 {
        let last = self.0.range(..limit).next_back();
        last.map_or(0, |(_, &past)| past.min(limit))
    }

    /// Those that another set lacks.
    pub fn without(&self, other: &Self) -> impl Iterator<Item = u64> {
        let all = self.0.iter();
        all.flat_map(|(&first, &past)| other.gaps(first..past))
            .flatten()
    }

    fn gaps(&self, within: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = within.start;
        let before = self.0.range(..=at).next_back();
        let after = self
            .0
            .range(at.saturating_add(1)..within.end.max(at.saturating_add(1)));
        for (&first, &past) in before.into_iter().chain(after) {
            if at < first {
                gaps.push(at..first);
            }
            at = at.max(past);
        }
        if at < within.end {
            gaps.push(at..within.end);
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::demo::chaos::dice::Dice;

    #[test]
    fn it_is_a_set() {
        let mut dice = Dice::new(3, 3);
        for _ in 0..200 {
            let (mut spans, mut set) = (Spans::default(), BTreeSet::new());
            let mut other = Spans::default();
            for _ in 0..dice.below(30) {
                let first = dice.below(100);
                let added = first..first + dice.below(12);
                let new = added.clone().filter(|&number| set.insert(number)).count() as u64;
                assert_eq!(spans.insert(added), new);
                other.insert(first + 5..first + 9);
            }
            assert!((0..120).all(|number| spans.contains(number) == set.contains(&number)));
            let limit = dice.below(120);
            assert_eq!(spans.count_below(limit), set.range(..limit).count() as u64);
            let last = set.range(..limit).next_back();
            assert_eq!(spans.end_below(limit), last.map_or(0, |last| last + 1));
            let lacking = set
                .iter()
                .copied()
                .filter(|&number| !other.contains(number));
            assert!(spans.without(&other).eq(lacking));
        }
    }

    #[test]
    fn neighbours_become_one() {
        let mut spans = Spans::default();
        for added in [0..10, 20..30, 10..20] {
            assert_eq!(spans.insert(added), 10);
        }
        assert_eq!(spans.0.len(), 1);
        assert_eq!(spans.insert(5..35), 5);
    }
}
