//! The sequences that an exclusive group's consumer has guards of.
//!
//! The one handed over last stands apart: who ends each guard before the next touches nothing else.

use std::collections::VecDeque;

/// Sequences, each as often as it was put in.
#[derive(Debug, Default)]
pub(super) struct Held {
    last: Option<u64>,
    /// The others, ascending.
    others: VecDeque<u64>,
}

impl Held {
    #[inline(always)]
    pub(super) fn insert(&mut self, sequence: u64) {
        if let Some(before) = self.last.replace(sequence) {
            self.insert_other(before);
        }
    }

    #[inline(never)]
    fn insert_other(&mut self, sequence: u64) {
        if self.others.back().is_none_or(|&last| last <= sequence) {
            self.others.push_back(sequence);
        } else {
            let at = self.others.partition_point(|&held| held <= sequence);
            self.others.insert(at, sequence);
        }
    }

    /// Takes it out once, if it is there.
    pub(super) fn remove(&mut self, sequence: u64) {
        if self.others.front() == Some(&sequence) {
            self.others.pop_front();
        } else if self.last == Some(sequence) {
            self.last = None;
        } else {
            let at = self.others.partition_point(|&held| held < sequence);
            if self.others.get(at) == Some(&sequence) {
                self.others.remove(at);
            }
        }
    }

    /// Takes it out if it is all there is.
    #[inline(always)]
    pub(super) fn remove_only(&mut self, sequence: u64) -> bool {
        let only = self.last == Some(sequence) && self.others.is_empty();
        if only {
            self.last = None;
        }
        only
    }

    /// The lowest.
    pub(super) fn first(&self) -> Option<u64> {
        let other = self.others.front().copied();
        match (self.last, other) {
            (Some(last), Some(other)) => Some(last.min(other)),
            (last, other) => last.or(other),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none() && self.others.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::Held;

    fn held(sequences: &[u64]) -> Held {
        let mut held = Held::default();
        for &sequence in sequences {
            held.insert(sequence);
        }
        held
    }

    #[test]
    fn the_lowest_is_known_in_whatever_order_they_come_and_go() {
        let mut held = held(&[7, 8, 9, 5, 6]);
        for (sequence, left) in [(7, 5), (5, 6), (9, 6), (6, 8)] {
            held.remove(sequence);
            assert_eq!(held.first(), Some(left));
        }
        held.remove(8);
        assert!(held.is_empty() && held.first().is_none());
    }

    #[test]
    fn what_was_put_in_twice_is_there_until_it_is_taken_out_twice() {
        let mut held = held(&[3, 4, 3]);
        held.remove(3);
        assert_eq!(held.first(), Some(3));
        held.remove(3);
        held.remove(3);
        assert_eq!(held.first(), Some(4));
    }

    #[test]
    fn only_what_is_alone_is_taken_out_as_such() {
        let mut held = held(&[3, 4]);
        assert!(!held.remove_only(3) && !held.remove_only(4));
        held.remove(3);
        assert!(held.remove_only(4) && held.is_empty());
        assert!(!held.remove_only(4));
    }
}
