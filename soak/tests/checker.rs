//! Goal: the checker accepts what may happen, and rejects every broken promise, each by its own rule.
//! Method: histories written by hand, as the workers would have said them. The groups a story does not speak of are
//! filled in. What is said of leases and of the dead: `checker_dead.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use common::{TWO, elsewhere, journals};
use slipring_soak::check::{History, Rule, Sample, check};
use slipring_soak::group::Group;

/// The rules broken by this story, where `groups` and those with limits are filled in.
fn broken(story: &str, groups: &[u64], messages: u64) -> Vec<Rule> {
    common::broken(story, &[groups, &[4, 6, 8]].concat(), messages)
}

/// A story about the group `default` and two messages.
fn of_default(story: &str) -> Vec<Rule> {
    broken(&format!("{TWO}{story}"), &[1, 2], 2)
}

/// The same about the exclusive group `log`.
fn of_log(story: &str) -> Vec<Rule> {
    broken(&format!("{TWO}{story}"), &[0, 2], 2)
}

const TAKES_BOTH: &str = "worker 2
    100 joining 0
    110 receiving 0 0
    120 received 0 0 5 1 1 0 1
    130 settling 0 0
    140 settled 0 1
    150 receiving 0 0
    160 received 1 0 6 1 1 1 1
    170 settling 1 0
    180 settled 1 1
";

#[test]
fn what_a_calm_run_does_is_accepted() {
    assert_eq!(of_default(TAKES_BOTH), []);
    assert_eq!(
        of_log(
            &TAKES_BOTH
                .replace(" 0 5 1", " 1 5 1")
                .replace(" 0 6 1", " 1 6 1")
                .replace("joining 0", "joining 1")
                .replace("receiving 0", "receiving 1")
        ),
        []
    );
}

#[test]
fn a_death_and_what_follows_it_is_accepted() {
    let story = "worker 2
        100 joining 0
        110 receiving 0 0
        120 received 0 0 5 1 1 0 1
        121 receiving 0 1
        122 received 1 0 6 1 1 1 1
        died 200 210
        worker 3
        190 joining 0
        195 receiving 0 0
        205 received 0 0 5 2 1 0 1
        210 settling 0 3
        211 settled 0 1
        212 receiving 0 1
        213 received 1 0 5 3 1 0 1
        214 received 2 0 6 2 1 1 1
        215 settling 2 4
        216 settled 2 1
        217 settling 1 0
        218 settled 1 1
        219 batch-over 0 1
        220 receiving 0 0
        221 received 3 0 6 2 1 1 1
        230 settling 3 0
        died 240 250
    ";
    assert_eq!(of_default(story), []);
}

#[test]
fn what_a_dead_producer_left_may_be_there_or_not() {
    let dead = "worker 1
        10 publishing 0 2
        died 20 30
    ";
    assert_eq!(broken(dead, &[], 0), []);
    assert_eq!(broken(dead, &[0, 1, 2], 1), []);
    assert_eq!(broken(dead, &[0, 1, 2], 2), []);
    // Delivered to one group, it is owed to all.
    assert_eq!(broken(dead, &[0, 1], 2), [Rule::Delivered]);
}

#[test]
fn a_message_that_was_published_and_not_delivered_is_found() {
    assert_eq!(of_default(""), [Rule::Delivered]);
    let without_the_second: String = TAKES_BOTH
        .lines()
        .take(6)
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(of_default(&without_the_second), [Rule::Delivered]);
}

#[test]
fn a_message_that_was_delivered_and_never_acked_is_found() {
    assert_eq!(
        of_default(&TAKES_BOTH.replace("settling 1 0", "settling 1 4")),
        [Rule::Delivered]
    );
}

#[test]
fn a_message_nobody_published_is_found() {
    let story = format!(
        "{TAKES_BOTH}
        190 receiving 0 0
        200 received 2 0 7 1 1 2 1
        210 settling 2 0
        220 settled 2 1"
    );
    assert_eq!(of_default(&story), [Rule::Attempted]);
    let seen = "worker 4\n300 peeked 7 1 2 1";
    assert_eq!(
        of_default(&format!("{TAKES_BOTH}{seen}")),
        [Rule::Attempted]
    );
}

#[test]
fn a_message_that_was_refused_and_delivered_is_found() {
    let story = TWO.replace("40 published 1 6 6", "40 refused 1");
    let story = format!("{story}{TAKES_BOTH}");
    assert_eq!(broken(&story, &[1, 2], 2), [Rule::Attempted]);
}

#[test]
fn a_message_that_was_not_begun_when_it_came_is_found() {
    let story = TAKES_BOTH
        .replace("150 receiving", "15 receiving")
        .replace("160 received", "25 received");
    assert!(of_default(&story).contains(&Rule::Attempted));
}

