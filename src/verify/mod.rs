//! Whether a queue file keeps the rules of its format and of the protocol: read only, beside those who work on it or alone.
//!
//! Every word is read in an order in which a sound queue cannot look broken, however fast it moves (what can only have
//! happened earlier is read later), and what looks broken is read again, and reported only if it stays so. What a dead
//! process leaves behind, and the next sweep clears up, is told apart from damage.
//!
//! Relies on `examine`. The rules are the invariants of `ring/mod.rs`, looked at from outside, by other code.

mod groups;
mod header;
mod slots;
mod tables;
mod words;

pub(crate) use header::FIELDS as HEADER_FIELDS;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::error::OpenError;
use crate::examine::{Examined, Standing, Whole};
use crate::layout::Offset;
use crate::recover::PendingRecovery;

/// What a queue file looks like to somebody who believes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// What is not as it should be, in the order of the file; at most [`Self::MOST_FINDINGS`].
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more_findings: u64,
    /// Live processes attached when this looked. With any, some questions have no answer.
    pub online: u64,
    /// Messages whose slot, header and place were checked.
    pub messages: u64,
    /// Of those, how many payloads were compared with a checksum. Version 1 of the format has none: 0.
    pub payloads: u64,
    /// What the next opener does first, if the file was last used in another boot: until then it is what the disk has.
    pub pending_recovery: Option<PendingRecovery>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at, such as `slot word of index 3`.
    pub what: String,
    /// Where that is, in bytes from the start of the file.
    pub offset: u64,
    /// What stands there.
    pub found: String,
    /// What could.
    pub expected: String,
    /// What it does to those who use the queue.
    pub consequence: &'static str,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Left by a process that died; whoever attaches, waits or sweeps next clears it up.
    Leftover,
    /// Damage, or a live process that is paused at just this point: to be looked at again, or when nobody is attached.
    Unsure,
    /// No running code leaves this.
    Damage,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leftover => "leftover",
            Self::Unsure => "unsure",
            Self::Damage => "damage",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at offset {}: {} is {}, expected {}: {}",
            self.severity, self.offset, self.what, self.found, self.expected, self.consequence
        )
    }
}

impl Verification {
    /// The most findings that are listed.
    pub const MOST_FINDINGS: usize = 1000;

    /// True if no finding is damage: everything published and not settled can be had.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage().next().is_none()
    }

    /// The findings that are damage.
    pub fn damage(&self) -> impl Iterator<Item = &Finding> {
        let all = self.findings.iter();
        all.filter(|finding| finding.severity == Severity::Damage)
    }
}

/// Checks a queue file: header, sizes, every word against the rules, groups, messages, segments, participants against their
/// locks. Reads only; others may work on the queue meanwhile, and reading permission is enough.
///
/// Payloads are not checked: version 1 of the format has no checksum for them.
///
/// # Errors
/// The file cannot be read, or is none: as [`Inspector::open`](crate::Inspector::open), but for a damaged header, which is a
/// finding.
///
/// # Examples
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("orders");
/// slipring::Queue::create(&path)?.producer()?.publish("sound")?;
/// let found = slipring::verify(&path)?;
/// assert!(found.is_sound(), "{:?}", found.findings);
/// assert_eq!(found.messages, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify(path: impl AsRef<Path>) -> Result<Verification, OpenError> {
    let examined = Examined::open(path.as_ref())?;
    let mut found = go_through(&examined);
    let is_alive = |(_, standing)| standing == Standing::Alive;
    let somebody_came = || {
        let whole = examined.whole();
        whole.is_some_and(|whole| whole.standings().any(is_alive))
    };
    // Looked at as if nobody were there; who has come since may be in the middle of something.
    if found.online == 0 && !found.is_sound() && somebody_came() {
        found = go_through(&examined);
    }
    Ok(found)
}

fn go_through(examined: &Examined) -> Verification {
    let mut found = Verification {
        pending_recovery: examined.pending_recovery(),
        ..Verification::default()
    };
    found.findings.extend(header::check(examined));
    if let Some(whole) = examined.whole() {
        let mut examiner = Examiner::new(whole, found);
        header::check_unused(&mut examiner);
        tables::check(&mut examiner);
        groups::check(&mut examiner);
        slots::check(&mut examiner);
        found = examiner.verification;
    }
    found.findings.sort_by_key(|finding| finding.offset);
    found
}

/// How long to wait before each of the looks that follow a first suspicion, beside live processes.
const LOOKS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(4),
];

/// Goes through a whole file and notes what stays wrong.
struct Examiner<'a> {
    file: Whole<'a>,
    /// Somebody died and was not swept.
    has_dead: bool,
    verification: Verification,
}

impl<'a> Examiner<'a> {
    fn new(file: Whole<'a>, mut verification: Verification) -> Self {
        let count = |wanted| {
            let standings = file.standings();
            standings.filter(|(_, found)| *found == wanted).count() as u64
        };
        verification.online = count(Standing::Alive);
        Self {
            file,
            has_dead: count(Standing::Dead) > 0,
            verification,
        }
    }

    /// Notes what `look` finds, if it finds the same each time.
    fn stays(&mut self, look: impl Fn(Whole<'a>) -> Option<Finding>) {
        let Some(first) = look(self.file) else {
            return;
        };
        let online = self.verification.online > 0;
        for pause in LOOKS {
            if online {
                std::thread::sleep(pause);
            }
            if look(self.file).as_ref() != Some(&first) {
                return;
            }
        }
        self.note(first);
    }

    fn note(&mut self, finding: Finding) {
        if self.verification.findings.len() < Verification::MOST_FINDINGS {
            self.verification.findings.push(finding);
        } else {
            self.verification.more_findings += 1;
        }
    }

    /// What to call that which only somebody between two steps could leave.
    fn between_steps(&self) -> Severity {
        if self.has_dead {
            Severity::Leftover
        } else if self.verification.online > 0 {
            Severity::Unsure
        } else {
            Severity::Damage
        }
    }
}

/// Something that no running code leaves.
fn damage(
    what: impl fmt::Display,
    offset: Offset,
    found: impl fmt::Display,
    expected: impl fmt::Display,
    consequence: &'static str,
) -> Finding {
    Finding {
        severity: Severity::Damage,
        what: what.to_string(),
        offset: offset.0,
        found: found.to_string(),
        expected: expected.to_string(),
        consequence,
    }
}

impl Finding {
    fn called(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }
}
