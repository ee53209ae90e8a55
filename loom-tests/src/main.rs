//! Weakens every memory ordering of the protocol, one at a time, and demands that a model which the comment above it names
//! fails. An ordering that no model misses is too strong or untested; its comment says which, and this lists it.
//!
//! ```sh
//! ci/orderings.sh                         # all of them
//! ci/orderings.sh --only src/ring/claim   # those of one file
//! ci/orderings.sh --search                # also tries every model on those that none is said to miss
//! ci/orderings.sh --write                 # puts the table into docs/verification.md
//! ```

mod models;
mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use models::{Models, Verdict};
use places::Place;

const PROTOCOL: &str = "src/ring";
const PAGE: &str = "docs/verification.md";
const TABLE: [&str; 2] = ["<!-- orderings -->", "<!-- end of orderings -->"];

#[derive(Default)]
struct Arguments {
    only: String,
    search: bool,
    write: bool,
}

/// One ordering made weaker.
struct Mutant {
    place: Place,
    weaker: &'static str,
}

/// What came of it.
enum Outcome {
    Missed { by: String, after: Duration },
    Excused(String),
    Survived(String),
}

fn main() -> Result<ExitCode> {
    let arguments = parse(std::env::args().skip(1))?;
    let places = places::in_folder(Path::new(PROTOCOL))?;
    let models = models::build()?;
    let fences = Fences::of(&places, &models)?;
    let mutants: Vec<Mutant> = places
        .into_iter()
        .filter(|place| place.file.contains(&arguments.only))
        .flat_map(|place| {
            let weaker = place.weaker().iter();
            let mutants: Vec<_> = weaker.map(|weaker| (place.clone(), *weaker)).collect();
            mutants
        })
        .map(|(place, weaker)| Mutant { place, weaker })
        .collect();
    let meet = if arguments.search {
        meetings(&models)?
    } else {
        Meetings::new()
    };
    let outcomes = judge_all(&mutants, &models, &fences, &meet)?;
    let idle = names_only_idle_models(&mutants, &outcomes);
    for place in &idle {
        writeln!(
            io::stdout(),
            "{place}: the models its comment names miss nothing"
        )?;
    }
    let rows: Vec<_> = mutants.iter().zip(&outcomes).collect();
    let survived = rows
        .iter()
        .filter(|row| matches!(row.1, Outcome::Survived(_)))
        .count();
    if arguments.write {
        write_table(&rows)?;
    }
    let excused = rows
        .iter()
        .filter(|row| matches!(row.1, Outcome::Excused(_)))
        .count();
    writeln!(
        io::stdout(),
        "{} orderings made weaker: {} missed by a model, {excused} with a reason why none does, {survived} survived",
        rows.len(),
        rows.len() - excused - survived,
    )?;
    Ok(ExitCode::from(u8::from(survived + idle.len() > 0)))
}

/// Places that name models none of which misses any weakening.
fn names_only_idle_models(mutants: &[Mutant], outcomes: &[Outcome]) -> BTreeSet<String> {
    let named = mutants.iter().zip(outcomes);
    let named = named.filter(|(mutant, _)| !mutant.place.models().is_empty());
    let (missed, other): (Vec<_>, Vec<_>) =
        named.partition(|(_, outcome)| matches!(outcome, Outcome::Missed { .. }));
    let missed: BTreeSet<String> = missed.iter().map(|(mutant, _)| mutant.place.at()).collect();
    let other = other.into_iter().map(|(mutant, _)| mutant.place.at());
    other.filter(|place| !missed.contains(place)).collect()
}

/// Weakenings that take a fence away, by the function it stands in, for comments that say `without`.
struct Fences(BTreeMap<String, String>);

impl Fences {
    /// Also makes sure that every model named passes without them: what it misses then is the ordering.
    fn of(places: &[Place], models: &Models) -> Result<Self> {
        let fences = places.iter().filter(|place| place.access == "fence");
        let taken_away =
            |place: &Place| (place.function.clone(), format!("{}=Relaxed", place.at()));
        let fences = Self(fences.map(taken_away).collect());
        let mut checked = BTreeSet::new();
        for place in places.iter().filter(|place| !place.without().is_empty()) {
            let taken_away = fences.without(place)?;
            for name in place.models() {
                if !checked.insert((name, taken_away.clone())) {
                    continue;
                }
                let program = models.get(name);
                let program = program.with_context(|| format!("there is no model {name}"))?;
                let variable = ("SLIPRING_WEAKEN", &*taken_away);
                let verdict = models::run(program, name, variable)?.0;
                if verdict != Verdict::Passed {
                    bail!("{name}: {verdict:?} with {taken_away} alone");
                }
            }
        }
        Ok(fences)
    }

    /// What takes away the fences that a place's comment names.
    fn without(&self, place: &Place) -> Result<String> {
        let fences = place.without().into_iter().map(|function| {
            let fence = self.0.get(function);
            fence.with_context(|| format!("{}: {function} has no fence", place.at()))
        });
        let fences: Vec<_> = fences.collect::<Result<_>>()?;
        Ok(fences.into_iter().cloned().collect::<Vec<_>>().join(";"))
    }
}

