//! `rivals NAME ...`: other queues, each as a program that `slipring bench compare` can drive.

#![cfg_attr(
    not(all(feature = "iceoryx2", feature = "redis")),
    allow(dead_code, reason = "what only some rivals need")
)]

mod contract;
mod machine;
mod message;
mod queue;
mod rivals;
mod roles;

use std::process::ExitCode;

use anyhow::bail;

use contract::{Corrupt, DATA_ERROR, Job, Missing, Misused, UNAVAILABLE, USAGE, say};

const HELP: &str = "\
rivals list
rivals NAME describe
rivals NAME consume|produce|pong|ping PATH SIZE COUNT CORE [BATCH]
rivals NAME threads-throughput|threads-round-trip PATH SIZE COUNT CORE,CORE [BATCH]
CORE is the CPU to pin to, or - for none.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Err(error) = run(&arguments) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("rivals {}: {error:#}", arguments.join(" "));
    ExitCode::from(if error.is::<Corrupt>() {
        DATA_ERROR
    } else if error.is::<Missing>() {
        UNAVAILABLE
    } else if error.is::<Misused>() {
        eprintln!("{HELP}");
        USAGE
    } else {
        1
    })
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    match arguments {
        [command] if command == "list" => rivals::ALL.iter().try_for_each(|entry| say(entry.name)),
        [name, rest @ ..] if !rest.is_empty() => {
            let Some(entry) = rivals::ALL.iter().find(|entry| entry.name == name) else {
                bail!(Misused(format!("{name:?} is not in `rivals list`")));
            };
            let description = (entry.describe)()?;
            if rest == ["describe"] {
                return say(&description.json().to_string());
            }
            let job = Job::parse(rest)?;
            if let Some(most) = description.max_size.filter(|most| job.size > *most) {
                bail!(Misused(format!(
                    "SIZE is {}; {name} takes {most} bytes at most",
                    job.size
                )));
            }
            (entry.run)(&job)
        }
        _ => bail!(Misused(
            "expected `list`, or the name of a rival and a role".into()
        )),
    }
}
