//! Weakens one memory ordering, in the model checker's build: a model that does not miss it shows nothing about it.
//!
//! Every ordered access passes [`order`] and is known by its place in the source. `SLIPRING_WEAKEN=file:line:column=Order`
//! replaces the ordering of one place, or of several with `;` between; `SLIPRING_PLACES=path` appends each place met, once, to a file. Driven by
//! `loom-tests/src/main.rs`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::panic::Location;
use std::sync::{LazyLock, Mutex, PoisonError};

use loom::sync::atomic::Ordering;

struct Weakened {
    file: String,
    line: u32,
    column: u32,
    ordering: Ordering,
}

impl Weakened {
    fn parse(given: &str) -> Option<Self> {
        let (place, name) = given.split_once('=')?;
        let mut parts = place.split(':');
        Some(Self {
            file: parts.next()?.to_owned(),
            line: parts.next()?.parse().ok()?,
            column: parts.next()?.parse().ok()?,
            ordering: match name {
                "Relaxed" => Ordering::Relaxed,
                "Acquire" => Ordering::Acquire,
                "Release" => Ordering::Release,
                "AcqRel" => Ordering::AcqRel,
                _ => return None,
            },
        })
    }

    fn is(&self, place: &Location<'_>) -> bool {
        self.line == place.line() && self.column == place.column() && self.file == place.file()
    }
}

#[expect(
    clippy::panic,
    reason = "a run that weakens nothing would show nothing"
)]
static WEAKENED: LazyLock<Vec<Weakened>> = LazyLock::new(|| {
    let given = std::env::var("SLIPRING_WEAKEN").unwrap_or_default();
    let places = given.split(';').filter(|place| !place.is_empty());
    let weakened = places.map(|place| {
        Weakened::parse(place).unwrap_or_else(|| {
            panic!("SLIPRING_WEAKEN: expected file:line:column=Order, found {place}")
        })
    });
    weakened.collect()
});

type Places = Mutex<(File, BTreeSet<String>)>;

static PLACES: LazyLock<Option<Places>> = LazyLock::new(|| {
    let path = std::env::var_os("SLIPRING_PLACES")?;
    let file = File::options().append(true).create(true).open(path).ok()?;
    Some(Mutex::new((file, BTreeSet::new())))
});

/// The ordering an access is to have.
#[track_caller]
pub fn order(ordering: Ordering) -> Ordering {
    let place = Location::caller();
    if let Some(places) = &*PLACES {
        let place = place.to_string();
        let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, known) = &mut *places;
        if known.insert(place.clone()) {
            // A place not noted is one that no model is found to meet, which fails loudly.
            drop(writeln!(file, "{place}"));
        }
    }
    let weakened = WEAKENED.iter().find(|weakened| weakened.is(place));
    weakened.map_or(ordering, |weakened| weakened.ordering)
}

/// A fence; weakened to `Relaxed`, none.
#[track_caller]
pub fn fence(ordering: Ordering) {
    match order(ordering) {
        Ordering::Relaxed => {}
        ordering => loom::sync::atomic::fence(ordering),
    }
}