fn parse(mut given: impl Iterator<Item = String>) -> Result<Arguments> {
    let mut arguments = Arguments::default();
    while let Some(argument) = given.next() {
        match &*argument {
            "--only" => arguments.only = given.next().context("--only needs a part of a path")?,
            "--search" => arguments.search = true,
            "--write" => arguments.write = true,
            other => bail!("unknown argument {other}; known: --only PART, --search, --write"),
        }
    }
    Ok(arguments)
}

/// Which models meet which places.
type Meetings = BTreeMap<String, Vec<String>>;

/// A search leaves slower models aside: those are tried only on what their name stands beside.
const QUICK: Duration = Duration::from_secs(3);

/// Runs every model once, whole; the quicker ones come first.
fn meetings(models: &Models) -> Result<Meetings> {
    let notes = std::env::temp_dir().join(format!("slipring-places-{}", std::process::id()));
    let mut met = Vec::new();
    for (name, program) in models {
        let variable = ("SLIPRING_PLACES", &*notes.to_string_lossy());
        let (verdict, took) = models::run(program, name, variable)?;
        if verdict != Verdict::Passed {
            bail!("{name}: {verdict:?}, with nothing weakened");
        }
        let places = fs::read_to_string(&notes).unwrap_or_default();
        if took < QUICK {
            met.push((took, name, places));
        }
        drop(fs::remove_file(&notes));
    }
    met.sort();
    let mut meetings = Meetings::new();
    for (_, name, places) in met {
        for place in places.lines() {
            meetings
                .entry(place.to_owned())
                .or_default()
                .push(name.clone());
        }
    }
    Ok(meetings)
}

/// On every CPU: each model is one thread.
fn judge_all(
    mutants: &[Mutant],
    models: &Models,
    fences: &Fences,
    meet: &Meetings,
) -> Result<Vec<Outcome>> {
    let next = Mutex::new(mutants.iter().enumerate());
    let done = Mutex::new(BTreeMap::new());
    let work = || -> Result<()> {
        loop {
            let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, mutant)) = taken else {
                return Ok(());
            };
            let outcome = judge(mutant, models, fences, meet)?;
            writeln!(io::stdout(), "{mutant}: {outcome}")?;
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(number, outcome);
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(_) => bail!("a worker panicked"),
            })
    })?;
    Ok(done
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_values()
        .collect())
}

fn judge(mutant: &Mutant, models: &Models, fences: &Fences, meet: &Meetings) -> Result<Outcome> {
    let at = mutant.place.at();
    let without = fences.without(&mutant.place)?;
    let weakened = format!("{at}={};{without}", mutant.weaker);
    let named = mutant.place.models();
    let found = meet.get(&at).into_iter().flatten().map(String::as_str);
    let tried: Vec<&str> = named.iter().copied().chain(found).collect();
    for &name in &tried {
        let Some(program) = models.get(name) else {
            return Ok(Outcome::Survived(format!("there is no model {name}")));
        };
        let (verdict, after) = models::run(program, name, ("SLIPRING_WEAKEN", &weakened))?;
        if verdict == Verdict::Failed {
            let by = name.to_owned();
            return Ok(Outcome::Missed { by, after });
        }
    }
    Ok(match mutant.place.excuse() {
        Some(reason) => Outcome::Excused(reason.to_owned()),
        None if tried.is_empty() => Outcome::Survived("its comment names no model".to_owned()),
        None => Outcome::Survived(format!("not missed by {}", tried.join(", "))),
    })
}

impl std::fmt::Display for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place {
            file,
            line,
            function,
            access,
            ordering,
            ..
        } = &self.place;
        write!(
            f,
            "{file}:{line} {function}: {access} {ordering} -> {}",
            self.weaker
        )
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missed { by, after } => {
                write!(f, "missed by {by} ({:.1} s)", after.as_secs_f32())
            }
            Self::Excused(reason) => write!(f, "no model: {reason}"),
            Self::Survived(why) => write!(f, "SURVIVED: {why}"),
        }
    }
}

/// The table of the page: without lines and times, so that it changes only when something does.
fn write_table(rows: &[(&Mutant, &Outcome)]) -> Result<()> {
    let page = PathBuf::from(PAGE);
    let text = fs::read_to_string(&page).with_context(|| format!("reading {PAGE}"))?;
    let [begin, end] = TABLE;
    let (before, rest) = text.split_once(begin).context("no place for the table")?;
    let (_, after) = rest.split_once(end).context("no end of the table")?;
    let mut table = String::from("\n| where | access | made | missed by |\n|---|---|---|---|\n");
    for (mutant, outcome) in rows {
        let Place {
            file,
            function,
            access,
            ordering,
            ..
        } = &mutant.place;
        let outcome = match outcome {
            Outcome::Missed { by, .. } if mutant.place.without().is_empty() => format!("`{by}`"),
            Outcome::Missed { by, .. } => {
                let fences = mutant.place.without().join("`, `");
                format!("`{by}`, run without the fence of `{fences}`")
            }
            Outcome::Excused(reason) => format!("none: {reason}"),
            Outcome::Survived(why) => format!("**nobody**: {why}"),
        };
        let weaker = mutant.weaker;
        writeln!(
            table,
            "| `{file}` `{function}` | `{access}` {ordering} | {weaker} | {outcome} |"
        )?;
    }
    fs::write(&page, format!("{before}{begin}\n{table}\n{end}{after}"))?;
    Ok(())
}
