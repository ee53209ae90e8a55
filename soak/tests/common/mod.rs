//! Histories written by hand.

use std::fmt::Write;

use slipring_soak::check::{End, History, Journal, Rule, check};
use slipring_soak::record::Record;

/// Two messages that were published one by one.
pub const TWO: &str = "worker 1
    10 publishing 0 1
    20 published 0 5 5
    30 publishing 1 1
    40 published 1 6 6
";

/// Workers one after the other: `worker N`, its lines, and `died ALIVE GONE` or nothing.
pub fn journals(story: &str) -> Vec<Journal> {
    let mut journals: Vec<Journal> = Vec::new();
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["worker", worker] => journals.push(Journal {
                worker: worker.parse().unwrap(),
                ..Journal::default()
            }),
            ["died", alive_until, gone_by] => {
                journals.last_mut().unwrap().end = End {
                    died: true,
                    alive_until: alive_until.parse().unwrap(),
                    gone_by: gone_by.parse().unwrap(),
                };
            }
            _ => {
                let record = Record::parse(line).unwrap_or_else(|| panic!("{line}"));
                journals.last_mut().unwrap().records.push(record);
            }
        }
    }
    journals
}

/// Messages 5, 6, ... of producer 1, numbers 0, 1, ..., delivered and acked in these groups, long after everything else.
pub fn elsewhere(groups: &[u64], messages: u64) -> String {
    let mut story = String::new();
    for group in groups {
        writeln!(story, "worker {}", 900 + group).unwrap();
        writeln!(story, "9000 joining {group}").unwrap();
        for number in 0..messages {
            let (at, sequence) = (9100 + 10 * number, 5 + number);
            writeln!(story, "{at} receiving {group} 0").unwrap();
            let received = format!("received {number} {group} {sequence} 1 1 {number} 1");
            writeln!(story, "{} {received}", at + 1).unwrap();
            writeln!(story, "{} settling {number} 0", at + 2).unwrap();
            writeln!(story, "{} settled {number} 1", at + 3).unwrap();
        }
        writeln!(story, "9900 leaving {group}\n9901 left {group}").unwrap();
    }
    story
}

/// The rules broken by this story of `messages` messages, where `groups` are filled in.
pub fn broken(story: &str, groups: &[u64], messages: u64) -> Vec<Rule> {
    let history = History {
        journals: journals(&format!("{story}\n{}", elsewhere(groups, messages))),
        samples: Vec::new(),
        sequences: (5, 5 + messages),
    };
    let (violations, _) = check(&history);
    for violation in &violations {
        println!("{violation}");
    }
    let mut rules: Vec<Rule> = violations.into_iter().map(|v| v.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}
