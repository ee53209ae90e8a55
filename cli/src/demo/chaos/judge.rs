//! Judges a run by what its processes said they did, however suddenly they fell silent.
//!
//! A producer says what it is about to publish before it does, and what has returned; a consumer says what it was handed,
//! when it begins to ack that, and when all of it is acked. A killed process therefore leaves one short stretch in doubt:
//! * of a producer, what it was about to publish. It may be there or not; but messages are published one after the
//!   other, so those before one that is there have to be there as well.
//! * of a consumer, the acks it had begun. Those messages may come again or not.
//!
//! Nothing else may be missing, and nothing else may come again.

use std::collections::BTreeMap;

use serde::Serialize;

use super::spans::Spans;
use crate::demo::protocol::{Publishing, Received, Run};

/// Everything that was said.
#[derive(Debug, Default)]
pub struct Judge {
    producers: BTreeMap<u32, Sent>,
    /// What consumers were handed and have not said to have acked.
    held: BTreeMap<u32, Held>,
    verdict: Verdict,
}

#[derive(Debug, Default)]
struct Held {
    runs: Vec<Run>,
    acking: bool,
}

/// The messages of one producer process, by their numbers.
#[derive(Debug, Default)]
struct Sent {
    returned: u64,
    intended: u64,
    killed: bool,
    /// Handed over for the first time.
    first: Spans,
    /// Acked at that time.
    acked: Spans,
    /// Those with more to tell.
    others: BTreeMap<u64, Story>,
}

/// What else happened to a message.
#[derive(Debug, Default)]
struct Story {
    /// Attempts after the first, by their delivery counts.
    attempts: Vec<u8>,
    /// The attempt that was acked.
    acked: Option<u8>,
    /// The last attempt whose consumer was killed after it began to ack, before it could say that it had.
    cut_off: Option<u8>,
}

/// What it comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Messages known to be published: what returned, and what arrived although a kill cut it off.
    pub published: u64,
    /// Messages a killed producer was about to publish or publishing.
    pub publishes_cut_off: u64,
    /// Of those, the ones that were published.
    pub publishes_cut_off_arrived: u64,
    /// Messages handed over, each time counted.
    pub delivered: u64,
    /// Acks that returned.
    pub acked: u64,
    /// Messages whose consumer was killed after it began to ack them, and that did not come again.
    pub acks_cut_off: u64,
    /// Deliveries that were not the first of their message.
    pub redelivered: u64,
    #[serde(flatten)]
    pub faults: Faults,
}

/// What must not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Published and never handed over.
    pub lost: u64,
    /// Not what was published, to the last bit.
    pub torn: u64,
    /// Whole, and nobody was to send it.
    pub never_sent: u64,
    /// Handed over after its ack had returned.
    pub acked_again: u64,
    /// Handed over twice as the same attempt: two held it at once.
    pub claimed_twice: u64,
    /// Handed over to a consumer that lived on, or was killed before it began to ack, and settled all the same.
    pub unsettled: u64,
}

impl Judge {
    /// A producer said what it is about to publish.
    pub fn publishing(&mut self, producer: u32, said: &Publishing) {
        let sent = self.producers.entry(producer).or_default();
        sent.returned = said.returned;
        sent.intended = said.intended;
    }

    /// A consumer said what it was handed.
    pub fn received(&mut self, consumer: u32, said: Received) {
        self.verdict.faults.torn += said.torn;
        self.verdict.delivered += said.torn;
        for run in &said.runs {
            let count = run.end - run.first;
            self.verdict.delivered += count;
            let sent = self.producers.entry(run.producer).or_default();
            if run.attempt > 1 {
                self.verdict.redelivered += count;
            }
            let twice = sent.hand_over(run);
            let already =
                (run.first..run.end).filter(|&number| sent.was_acked(number, run.attempt));
            let again = if twice > 0 { already.count() as u64 } else { 0 };
            self.verdict.faults.acked_again += again;
            self.verdict.faults.claimed_twice += twice.saturating_sub(again);
        }
        let held = self.held.entry(consumer).or_default();
        held.acking = said.acking;
        held.runs.extend(said.runs);
    }