#[test]
fn a_torn_message_is_found() {
    assert_eq!(
        of_default(&TAKES_BOTH.replace("1 1 1 1", "1 1 1 0")),
        [Rule::Whole]
    );
    let seen = "worker 4\n300 peeked 6 1 1 0";
    assert_eq!(of_default(&format!("{TAKES_BOTH}{seen}")), [Rule::Whole]);
}

#[test]
fn a_sequence_used_twice_is_found() {
    let told = TWO.replace("published 1 6 6", "published 1 5 5");
    assert!(broken(&format!("{told}{TAKES_BOTH}"), &[1, 2], 2).contains(&Rule::OneSequence));
    // A message delivered in two places.
    assert!(of_default(&TAKES_BOTH.replace("0 6 1 1 1", "0 6 1 1 0")).contains(&Rule::OneSequence));
    // A sequence of an earlier epoch.
    let old = TWO.replace("published 0 5 5", "published 0 4 4");
    assert!(broken(&format!("{old}{TAKES_BOTH}"), &[1, 2], 2).contains(&Rule::OneSequence));
}

#[test]
fn a_later_publish_with_a_lower_sequence_is_found() {
    let swapped = "worker 7
        50 publishing 0 1
        60 published 0 6 6
        worker 8
        70 publishing 0 1
        80 published 0 5 5";
    assert!(broken(swapped, &[], 2).contains(&Rule::PublishOrder));
    // At the same time, they may.
    let together = swapped.replace("70 publishing", "55 publishing");
    assert!(!broken(&together, &[], 2).contains(&Rule::PublishOrder));
    let batch = "worker 1
        10 publishing 0 2
        20 published 0 6 5";
    assert!(broken(batch, &[], 2).contains(&Rule::PublishOrder));
}

#[test]
fn more_holes_than_deaths_are_found() {
    let story = format!("{TWO}{TAKES_BOTH}{}", elsewhere(&[1, 2, 4, 6, 8], 2));
    let check_with = |died: &str, end| {
        let history = History {
            journals: journals(&format!("{story}{died}")),
            samples: Vec::new(),
            sequences: (5, end),
        };
        let (violations, tally) = check(&history);
        (
            violations.iter().map(|v| v.rule).collect::<Vec<_>>(),
            tally.holes,
        )
    };
    assert_eq!(check_with("", 8), (vec![Rule::Holes], 1));
    assert_eq!(check_with("worker 77\ndied 5 6", 8), (vec![], 1));
    assert_eq!(check_with("worker 77\ndied 5 6", 9), (vec![Rule::Holes], 2));
}

/// The second consumer has what the first one still holds.
const BOTH_HOLD: &str = "worker 2
    100 joining 0
    110 receiving 0 0
    120 received 0 0 5 1 1 0 1
    150 settling 0 5
    160 settled 0 1
    worker 3
    110 joining 0
    112 receiving 0 0
    130 received 0 0 5 1 1 0 1
    170 settling 0 0
    180 settled 0 1
    190 receiving 0 0
    200 received 1 0 6 1 1 1 1
    210 settling 1 0
    220 settled 1 1
";

#[test]
fn two_live_claims_are_found() {
    assert_eq!(of_default(BOTH_HOLD), [Rule::OneClaim]);
    // It gives the message back before the other has it: the settling began in time.
    assert_eq!(
        of_default(
            &BOTH_HOLD
                .replace("150 settling", "125 settling")
                .replace("160 settled", "126 settled")
        ),
        []
    );
}

#[test]
fn a_claim_taken_from_a_consumer_not_dead_yet_is_found() {
    let dead = BOTH_HOLD
        .replace(
            "    150 settling 0 5\n    160 settled 0 1\n",
            "    died 140 200\n",
        )
        .replace("0 5 1 1 0 1\n    170", "0 5 2 1 0 1\n    170");
    assert_eq!(of_default(&dead), [Rule::OneClaim]);
    // Killed before the other got it, though it was waited for only later.
    assert_eq!(of_default(&dead.replace("died 140", "died 129")), []);
    // Of one whose time of death nobody knows, the last word counts.
    assert_eq!(of_default(&dead.replace("died 140", "died 0")), []);
}

#[test]
fn a_program_that_replaced_the_holder_holds_nothing() {
    let replaced = BOTH_HOLD
        .replace(
            "    150 settling 0 5\n    160 settled 0 1\n",
            "    125 executing\n    died 140 200\n",
        )
        .replace("0 5 1 1 0 1\n    170", "0 5 2 1 0 1\n    170");
    assert_eq!(of_default(&replaced), []);
}

#[test]
fn a_live_workers_settling_that_is_refused_is_found() {
    assert!(
        of_default(&TAKES_BOTH.replace("180 settled 1 1", "180 settled 1 0")).contains(&Rule::Kept)
    );
}

