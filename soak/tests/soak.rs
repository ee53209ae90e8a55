//! Goal: a short soak, so that every test run has one; and a run can be repeated from its seed.
//! Method: the program itself, on a queue in memory. A run that fails keeps its queue and journals and says where.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test may fail loudly"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

fn soak(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipring-soak"));
    command.args(arguments).output().unwrap()
}

fn told(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

#[test]
fn every_promise_holds_while_workers_die() {
    let base = Some(Path::new("/dev/shm")).filter(|shm| shm.is_dir());
    let base = base.unwrap_or(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let directory = tempfile::tempdir_in(base).unwrap();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = since.subsec_nanos().to_string();
    let place = directory.path().to_str().unwrap().to_owned();
    let run = soak(&["--seconds", "6", "--seed", &seed, "--directory", &place]);
    println!("{}", told(&run));
    if !run.status.success() {
        panic!("seed {seed}: kept in {:?}", directory.keep());
    }
    assert!(told(&run).contains("every promise held"));
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 0, "nothing is left behind");
}

#[test]
fn the_same_seed_gives_the_same_plan() {
    let plan = |seed| told(&soak(&["--plan", "--seconds", "25", "--seed", seed]));
    let one = plan("1");
    assert_eq!(one, plan("1"));
    assert_ne!(one, plan("2"));
    for act in ["Kill {", "Pause {", "epoch 2"] {
        assert!(one.contains(act), "{one}");
    }
}

#[test]
fn what_it_does_not_know_it_says() {
    for wrong in [&["--minutes", "5"][..], &["--seed"], &["--seed", "x"]] {
        let run = soak(wrong);
        assert!(!run.status.success(), "{}", told(&run));
    }
    // A worker is nothing to be started by hand.
    assert!(!soak(&["worker"]).status.success());
}