    /// A consumer begins to ack what it was handed.
    pub fn acking(&mut self, consumer: u32) {
        self.held.entry(consumer).or_default().acking = true;
    }

    /// It has acked all of it.
    pub fn acked(&mut self, consumer: u32) {
        for run in self.held.remove(&consumer).unwrap_or_default().runs {
            self.verdict.acked += run.end - run.first;
            let sent = self.producers.entry(run.producer).or_default();
            if run.attempt == 1 {
                sent.acked.insert(run.first..run.end);
                continue;
            }
            for number in run.first..run.end {
                let story = sent.others.entry(number).or_default();
                let before = story.acked.unwrap_or(u8::MAX);
                story.acked = Some(before.min(run.attempt));
            }
        }
    }

    /// A process is gone, and said no more.
    pub fn left(&mut self, process: u32, killed: bool) {
        if let Some(sent) = self.producers.get_mut(&process) {
            sent.killed = killed;
        }
        let held = self.held.remove(&process).unwrap_or_default();
        // What it had not begun to ack has to come again, and what one that lived on never acked has no excuse.
        for run in held.runs.into_iter().filter(|_| killed && held.acking) {
            let sent = self.producers.entry(run.producer).or_default();
            for number in run.first..run.end {
                let story = sent.others.entry(number).or_default();
                story.cut_off = story.cut_off.max(Some(run.attempt));
            }
        }
    }

    /// The judgement, once all have left and the queue is empty.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = self.verdict.clone();
        self.producers
            .values()
            .for_each(|sent| sent.judge(&mut verdict));
        verdict
    }
}

impl Sent {
    /// Notes them; says how many had been handed over as this attempt before.
    fn hand_over(&mut self, run: &Run) -> u64 {
        let numbers = run.first..run.end;
        let count = run.end - run.first;
        if run.attempt <= 1 {
            return count - self.first.insert(numbers);
        }
        let mut twice = 0;
        for number in numbers {
            let attempts = &mut self.others.entry(number).or_default().attempts;
            twice += u64::from(attempts.contains(&run.attempt));
            attempts.push(run.attempt);
        }
        twice
    }

    fn was_acked(&self, number: u64, attempt: u8) -> bool {
        if attempt <= 1 {
            return self.acked.contains(number);
        }
        let story = self.others.get(&number);
        story.is_some_and(|story| story.acked == Some(attempt))
    }

    fn judge(&self, verdict: &mut Verdict) {
        let returned = if self.killed {
            self.returned
        } else {
            self.intended
        };
        let mut arrived = self.first.clone();
        for (&number, story) in &self.others {
            if !story.attempts.is_empty() {
                arrived.insert(number..number.saturating_add(1));
            }
        }
        let published = returned.max(arrived.end_below(self.intended));
        verdict.published += published;
        verdict.publishes_cut_off += self.intended - returned;
        verdict.publishes_cut_off_arrived += published - returned;
        verdict.faults.lost += published - arrived.count_below(published);
        verdict.faults.never_sent +=
            arrived.count_below(u64::MAX) - arrived.count_below(self.intended);
        for number in arrived.without(&self.acked) {
            match self.others.get(&number) {
                Some(story) if story.acked.is_some() => {}
                Some(story) if story.cut_off == Some(story.last_attempt()) => {
                    verdict.acks_cut_off += 1
                }
                _ => verdict.faults.unsettled += 1,
            }
        }
        for (&number, story) in &self.others {
            let acked = if self.acked.contains(number) {
                Some(1)
            } else {
                story.acked
            };
            let after = |attempt: &&u8| acked.is_some_and(|acked| **attempt > acked);
            verdict.faults.acked_again += story.attempts.iter().filter(after).count() as u64;
        }
    }
}

impl Story {
    fn last_attempt(&self) -> u8 {
        self.attempts.iter().copied().max().unwrap_or(1)
    }
}