#[test]
fn what_was_acked_and_comes_again_is_found() {
    let again = format!(
        "{TAKES_BOTH}
        190 receiving 0 0
        200 received 2 0 5 2 1 0 1
        210 settling 2 0
        220 settled 2 1"
    );
    assert_eq!(of_default(&again), [Rule::AckedIsFinal]);
    // Unless nobody knows whether the ack was one.
    let unsure = "worker 2
        100 joining 0
        110 receiving 0 0
        120 received 0 0 5 1 1 0 1
        130 settling 0 0
        died 140 150
        worker 3
        150 joining 0
        160 receiving 0 0
        170 received 0 0 5 2 1 0 1
        180 settling 0 0
        190 settled 0 1
        200 receiving 0 0
        210 received 1 0 6 1 1 1 1
        220 settling 1 0
        230 settled 1 1";
    assert_eq!(of_default(unsure), []);
}

/// The second message first.
const SWAPPED: &str = "worker 2
    100 joining 0
    110 receiving 0 0
    120 received 0 0 6 1 1 1 1
    130 settling 0 0
    140 settled 0 1
    150 receiving 0 0
    160 received 1 0 5 1 1 0 1
    170 settling 1 0
    180 settled 1 1
";

#[test]
fn a_producers_messages_out_of_order_are_found() {
    assert_eq!(of_default(SWAPPED), [Rule::DeliveryOrder]);
    // Two consumers may have claimed in order what was seen out of it.
    let two = "worker 2
        100 joining 0
        115 receiving 0 0
        120 received 0 0 6 1 1 1 1
        130 settling 0 0
        140 settled 0 1
        worker 3
        100 joining 0
        110 receiving 0 0
        160 received 1 0 5 1 1 0 1
        170 settling 1 0
        180 settled 1 1";
    assert_eq!(of_default(two), []);
    // Somebody else may have had it first, and given it back or died.
    let unseen = "worker 4
        100 joining 0
        105 receiving 0 1
        118 batch-over 0 0";
    assert_eq!(of_default(&format!("{SWAPPED}{unseen}")), []);
    assert_eq!(
        of_default(&format!("{SWAPPED}{}", unseen.replace("0 0", "0 1"))),
        [Rule::DeliveryOrder]
    );
    let dead = "worker 4
        100 joining 0
        105 receiving 0 0
        died 110 118";
    assert_eq!(of_default(&format!("{SWAPPED}{dead}")), []);
    // But not so long ago.
    let early = "worker 4
        1 joining 0
        2 receiving 0 0
        died 4 6";
    assert_eq!(
        of_default(&format!("{SWAPPED}{early}")),
        [Rule::DeliveryOrder]
    );
}

/// A story of `default` told of `log`.
fn as_log(story: &str) -> String {
    let story = story
        .replace("joining 0", "joining 1")
        .replace("receiving 0", "receiving 1");
    let story = story.replace(" 0 5 ", " 1 5 ").replace(" 0 6 ", " 1 6 ");
    story
        .replace("leaving 0", "leaving 1")
        .replace("left 0", "left 1")
}

#[test]
fn an_exclusive_group_out_of_order_is_found() {
    assert_eq!(of_log(&as_log(SWAPPED)), [Rule::DeliveryOrder]);
}

#[test]
fn two_active_consumers_are_found() {
    let two = "worker 2
        100 joining 0
        110 receiving 0 0
        120 received 0 0 5 1 1 0 1
        130 settling 0 0
        140 settled 0 1
        200 leaving 0
        210 left 0
        worker 3
        100 joining 0
        150 receiving 0 0
        160 received 1 0 6 1 1 1 1
        170 settling 1 0
        180 settled 1 1";
    assert_eq!(of_log(&as_log(two)), [Rule::OneClaim]);
    assert_eq!(of_default(two), []);
    let one_after_the_other = two
        .replace("200 leaving", "155 leaving")
        .replace("210 left", "156 left");
    assert_eq!(of_log(&as_log(&one_after_the_other)), []);
}

#[test]
fn order_that_restarts_is_accepted_and_makes_guards_stale() {
    let story = "worker 2
        100 joining 1
        110 receiving 1 0
        111 received 0 1 5 1 1 0 1
        112 receiving 1 0
        113 received 1 1 6 1 1 1 1
        114 settling 0 3
        115 settled 0 1
        116 receiving 1 0
        117 received 2 1 5 2 1 0 1
        118 settling 1 0
        119 settled 1 0
        120 receiving 1 0
        121 received 3 1 6 1 1 1 1
        122 settling 2 2
        123 settled 2 1
        124 settling 3 1
        125 settled 3 1
    ";
    assert_eq!(of_log(story), []);
    // A guard that no restart touched is still good.
    let refused = story
        .replace("119 settled 1 0", "119 settled 1 1")
        .replace("125 settled 3 1", "125 settled 3 0");
    assert!(of_log(&refused).contains(&Rule::Kept));
    // What a cumulative ack covered does not come again.
    let again = format!(
        "{story}
        130 receiving 1 0
        131 received 4 1 5 3 1 0 1
        132 settling 4 0
        133 settled 4 1"
    );
    assert!(of_log(&again).contains(&Rule::AckedIsFinal));
}

