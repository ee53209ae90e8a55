//! Arguments, and what runs: from outside, inside, or as one of the processes on the queue.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::disk::Disk;
use crate::fuse::Plugged;
use crate::mounts::{BTRFS, EXT4, EXT4_SMALL_BLOCKS, Kind, Mounted, XFS, run};
use crate::pages::Pages;
use crate::power::Settings;
use crate::{accidents, check, hand, outside, power, worker};

const USAGE: &str =
    "usage: slipring-disk [--seconds N] [--images N] [--boots N] [--seed N] [--only WORD]

  --seconds N  how long workers work in each boot (default 2)
  --images N   disks booted from after each boot (default 100)
  --boots N    boots in a row, each of which ends with a power loss (default 2)
  --seed N     of kills, moments and what the disk keeps (default: from the clock)
  --only WORD  only tests with this in their name
";

pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["produce", queue, number] => number
            .parse()
            .map_err(Into::into)
            .and_then(|number| worker::produce(queue, number)),
        ["consume", queue, group, seed] => seed
            .parse()
            .map_err(Into::into)
            .and_then(|seed| worker::consume(queue, group, seed)),
        ["groups", queue, seed] => seed
            .parse()
            .map_err(Into::into)
            .and_then(|seed| worker::groups(queue, seed)),
        ["look", queue] => check::look(queue),
        ["make", queue, mode] => power::make(queue, mode),
        ["hand"] => hand::obey(),
        [outside::INSIDE, directory, ref rest @ ..] => inside(directory, rest),
        _ => parse("", &words).and_then(|(settings, only)| outside::run(&settings, &only)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slipring-disk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(directory: &str, arguments: &[&str]) -> Result<(Settings, String)> {
    let clock = std::time::UNIX_EPOCH.elapsed()?.as_nanos();
    let mut settings = Settings {
        directory: PathBuf::from(directory),
        seed: clock as u64 % 1_000_000,
        time: Duration::from_secs(2),
        images: 100,
        boots: 2,
    };
    let mut only = String::new();
    let mut left = arguments.iter();
    while let Some(name) = left.next() {
        let value = left.next();
        let value = value.with_context(|| format!("{name} needs a value\n\n{USAGE}"))?;
        match *name {
            "--seconds" => settings.time = Duration::from_secs(value.parse()?),
            "--images" => settings.images = value.parse()?,
            "--boots" => settings.boots = value.parse()?,
            "--seed" => settings.seed = value.parse()?,
            "--only" => only = (*value).to_owned(),
            _ => bail!("{name}?\n\n{USAGE}"),
        }
    }
    Ok((settings, only))
}

/// In mounts and processes of its own, which vanish with this one.
fn inside(directory: &str, arguments: &[&str]) -> Result<()> {
    let (settings, only) = parse(directory, arguments)?;
    run("mount", ["-t", "tmpfs", "slipring-disk", directory])?;
    let ran = match try_out(&settings.directory.join("try")) {
        Ok(()) => all(&settings, &only),
        // A container may have a root who may not do this.
        Err(why) => {
            println!("slipring-disk: not run: this machine does not let it: {why:#}");
            Ok(())
        }
    };
    run("umount", ["-l", directory])?;
    ran
}

/// Makes such a disk, and mounts what is on it, before there is any queue that could be at fault.
fn try_out(directory: &Path) -> Result<()> {
    std::fs::create_dir(directory)?;
    let image = directory.join("image");
    EXT4.make(&image)?;
    let disk = Arc::new(Disk::new(Pages::from_file(&image)?));
    let plugged = Plugged::new(&disk, &directory.join("plugged"))?;
    Mounted::new(EXT4, plugged.path(), &directory.join("mounted"), "")?;
    Ok(())
}

fn all(settings: &Settings, only: &str) -> Result<()> {
    let mut tests = Tests {
        only,
        ran: 0,
        failed: Vec::new(),
    };
    println!("seed {}", settings.seed);
    let survives = power::what_is_confirmed_survives_power_losses;
    for (kind, mode) in [
        (EXT4, "sync"),
        (EXT4_SMALL_BLOCKS, "interval"),
        (XFS, "sync"),
        (BTRFS, "interval"),
    ] {
        let name = format!(
            "what_is_confirmed_survives_power_losses {} {mode}",
            kind.name
        );
        tests.run(&name, kind, || survives(settings, kind, mode));
    }
    tests.run("a_disk_that_lies_is_caught ext4", EXT4, || {
        power::a_disk_that_lies_is_caught(settings, EXT4)
    });
    for (name, kind, test) in accidents::ALL {
        tests.run(&format!("{name} {}", kind.name), kind, || {
            test(&settings.directory, kind)
        });
    }
    if !tests.failed.is_empty() {
        bail!("seed {}: {} failed", settings.seed, tests.failed.join(", "));
    }
    println!("{} tests of disks passed", tests.ran);
    Ok(())
}

struct Tests<'a> {
    only: &'a str,
    ran: u32,
    failed: Vec<String>,
}

impl Tests<'_> {
    fn run(&mut self, name: &str, kind: Kind, test: impl FnOnce() -> Result<()>) {
        if !name.contains(self.only) {
            return;
        }
        if let Some(missing) = kind.missing() {
            println!("-- {name}: not run, there is no {missing}");
            return;
        }
        println!("-- {name}");
        let began = Instant::now();
        match test() {
            Ok(()) => println!("   passed in {:.1} s", began.elapsed().as_secs_f32()),
            Err(error) => {
                println!("   FAILED: {error:#}");
                self.failed.push(name.to_owned());
            }
        }
        self.ran += 1;
    }
}
