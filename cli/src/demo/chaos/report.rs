//! What a chaos run comes to, for people and for programs.

use std::time::Duration;

use serde::Serialize;
use slipring::Stats;

use super::Chaos;
use super::judge::Verdict;
use crate::demo::Plan;
use crate::demo::protocol::Side;
use crate::output::Output;
use crate::units;

/// What the supervisor counts.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub producers_killed: u64,
    pub consumers_killed: u64,
    pub restarts: u64,
    /// The longest that one publish took anybody, and the longest anybody waited for a message.
    pub publish_ns: u64,
    pub receive_ns: u64,
}

impl Tally {
    /// One more killed.
    pub fn kill(&mut self, side: Side) {
        match side {
            Side::Producer => self.producers_killed += 1,
            Side::Consumer => self.consumers_killed += 1,
        }
    }

    /// All killed so far.
    pub fn kills(&self) -> u64 {
        self.producers_killed + self.consumers_killed
    }
}

/// The result of a run; `--json` prints it as it is.
#[derive(Debug, Serialize)]
pub struct Outcome {
    seed: u64,
    kills_per_second: f64,
    producers: u32,
    consumers: u32,
    size: u64,
    seconds: f64,
    msgs_per_s: f64,
    kills: u64,
    producers_killed: u64,
    consumers_killed: u64,
    restarts: u64,
    swept: Repairs,
    longest_stall_ms: f64,
    longest_publish_ms: f64,
    longest_receive_ms: f64,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Debug, Serialize)]
struct Repairs {
    participants: u64,
    holes: u64,
    claims: u64,
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

impl Outcome {
    /// Of a run that took so long.
    pub fn new(
        plan: &Plan,
        chaos: &Chaos,
        verdict: Verdict,
        tally: &Tally,
        stats: &Stats,
        took: Duration,
    ) -> Self {
        let swept = stats.swept;
        let seconds = took.as_secs_f64();
        Self {
            seed: chaos.seed,
            kills_per_second: chaos.kills_per_second,
            producers: plan.producers,
            consumers: plan.consumers,
            size: plan.size,
            seconds,
            msgs_per_s: verdict.published as f64 / seconds,
            kills: tally.kills(),
            producers_killed: tally.producers_killed,
            consumers_killed: tally.consumers_killed,
            restarts: tally.restarts,
            swept: Repairs {
                participants: swept.participants,
                holes: swept.holes,
                claims: swept.claims,
            },
            longest_stall_ms: milliseconds(tally.publish_ns.max(tally.receive_ns)),
            longest_publish_ms: milliseconds(tally.publish_ns),
            longest_receive_ms: milliseconds(tally.receive_ns),
            verdict,
        }
    }

    /// True if nothing happened that must not.
    pub fn is_good(&self) -> bool {
        self.verdict.faults.are_none()
    }

    /// For people.
    pub fn print(&self, output: &mut Output) -> anyhow::Result<()> {
        let (verdict, swept, count) = (&self.verdict, &self.swept, units::count);
        let killed = format!(
            "by kill -9: {} producers, {} consumers",
            self.producers_killed, self.consumers_killed
        );
        let repaired = format!(
            "by survivors and newcomers: {} half-made messages dropped, {} claims given back",
            count(swept.holes),
            count(swept.claims)
        );
        let published = format!(
            "with {} of the {} that a kill cut off",
            count(verdict.publishes_cut_off_arrived),
            count(verdict.publishes_cut_off)
        );
        let acked = format!(
            "and {} whose consumer was killed at that",
            count(verdict.acks_cut_off)
        );
        row(output, "killed", self.kills, &killed)?;
        row(output, "restarted", self.restarts, "")?;
        row(output, "swept", swept.participants, &repaired)?;
        row(output, "published", verdict.published, &published)?;
        let checked = "every byte of each checked";
        row(output, "delivered", verdict.delivered, checked)?;
        row(output, "acked", verdict.acked, &acked)?;
        let held = "held by a consumer that was killed";
        row(output, "redelivered", verdict.redelivered, held)?;
        output.line(format_args!(
            "longest stall  {:>10.1} ms  of a survivor: {:.1} ms in a publish, {:.1} ms waiting for a message",
            self.longest_stall_ms, self.longest_publish_ms, self.longest_receive_ms
        ))?;
        self.print_faults(output)
    }

    fn print_faults(&self, output: &mut Output) -> anyhow::Result<()> {
        let faults = self.verdict.faults;
        let only_if_any = [
            ("never sent", faults.never_sent, "nobody was to send them"),
            ("claimed twice", faults.claimed_twice, "held by two at once"),
            ("unsettled", faults.unsettled, "gone without an ack"),
        ];
        for (label, number, remark) in only_if_any.into_iter().filter(|row| row.1 > 0) {
            row(output, label, number, remark)?;
        }
        row(output, "torn", faults.torn, "")?;
        let again = "delivered after an ack";
        row(output, "acked again", faults.acked_again, again)?;
        row(output, "lost", faults.lost, "")
    }

    /// For programs.
    pub fn print_json(&self, output: &mut Output) -> anyhow::Result<()> {
        output.json(self)
    }
}

fn row(output: &mut Output, label: &str, number: u64, remark: &str) -> anyhow::Result<()> {
    let line = format!("{label:<13}  {:>13}  {remark}", units::count(number));
    output.line(line.trim_end())
}
