//! What a run tells at its end, and what it keeps when it fails.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use slipring::Inspector;

use super::{Outcome, Settings, Totals};
use crate::check::Tally;

impl Totals {
    pub(super) fn add(&mut self, tally: Tally) {
        self.epochs += 1;
        self.tally.published += tally.published;
        self.tally.deliveries += tally.deliveries;
        self.tally.redeliveries += tally.redeliveries;
        self.tally.holes += tally.holes;
        self.tally.letters += tally.letters;
        self.tally.parked += tally.parked;
        self.tally.decided += tally.decided;
        self.tally.lost += tally.lost;
        self.tally.standstill = self.tally.standstill.max(tally.standstill);
    }
}

pub(super) fn summary(totals: &Totals) {
    let Tally {
        published,
        deliveries,
        redeliveries,
        holes,
        letters,
        parked,
        decided,
        lost,
        standstill,
    } = totals.tally;
    println!(
        "{} epochs, {} workers: {} kills, {} deaths at a chosen access, {} pauses, {} forks, {} execs, {} passing groups",
        totals.epochs,
        totals.workers,
        totals.kills,
        totals.own_deaths,
        totals.pauses,
        totals.forks,
        totals.execs,
        totals.groups
    );
    println!(
        "{published} messages, {deliveries} deliveries, {redeliveries} of them again, {holes} holes; {} records",
        totals.records
    );
    println!(
        "{letters} letters read in the queue of the dead; {parked} times seen parked, {decided} decisions; {lost} holders told that their lease had ended"
    );
    let (silent, who) = &totals.longest_silence;
    println!(
        "longest, pauses of others included: silence of a running worker {:?} ({who}); standstill of a group {:?}; turn of the supervisor {:?}",
        Duration::from_nanos(*silent),
        Duration::from_nanos(standstill),
        totals.longest_tick
    );
    println!("every promise held");
}

/// Keeps the queue and the journals, and says where.
pub(super) fn keep(
    directory: &Path,
    settings: &Settings,
    epoch: u64,
    outcome: &Outcome,
    inspector: &Inspector,
) -> Result<()> {
    let mut report = File::create(directory.join("report"))?;
    let seed = settings.seed;
    writeln!(
        report,
        "seed {seed}, epoch {epoch}\n{:#?}",
        inspector.stats()
    )?;
    eprintln!("FAILED: seed {seed}, epoch {epoch}");
    for violation in &outcome.violations {
        eprintln!("  {violation}");
        writeln!(report, "{violation}")?;
    }
    let journals = directory.join("journals");
    fs::create_dir(&journals)?;
    for journal in &outcome.journals {
        let file = File::create(journals.join(journal.worker.to_string()))?;
        let mut file = BufWriter::new(file);
        for record in &journal.records {
            writeln!(file, "{record}")?;
        }
        writeln!(file, "{:?}", journal.end)?;
        file.flush()?;
    }
    eprintln!("kept in {}: queue, report, journals", directory.display());
    Ok(())
}
