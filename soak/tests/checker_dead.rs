//! Goal: the checker accepts what may happen to leases and to the dead, and rejects every broken promise, each by its own
//! rule.
//! Method: as `checker.rs`, with stories about the groups `limited` (4: three deliveries, a queue for the dead), `parking`
//! (6: two deliveries, none) and `leased` (8: four deliveries, a queue for the dead, 150 ms).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use common::{TWO, broken};
use slipring_soak::check::Rule;

/// The second message is of no interest.
fn of(group: u64, story: &str) -> Vec<Rule> {
    let others = [0, 1, 2, 4, 6, 8].into_iter().filter(|&g| g != group);
    let second = format!(
        "worker 500
        8000 joining {group}
        8001 receiving {group} 0
        8002 received 1 {group} 6 1 1 1 1
        8003 settling 1 0
        8004 settled 1 1
        "
    );
    let others: Vec<u64> = others.collect();
    broken(&format!("{TWO}{second}{story}"), &others, 2)
}

/// Message 5 handed to worker 2 again and again: when, how it ended, and whether that was done.
fn deliveries(group: u64, ends: &[(u64, u64, u64)]) -> String {
    let mut story = format!("worker 2\n90 joining {group}\n");
    for (count, (at, how, held)) in (1..).zip(ends) {
        let [came, ending, ended] = [at + 1, at + 2, at + 3];
        story += &format!(
            "{at} receiving {group} 0
            {came} received {count} {group} 5 {count} 1 0 1
            {ending} settling {count} {how}
            {ended} settled {count} {held}\n"
        );
    }
    story
}

const ACK: u64 = 0;
const NACK: u64 = 3;
const RELEASE: u64 = 4;
const REJECT: u64 = 6;

/// Message 5 of group 4 fails three times.
fn fails() -> String {
    deliveries(4, &[(100, NACK, 1), (110, NACK, 1), (120, NACK, 1)])
}

const LETTER: &str = "worker 3\n200 letter 0 4 5 3 0 1 0 1\n";

#[test]
fn a_message_that_fails_and_is_read_among_the_dead_is_accepted() {
    assert_eq!(of(4, &format!("{}{LETTER}", fails())), []);
    let rejected = deliveries(4, &[(100, NACK, 1), (110, REJECT, 1)]);
    let letter = LETTER.replace("5 3 0", "5 2 1");
    assert_eq!(of(4, &format!("{rejected}{letter}")), []);
    // Read twice: its first reader died.
    assert_eq!(of(4, &format!("{}{LETTER}{LETTER}", fails())), []);
}

#[test]
fn a_message_that_is_silently_gone_is_found() {
    assert_eq!(of(4, ""), [Rule::Accounted]);
    assert_eq!(of(4, &fails()), [Rule::Accounted]);
    assert_eq!(
        of(8, &deliveries(8, &[(100, REJECT, 1)])),
        [Rule::Accounted]
    );
    let parked = deliveries(6, &[(100, REJECT, 1)]);
    assert_eq!(of(6, &parked), [Rule::Accounted]);
    let undecided =
        format!("{parked}worker 3\n200 parked 6 5 1 1\n210 deciding 6 5 0\n220 decided");
    assert_eq!(of(6, &format!("{undecided} 0")), [Rule::Accounted]);
    assert_eq!(of(6, &format!("{undecided} 1")), []);
}

#[test]
fn a_letter_nobody_sent_is_found() {
    let letter = |story: &str| of(4, &format!("{story}{LETTER}"));
    // Delivered twice only.
    let twice = deliveries(4, &[(100, NACK, 1), (110, NACK, 1)]);
    assert_eq!(letter(&twice), [Rule::DeadRightly]);
    // Given back uncounted.
    let released = deliveries(4, &[(100, NACK, 1), (110, RELEASE, 1)]);
    let third = released.clone()
        + "120 receiving 4 0\n121 received 9 4 5 2 1 0 1\n122 settling 9 3\n123 settled 9 1\n";
    assert_eq!(letter(&third), [Rule::DeadRightly]);
    // Unless somebody died who may have had it.
    let dead = "worker 7\n50 joining 4\n60 receiving 4 0\ndied 70 115\n";
    assert_eq!(letter(&format!("{twice}{dead}")), []);
    // Nobody rejected it.
    let rejected = LETTER.replace("5 3 0", "5 3 1");
    assert_eq!(
        of(4, &format!("{}{rejected}", fails())),
        [Rule::DeadRightly]
    );
}

