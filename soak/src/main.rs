//! `slipring-soak [--seconds N] [--seed N] [--directory PATH] [--plan]`: see the library of this package.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use slipring_soak::plan::{CREW, Epoch, Role, Shape, Step};
use slipring_soak::{clock, supervisor, worker};

const USAGE: &str = "usage: slipring-soak [--seconds N] [--seed N] [--directory PATH] [--plan]

  --seconds N       how long the workers run, without checking (default 60)
  --seed N          of roles, kills and pauses (default: from the clock)
  --directory PATH  where the queue lives (default /dev/shm, or else the temporary directory)
  --plan            print what would happen to whom, and do nothing
";

struct Arguments {
    settings: supervisor::Settings,
    plan: bool,
}

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments
        .next_if(|first| first == worker::COMMAND)
        .is_some()
    {
        return worker::main(&arguments.collect::<Vec<_>>()).map(|()| ExitCode::SUCCESS);
    }
    let Arguments { settings, plan } = parse(arguments)?;
    if plan {
        print_plan(&settings)?;
        return Ok(ExitCode::SUCCESS);
    }
    supervisor::run(&settings)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments> {
    let shm = PathBuf::from("/dev/shm");
    let mut settings = supervisor::Settings {
        seed: clock::now() % 1_000_000,
        duration: Duration::from_secs(60),
        directory: if shm.is_dir() {
            shm
        } else {
            std::env::temp_dir()
        },
    };
    let mut plan = false;
    while let Some(name) = arguments.next() {
        let mut value = || {
            let missing = || format!("{name} needs a value\n\n{USAGE}");
            arguments.next().with_context(missing)
        };
        match name.as_str() {
            "--seconds" => settings.duration = Duration::from_secs(value()?.parse()?),
            "--seed" => settings.seed = value()?.parse()?,
            "--directory" => settings.directory = value()?.into(),
            "--plan" => plan = true,
            _ => bail!("{name}?\n\n{USAGE}"),
        }
    }
    Ok(Arguments { settings, plan })
}

fn print_plan(settings: &supervisor::Settings) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let shape = Shape::new(settings.seed);
    writeln!(out, "seed {}: {shape:?}", settings.seed)?;
    for (number, length) in (0..).zip(settings.epochs()) {
        let Epoch { sole, steps } = Epoch::new(settings.seed, number, length);
        writeln!(out, "epoch {number}, {length} ms, sole producers: {sole}")?;
        for Step { at, place, act } in steps {
            let role = CREW.get(place).map_or_else(String::new, Role::to_string);
            writeln!(out, "  {at:6} ms  {place} {role}: {act:?}")?;
        }
    }
    Ok(())
}