impl Faults {
    /// True if there are none.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    const A: u32 = 10;
    const B: u32 = 11;

    fn sends(judge: &mut Judge, producer: u32, returned: u64, intended: u64) {
        let said = Publishing {
            returned,
            intended,
            stall_ns: 0,
        };
        judge.publishing(producer, &said);
    }

    /// Producer 0 sends 0 to 9 and leaves in peace.
    fn ten() -> Judge {
        let mut judge = Judge::default();
        sends(&mut judge, 0, 0, 10);
        sends(&mut judge, 0, 10, 10);
        judge.left(0, false);
        judge
    }

    fn gets(judge: &mut Judge, consumer: u32, producer: u32, numbers: Range<u64>, attempt: u8) {
        let run = Run {
            producer,
            first: numbers.start,
            end: numbers.end,
            attempt,
        };
        let said = Received {
            runs: vec![run],
            acking: true,
            ..Received::default()
        };
        judge.received(consumer, said);
    }

    fn faults(judge: &Judge) -> Faults {
        judge.verdict().faults
    }

    #[test]
    fn what_is_published_delivered_and_acked_is_in_order() {
        let mut judge = ten();
        gets(&mut judge, A, 0, 0..4, 1);
        judge.acked(A);
        gets(&mut judge, B, 0, 4..10, 1);
        judge.acked(B);
        judge.left(A, false);
        judge.left(B, false);
        let verdict = judge.verdict();
        assert!(verdict.faults.are_none());
        let counts = (verdict.published, verdict.delivered, verdict.acked);
        assert_eq!(counts, (10, 10, 10));
        assert_eq!(verdict.redelivered, 0);
    }

    #[test]
    fn what_returned_and_never_came_is_lost() {
        let mut judge = ten();
        gets(&mut judge, A, 0, 0..4, 1);
        gets(&mut judge, A, 0, 6..10, 1);
        judge.acked(A);
        assert_eq!(
            faults(&judge),
            Faults {
                lost: 2,
                ..Faults::default()
            }
        );
        // Killed, a producer still has returned what it said has.
        judge.left(0, true);
        assert_eq!(faults(&judge).lost, 2);
    }

    #[test]
    fn of_what_a_kill_cut_off_the_end_may_be_missing_and_nothing_before() {
        let mut judge = Judge::default();
        sends(&mut judge, 0, 5, 15);
        judge.left(0, true);
        gets(&mut judge, A, 0, 0..8, 1);
        judge.acked(A);
        let verdict = judge.verdict();
        assert!(verdict.faults.are_none());
        assert_eq!(verdict.published, 8);
        let cut_off = (verdict.publishes_cut_off, verdict.publishes_cut_off_arrived);
        assert_eq!(cut_off, (10, 3));
        gets(&mut judge, A, 0, 9..10, 1);
        judge.acked(A);
        assert_eq!(
            faults(&judge),
            Faults {
                lost: 1,
                ..Faults::default()
            }
        );
    }

    #[test]
    fn one_that_lived_on_has_published_what_it_was_about_to() {
        let mut judge = Judge::default();
        sends(&mut judge, 0, 5, 15);
        judge.left(0, false);
        gets(&mut judge, A, 0, 0..8, 1);
        judge.acked(A);
        assert_eq!(
            faults(&judge),
            Faults {
                lost: 7,
                ..Faults::default()
            }
        );
    }

    #[test]
    fn torn_messages_count() {
        let mut judge = ten();
        gets(&mut judge, A, 0, 0..10, 1);
        judge.received(
            A,
            Received {
                torn: 1,
                ..Received::default()
            },
        );
        judge.acked(A);
        assert_eq!(
            faults(&judge),
            Faults {
                torn: 1,
                ..Faults::default()
            }
        );
    }

    #[test]
    fn nobody_may_get_what_nobody_was_to_send() {
        let mut judge = ten();
        gets(&mut judge, A, 0, 0..11, 1);
        gets(&mut judge, A, 7, 3..5, 1);
        judge.acked(A);
        assert_eq!(
            faults(&judge),
            Faults {
                never_sent: 3,
                ..Faults::default()
            }
        );
    }