#[test]
fn where_there_are_leases_a_retried_message_dies_with_a_higher_count() {
    let failed: Vec<_> = (0..5).map(|n| (100 + 10 * n, NACK, 1)).collect();
    let five = deliveries(8, &failed);
    let letter = "200 letter 0 8 5 5 0 1 0 1\n";
    let retried = "worker 3\n134 deciding 8 5 1\n138 decided 1\n";
    assert_eq!(of(8, &format!("{five}{retried}{letter}")), []);
    let alone = of(8, &format!("{five}worker 3\n{letter}"));
    assert!(alone.contains(&Rule::DeadRightly), "{alone:?}");
}

#[test]
fn a_letter_that_says_what_is_not_true_is_found() {
    let changed = |from, to| of(4, &format!("{}{}", fails(), LETTER.replace(from, to)));
    assert!(changed("4 5 3 0 1 0 1", "4 5 2 0 1 0 1").contains(&Rule::DeadRightly));
    assert!(changed("4 5 3 0 1 0 1", "4 5 3 0 1 0 0").contains(&Rule::DeadRightly));
    assert!(changed("4 5 3 0 1 0 1", "6 5 3 0 1 0 1").contains(&Rule::DeadRightly));
    assert!(changed("4 5 3 0 1 0 1", "4 6 3 0 1 0 1").contains(&Rule::OneSequence));
    assert!(changed("4 5 3 0 1 0 1", "4 5 3 0 1 7 1").contains(&Rule::Attempted));
}

#[test]
fn a_parked_message_that_should_not_be_is_found() {
    let told = |parked: &str| {
        let story = deliveries(6, &[(100, NACK, 1), (110, NACK, 1)]);
        let decided = "210 deciding 6 5 0\n220 decided 1\n";
        of(
            6,
            &format!("{story}worker 3\n200 parked {parked}\n{decided}"),
        )
    };
    assert_eq!(told("6 5 2 0"), []);
    assert_eq!(told("6 5 1 0"), [Rule::DeadRightly]);
    assert_eq!(told("6 5 2 1"), [Rule::DeadRightly]);
}

#[test]
fn two_copies_are_found_unless_somebody_died_burying() {
    let second = LETTER.replace("letter 0", "letter 1");
    let two = format!("{}{LETTER}{second}", fails());
    assert_eq!(of(4, &two), [Rule::OneCopy]);
    let dead = "worker 7\n50 joining 4\n60 receiving 4 0\ndied 150 160\n";
    assert_eq!(of(4, &format!("{two}{dead}")), []);
    // Long before it was published, or after.
    let early = "worker 7\n1 joining 4\n2 receiving 4 0\ndied 3 5\n";
    assert_eq!(of(4, &format!("{two}{early}")), [Rule::OneCopy]);
}

#[test]
fn more_deliveries_than_allowed_are_found() {
    let four = deliveries(4, &[(100, NACK, 1), (110, NACK, 1), (120, RELEASE, 1)]);
    let fourth = |count| {
        format!(
            "{four}130 receiving 4 0
            131 received 9 4 5 {count} 1 0 1
            132 settling 9 0
            133 settled 9 1\n"
        )
    };
    assert_eq!(of(4, &fourth(3)), []);
    assert!(of(4, &fourth(4)).contains(&Rule::Limit));
    // Three deliveries that count, and another.
    let four = fourth(3).replace("settling 3 4", "settling 3 3");
    assert!(of(4, &four).contains(&Rule::Limit));
}

/// Message 5 of group 6 fails twice, is parked, and comes again.
fn comes_again(decision: &str) -> String {
    let story = deliveries(6, &[(100, NACK, 1), (110, NACK, 1)]);
    format!(
        "{story}230 receiving 6 0
        231 received 9 6 5 1 1 0 1
        232 settling 9 0
        233 settled 9 1
        worker 3
        200 parked 6 5 2 0
        {decision}\n"
    )
}

#[test]
fn the_dead_that_come_again_are_found_unless_they_were_given_back() {
    assert_eq!(of(6, &comes_again("210 deciding 6 5 1\n220 decided 1")), []);
    assert_eq!(of(6, &comes_again("210 deciding 6 5 1\ndied 215 220")), []);
    let not_given_back = of(6, &comes_again("210 deciding 6 5 1\n220 decided 0"));
    assert!(not_given_back.contains(&Rule::DeadIsFinal));
    let later = of(6, &comes_again("310 deciding 6 5 1\n320 decided 1"));
    assert!(later.contains(&Rule::DeadIsFinal));
    let dropped = of(6, &comes_again("210 deciding 6 5 0\n220 decided 1"));
    assert!(dropped.contains(&Rule::DeadIsFinal));
    // From the queue of the dead nothing comes back.
    let read = format!(
        "{LETTER}worker 4
        290 joining 4
        300 receiving 4 0
        301 received 9 4 5 3 1 0 1
        302 settling 9 4
        303 settled 9 1\n"
    );
    let unfinished = deliveries(4, &[(100, NACK, 1), (110, NACK, 1)]);
    let slipped = "worker 7
        119 joining 4
        120 receiving 4 0
        121 received 1 4 5 3 1 0 1
        122 settling 1 3
        died 124 125\n";
    let found = of(4, &format!("{unfinished}{slipped}{read}"));
    assert!(!found.contains(&Rule::DeadIsFinal), "{found:?}");
    let alive = slipped.replace("died 124 125", "123 settled 1 1");
    assert!(of(4, &format!("{unfinished}{alive}{read}")).contains(&Rule::DeadIsFinal));
}

