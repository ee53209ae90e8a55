//! Goal: any sequence of calls, by any number of attachments that come, go, die or stop in the middle of a call, does what
//! a simple model says, and after any of it the file is opened again and nothing is lost.
//! Method: proptest makes sequences of operations; each runs on a file and on the model, and what it returns, what an
//! observer then sees, and what comes at the end are compared. After a death, or while somebody is paused, more than one
//! thing may be true: the model is then a set, and what is seen later thins it out. A failure prints the shortest sequence
//! found and what was seen of each step. `PROPTEST_CASES` says how many sequences, `MACHINE_STEPS` how long.

#![cfg(feature = "crash-points")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    missing_docs,
    reason = "a test may fail loudly"
)]

#[path = "../common/mod.rs"]
mod common;

mod act;
mod api;
mod check;
mod draw;
mod handles;
mod midway;
mod model;
mod predict;
mod world;

use std::cell::RefCell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use act::Op;
use draw::{Setup, ops, setup};
use proptest::prelude::{ProptestConfig, TestCaseError};
use proptest::test_runner::{TestError, TestRunner};
use slipring::mem::fault;
use world::{Count, Outcome, World};

/// What has been done in the case under way, for when it does not end.
static UNDER_WAY: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// How long a case may take: a thousand times what it does.
const CASE: Duration = Duration::from_secs(60);

/// Ends the process, and says what was done, if nothing happens for so long.
fn watch() {
    let mut last = Vec::new();
    loop {
        std::thread::sleep(CASE);
        let script = UNDER_WAY.lock().unwrap().clone();
        if !script.is_empty() && script == last {
            // Past the test harness, which would keep it to itself.
            let script = script.join("\n  ");
            let mut out = std::io::stderr().lock();
            writeln!(out, "nothing happens any more after:\n  {script}").unwrap();
            std::process::abort();
        }
        last = script;
    }
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |number| number.parse().unwrap())
}

fn run(setup: Setup, ops: &[Op]) -> Result<Count, String> {
    UNDER_WAY.lock().unwrap().clear();
    let mut world = World::new(setup);
    let all = AssertUnwindSafe(|| -> Outcome {
        ops.iter().try_for_each(|op| world.run(op))?;
        world.finish()
    });
    let problem = match catch_unwind(all) {
        Ok(Ok(())) => return Ok(world.count),
        Ok(Err(problem)) => problem,
        Err(cause) => {
            fault::remove();
            fault::revive();
            let text = cause.downcast_ref::<String>().cloned();
            text.or(cause.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default()
        }
    };
    let script = world.script.join("\n  ");
    Err(format!("{problem}\ndone and seen:\n  {script}"))
}

#[test]
fn any_sequence_of_calls_deaths_and_pauses_does_what_the_model_says() {
    std::thread::spawn(watch);
    let cases = number("PROPTEST_CASES", 1500);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: cases as u32,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    });
    let total = RefCell::new(Count::default());
    let sequences = (setup(), ops(number("MACHINE_STEPS", 60)));
    let ended = runner.run(&sequences, |(setup, ops)| {
        let count = run(setup, &ops).map_err(TestCaseError::fail)?;
        let mut total = total.borrow_mut();
        total.acts += count.acts;
        total.deaths += count.deaths;
        total.pauses += count.pauses;
        total.models = total.models.max(count.models);
        Ok(())
    });
    match ended {
        Ok(()) => println!("{cases} sequences: {:?}", total.into_inner()),
        Err(TestError::Fail(why, (setup, ops))) => {
            let lines: Vec<String> = ops.iter().map(|op| format!("{op:?}")).collect();
            panic!("{why}\nin {setup:?}\nby\n  {}", lines.join("\n  "))
        }
        Err(error) => panic!("{error}"),
    }
}