#[test]
fn a_gap_in_a_passing_exclusive_group_is_found() {
    let group = Group::passing(2, 0, true).0;
    let three = format!(
        "{TWO}
        50 publishing 2 1
        60 published 2 7 7
        {}
        worker 5
        100 joining {group}
        110 receiving {group} 0
        120 received 0 {group} 5 1 1 0 1
        130 receiving {group} 0
        140 received 1 {group} 7 1 1 2 1",
        elsewhere(&[0], 3)
    );
    assert_eq!(broken(&three, &[1, 2], 3), [Rule::NoGap]);
    // It may end anywhere, and a shared one is not followed.
    assert_eq!(
        broken(
            &three.replace(&format!("{group} 7 1 1 2"), &format!("{group} 6 1 1 1")),
            &[1, 2],
            3
        ),
        []
    );
    let shared = Group::passing(2, 0, false).0;
    assert_eq!(
        broken(
            &three.replace(&group.to_string(), &shared.to_string()),
            &[1, 2],
            3
        ),
        []
    );
}

#[test]
fn a_count_above_the_number_of_hand_overs_is_found() {
    let twice = TAKES_BOTH.replace("0 6 1 1 1 1", "0 6 2 1 1 1");
    assert_eq!(of_default(&twice), [Rule::CountNotAbove]);
    // Unless somebody died who may have had it.
    let dead = "worker 4
        100 joining 0
        105 receiving 0 0
        died 110 118";
    assert_eq!(of_default(&format!("{twice}{dead}")), []);
    let thrice = twice.replace("0 6 2 1 1 1", "0 6 3 1 1 1");
    assert_eq!(
        of_default(&format!("{thrice}{dead}")),
        [Rule::CountNotAbove]
    );
    assert_eq!(of_log(&as_log(&twice)), [Rule::CountNotAbove]);
    assert_eq!(of_log(&as_log(&format!("{twice}{dead}"))), []);
}

#[test]
fn a_count_not_raised_by_a_death_or_a_nack_is_found() {
    let died = "worker 2
        100 joining 0
        110 receiving 0 0
        120 received 0 0 5 1 1 0 1
        died 130 140
        worker 3
        150 joining 0
        160 receiving 0 0
        170 received 0 0 5 1 1 0 1
        180 settling 0 0
        190 settled 0 1
        200 receiving 0 0
        210 received 1 0 6 1 1 1 1
        220 settling 1 0
        230 settled 1 1
    ";
    assert_eq!(of_default(died), [Rule::CountRaised]);
    assert_eq!(of_log(&as_log(died)), [Rule::CountRaised]);
    let counted = died.replace("170 received 0 0 5 1", "170 received 0 0 5 2");
    assert_eq!(of_default(&counted), []);
    assert_eq!(of_log(&as_log(&counted)), []);
    let ended = |how| {
        died.replace(
            "died 130 140",
            &format!("130 settling 0 {how}\n140 settled 0 1"),
        )
    };
    assert_eq!(of_default(&ended(3)), [Rule::CountRaised]);
    // A release, or a drop, does not count.
    assert_eq!(of_default(&ended(4)), []);
    assert_eq!(of_default(&ended(5)), []);
}

#[test]
fn a_floor_or_a_tail_that_goes_back_is_found() {
    let sample = |at, tail, floor| Sample {
        at,
        tail,
        floors: vec![(Group(0), floor)],
    };
    let rules = |samples| {
        let history = History {
            samples,
            ..History::default()
        };
        check(&history).0.iter().map(|v| v.rule).collect::<Vec<_>>()
    };
    assert_eq!(
        rules(vec![sample(1, 9, 5), sample(2, 9, 5), sample(3, 12, 7)]),
        []
    );
    assert_eq!(
        rules(vec![sample(1, 9, 5), sample(2, 9, 4)]),
        [Rule::Floors]
    );
    assert_eq!(
        rules(vec![sample(1, 9, 5), sample(2, 8, 5)]),
        [Rule::Floors]
    );
}

#[test]
fn what_a_worker_complains_of_is_passed_on() {
    assert_eq!(
        of_default(&format!("{TAKES_BOTH}190 fault the bytes changed")),
        [Rule::Fault]
    );
}
