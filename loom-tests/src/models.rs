//! Builds the models and runs them, one by one, each in a process of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The program that holds each model.
pub type Models = BTreeMap<String, PathBuf>;

/// A model that takes longer than this does not count as having noticed anything.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);

/// Builds them, as `ci/loom.sh` sets the environment, and lists them.
pub fn build() -> Result<Models> {
    let built = Command::new("cargo")
        .args(["test", "--profile", "loom", "-p", "loom-tests", "--tests"])
        .args(["--no-run", "--message-format", "json"])
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo")?;
    if !built.status.success() {
        bail!("the models do not build");
    }
    let mut models = Models::new();
    for line in String::from_utf8_lossy(&built.stdout).lines() {
        let Some((_, path)) = line.split_once("\"executable\":\"") else {
            continue;
        };
        let program = PathBuf::from(path.split('"').next().unwrap_or_default());
        let listed = Command::new(&program).arg("--list").output();
        let listed = listed.with_context(|| format!("listing {}", program.display()))?;
        let names = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names = names.lines().filter_map(|line| line.strip_suffix(": test"));
        models.extend(names.map(|name| (name.to_owned(), program.clone())));
    }
    Ok(models)
}

/// What a model said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing wrong.
    Passed,
    /// It found a fault.
    Failed,
    /// It did not end in time.
    Endless,
}

/// Runs one, with one place weakened or places noted, as the variable says.
pub fn run(program: &PathBuf, name: &str, variable: (&str, &str)) -> Result<(Verdict, Duration)> {
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(["--exact", name])
        .env(variable.0, variable.1)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("running {}", program.display()))?;
    let verdict = wait(&mut child, began)?;
    Ok((verdict, began.elapsed()))
}

fn wait(child: &mut Child, began: Instant) -> Result<Verdict> {
    loop {
        if let Some(status) = child.try_wait()? {
            let passed = status.success();
            return Ok(if passed {
                Verdict::Passed
            } else {
                Verdict::Failed
            });
        }
        if began.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(Verdict::Endless);
        }
        std::thread::sleep(POLL);
    }
}