#[test]
fn two_ends_of_a_message_are_found() {
    let story = deliveries(6, &[(100, REJECT, 1)]);
    let dropped = "worker 3\n200 deciding 6 5 0\n210 decided 1\n";
    assert_eq!(of(6, &format!("{story}{dropped}")), []);
    assert_eq!(of(6, &format!("{story}{dropped}{dropped}")), [Rule::OneEnd]);
    let acked = deliveries(4, &[(100, NACK, 1), (110, NACK, 1), (120, ACK, 1)]);
    assert!(of(4, &format!("{acked}{LETTER}")).contains(&Rule::OneEnd));
}

#[test]
fn what_a_forked_child_says_is_not_its_parents_time() {
    let story = both(200, 210, 0, ACK);
    let forked = story.replacen("101 received", "105 forked\n101 received", 1);
    assert_eq!(of(8, &forked), []);
}

/// Two consumers have message 5 of group 8, the second one after `second` ms; the first one ends it after `first` ms.
fn both(second: u64, first: u64, held: u64, how: u64) -> String {
    let [came, end] = [second * 1_000_000, first * 1_000_000];
    let [asked, done, acking, acked] =
        [came - 10, end + 10, came + 400_000_000, came + 400_000_010];
    format!(
        "worker 2
        90 joining 8
        100 receiving 8 0
        101 received 1 8 5 1 1 0 1
        {end} settling 1 {how}
        {done} settled 1 {held}
        worker 3
        91 joining 8
        {asked} receiving 8 0
        {came} received 1 8 5 2 1 0 1
        {acking} settling 1 0
        {acking} settled 1 0
        {acked} receiving 8 0
        {acked} received 2 8 5 3 1 0 1
        {acked} settling 2 0
        {acked} settled 2 1\n"
    )
}

#[test]
fn a_lease_that_runs_out_is_accepted() {
    assert_eq!(of(8, &both(200, 210, 0, ACK)), []);
    assert_eq!(of(8, &both(200, 180, 0, ACK)), []);
    // A tick of its clock early.
    assert_eq!(of(8, &both(140, 145, 0, ACK)), []);
    // It gives the message back in time.
    assert_eq!(of(8, &both(20, 10, 1, NACK)), []);
}

#[test]
fn a_lease_that_ends_early_is_found() {
    // Taken from a holder that had it for another 60 ms; the other would have had it for as long.
    assert_eq!(of(8, &both(90, 200, 0, ACK)), [Rule::Lease]);
    // The refusal shows it, too.
    assert_eq!(of(8, &both(200, 90, 0, ACK)), [Rule::Lease]);
    let extended = |ms: u64, held: u64| {
        let extension = format!("102 extending 1 {ms}\n103 extended 1 {held}\n");
        let story = both(200, 210, 0, ACK);
        of(
            8,
            &story.replacen(
                "210000000 settling",
                &format!("{extension}210000000 settling"),
                1,
            ),
        )
    };
    assert_eq!(extended(300, 1), [Rule::Lease]);
    assert_eq!(extended(150, 1), []);
    assert_eq!(extended(300, 0), [Rule::Lease]);
}

#[test]
fn a_late_ack_that_succeeds_is_found() {
    let found = of(8, &both(200, 210, 1, ACK));
    assert!(found.contains(&Rule::OneEnd), "{found:?}");
    let story = both(200, 210, 1, ACK);
    let refused = story.replacen(
        "210000000 settling",
        "205000000 extending 1 9\n205000001 extended 1 0\n210000000 settling",
        1,
    );
    assert!(of(8, &refused).contains(&Rule::Lease));
}

#[test]
fn what_one_holder_acked_and_a_later_one_gets_is_found() {
    let story = both(200, 100, 1, ACK);
    assert!(of(8, &story).contains(&Rule::AckedIsFinal));
    // Who had it before, and could not say so, did not get it after.
    let late = "worker 4
        92 joining 8
        95 receiving 8 0
        300000000 received 1 8 5 1 1 0 1
        300000001 settling 1 4
        300000002 settled 1 0
        worker 5
        93 joining 8
        199000000 receiving 8 0
        200000000 received 1 8 5 2 1 0 1
        200000001 settling 1 0
        200000002 settled 1 1\n";
    assert_eq!(of(8, late), []);
}