    #[test]
    fn what_was_acked_must_not_come_again() {
        // As the next attempt, as the same one, and whether that is acked or not.
        for (attempt, killed) in [(2, false), (1, false), (2, true), (1, true)] {
            let mut judge = ten();
            gets(&mut judge, A, 0, 0..10, 1);
            judge.acked(A);
            gets(&mut judge, B, 0, 3..5, attempt);
            if killed {
                judge.left(B, true);
            } else {
                judge.acked(B);
            }
            assert_eq!(
                faults(&judge),
                Faults {
                    acked_again: 2,
                    ..Faults::default()
                }
            );
        }
    }

    #[test]
    fn an_ack_of_a_later_attempt_counts_too() {
        let mut judge = ten();
        gets(&mut judge, A, 0, 0..10, 1);
        judge.left(A, true);
        gets(&mut judge, B, 0, 0..10, 2);
        judge.acked(B);
        assert!(faults(&judge).are_none());
        gets(&mut judge, B, 0, 9..10, 2);
        assert_eq!(faults(&judge).acked_again, 1);
        gets(&mut judge, B, 0, 8..9, 3);
        assert_eq!(faults(&judge).acked_again, 2);
    }

    #[test]
    fn two_must_not_hold_the_same() {
        let mut judge = ten();
        gets(&mut judge, A, 0, 0..10, 1);
        gets(&mut judge, B, 0, 9..10, 1);
        judge.acked(A);
        judge.acked(B);
        assert_eq!(
            faults(&judge),
            Faults {
                claimed_twice: 1,
                ..Faults::default()
            }
        );
    }

    #[test]
    fn what_a_killed_consumer_held_may_come_again_or_not() {
        let mut judge = ten();
        gets(&mut judge, A, 0, 0..10, 1);
        judge.left(A, true);
        gets(&mut judge, B, 0, 0..4, 2);
        judge.acked(B);
        let verdict = judge.verdict();
        assert!(verdict.faults.are_none());
        let counts = (
            verdict.delivered,
            verdict.redelivered,
            verdict.acked,
            verdict.acks_cut_off,
        );
        assert_eq!(counts, (14, 4, 4, 6));
    }

    #[test]
    fn what_it_had_not_begun_to_ack_has_to_come_again() {
        let mut judge = ten();
        let run = Run {
            producer: 0,
            first: 0,
            end: 10,
            attempt: 1,
        };
        let said = Received {
            runs: vec![run],
            acking: false,
            ..Received::default()
        };
        judge.received(A, said.clone());
        judge.left(A, true);
        gets(&mut judge, B, 0, 0..8, 2);
        judge.acked(B);
        let two = Faults {
            unsettled: 2,
            ..Faults::default()
        };
        assert_eq!(faults(&judge), two);
        // Unless it said later that it began.
        let mut judge = ten();
        judge.received(A, said);
        judge.acking(A);
        judge.left(A, true);
        assert!(faults(&judge).are_none());
    }

    #[test]
    fn in_which_order_the_pipes_are_read_makes_no_difference() {
        let mut judge = ten();
        gets(&mut judge, B, 0, 0..10, 3);
        judge.acked(B);
        // Not all are told of: one was killed before it could say what it was handed.
        gets(&mut judge, A, 0, 0..10, 1);
        judge.left(A, true);
        let verdict = judge.verdict();
        assert!(verdict.faults.are_none());
        assert_eq!((verdict.redelivered, verdict.acks_cut_off), (10, 0));
    }

    #[test]
    fn one_that_lived_on_has_to_ack() {
        let mut judge = ten();
        gets(&mut judge, A, 0, 0..10, 1);
        judge.left(A, true);
        gets(&mut judge, B, 0, 0..2, 2);
        judge.left(B, false);
        assert_eq!(
            faults(&judge),
            Faults {
                unsettled: 2,
                ..Faults::default()
            }
        );
    }
}
