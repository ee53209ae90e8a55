//! Runs operations on the queue and on the models, and compares.
//!
//! There are several models only where more than one thing may be true: after a death, or while somebody is paused. Each
//! step keeps those that agree with what was seen; when none is left, the queue has done what it may not.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use slipring::mem::fault;
use slipring::{FullPolicy, Inspector, Queue, Start};
use tempfile::TempDir;

use super::act::{Act, Call, Deed, Id, Op, Person, Publish, Receive, Seen, Settle, What};
use super::draw::Setup;
use super::handles::{self, Handles, LETTERS, die, dies};
use super::model::Model;
use crate::common::{Backing, directory};

pub struct World {
    pub dir: TempDir,
    pub path: PathBuf,
    pub setup: Setup,
    pub lives: BTreeMap<Person, Handles>,
    pub models: Vec<Model>,
    pub inspector: Inspector,
    /// What was done and seen, a line for each.
    pub script: Vec<String>,
    busy: Option<Person>,
    people: Person,
    ids: Id,
    tags: u32,
    /// What went wrong while somebody was paused.
    problem: Option<String>,
    pub count: Count,
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub acts: usize,
    /// Deaths and pauses in the middle of an act.
    pub deaths: usize,
    pub pauses: usize,
    /// The most that may have been true at once.
    pub models: usize,
}

pub type Outcome = Result<(), String>;

impl World {
    pub fn new(setup: Setup) -> Self {
        let dir = directory(Backing::Tmpfs);
        let path = dir.path().join("queue");
        handles::create(&setup, &path);
        let inspector = Inspector::open(&path).unwrap();
        Self {
            dir,
            path,
            setup,
            lives: BTreeMap::new(),
            models: vec![Model::new(setup)],
            inspector,
            script: Vec::new(),
            busy: None,
            people: 0,
            ids: 0,
            tags: 0,
            problem: None,
            count: Count::default(),
        }
    }

    pub fn run(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Do(call) => self.call(*call, None),
            Op::Crash(at, call) => self.call(*call, Some(Fault::Crash(*at))),
            Op::Pause(at, call, meanwhile) => self.call(*call, Some(Fault::Pause(*at, meanwhile))),
            Op::Reopen => self.reopen(),
            Op::Outage => {
                for who in self.people() {
                    let handles = self.lives.remove(&who);
                    dies(|| {
                        let _handles = handles;
                        die()
                    });
                    self.script.push(format!("a{who} dies"));
                    self.models.iter_mut().for_each(|model| model.kill(who));
                }
                self.attach().map(drop)
            }
        }
    }

    pub fn reopen(&mut self) -> Outcome {
        for who in self.people() {
            self.detach(who)?;
        }
        self.attach().map(drop)
    }

    fn people(&self) -> Vec<Person> {
        let people = self.lives.keys().copied();
        people.filter(|&who| Some(who) != self.busy).collect()
    }

    pub fn id(&mut self) -> Id {
        self.ids += 1;
        self.ids - 1
    }

    pub fn attach(&mut self) -> Result<Person, String> {
        let who = self.people;
        self.people += 1;
        self.act(who, Deed::Attach)?;
        Ok(who)
    }

    fn detach(&mut self, who: Person) -> Outcome {
        for guard in self.lives[&who].guards() {
            self.act(
                who,
                Deed::Settle {
                    guard,
                    how: Settle::Drop,
                },
            )?;
        }
        for consumer in self.consumers(who) {
            self.act(who, Deed::Leave { consumer })?;
        }
        for _ in 0..self.producers(who) {
            self.act(who, Deed::Stop)?;
        }
        self.act(who, Deed::Quit)
    }

    pub fn consumers(&self, who: Person) -> Vec<Id> {
        let life = &self.models[0].people[&who];
        life.consumers.keys().copied().collect()
    }

    fn producers(&self, who: Person) -> u32 {
        let life = &self.models[0].people[&who];
        life.producers + u32::from(life.sole)
    }

    fn call(&mut self, call: Call, fault: Option<Fault<'_>>) -> Outcome {
        let people = self.people();
        if people.is_empty() {
            if self.busy.is_some() {
                return Ok(());
            }
            self.attach()?;
        }
        let people = self.people();
        let who = people[usize::from(call.by) % people.len()];
        let Some(act) = self.resolve(who, call.what)? else {
            return Ok(());
        };
        match fault {
            None => self.step(&act),
            Some(Fault::Crash(at)) => self.crash(&act, at),
            Some(Fault::Pause(at, meanwhile)) => self.pause(&bounded(act), at, meanwhile),
        }
    }

    /// Which act that is; what it needs is made first.
    fn resolve(&mut self, who: Person, what: What) -> Result<Option<Act>, String> {
        let deed = match what {
            What::Publish { .. } | What::Batch { .. } => {
                if self.producers(who) == 0 {
                    self.act(who, Deed::Produce { sole: false })?;
                }
                if self.producers(who) == 0 {
                    return Ok(None);
                }
                Some(self.sending(what))
            }
            What::Receive { consumer, .. } | What::Several { consumer, .. } => {
                if self.consumers(who).is_empty() {
                    self.join(who, consumer)?;
                }
                self.receiving(who, what)
            }
            What::Settle { guard, how } => {
                let guards = self.lives[&who].guards();
                pick(&guards, guard).map(|guard| Deed::Settle { guard, how })
            }
            What::Decide { .. } => self.deciding(what),
            What::Join { group } => {
                self.join(who, group)?;
                None
            }
            What::Leave { consumer } => {
                let Some(consumer) = pick(&self.consumers(who), consumer) else {
                    return Ok(None);
                };
                for guard in self.lives[&who].guards_of(consumer) {
                    self.act(
                        who,
                        Deed::Settle {
                            guard,
                            how: Settle::Drop,
                        },
                    )?;
                }
                Some(Deed::Leave { consumer })
            }
            What::Create {
                group,
                kind,
                start,
                open,
            } => {
                if kind.letters {
                    self.make_letters();
                }
                let start = self.start(start);
                Some(Deed::Create {
                    group,
                    kind,
                    start,
                    open,
                })
            }
            What::Delete { group } => {
                let groups: Vec<_> = self.models[0].groups.keys().copied().collect();
                pick(&groups, group).map(|group| Deed::Delete { group })
            }
            What::Produce { sole } => (self.producers(who) < 2).then_some(Deed::Produce { sole }),
            What::Stop => (self.producers(who) > 0).then_some(Deed::Stop),
            What::Sweep => Some(Deed::Sweep),
            What::Attach => {
                let who = self.people;
                self.people += 1;
                return Ok(Some(Act {
                    who,
                    deed: Deed::Attach,
                }));
            }
            What::Detach => {
                self.detach(who)?;
                None
            }
        };
        Ok(deed.map(|deed| Act { who, deed }))
    }

    fn join(&mut self, who: Person, group: u8) -> Outcome {
        let groups: Vec<_> = self.models[0].groups.keys().copied().collect();
        if self.consumers(who).len() >= 3 {
            return Ok(());
        }
        let Some(group) = pick(&groups, group) else {
            return Ok(());
        };
        let consumer = self.id();
        self.act(who, Deed::Join { group, consumer })
    }

    fn start(&self, start: u8) -> Start {
        let model = &self.models[0];
        let earliest = model.lowest().unwrap_or(model.tail());
        match start {
            0..4 => Start::Latest,
            4..8 => Start::Earliest,
            _ => Start::At(earliest + u64::from(start) - 8),
        }
    }

    fn make_letters(&self) {
        let place = self.dir.path().join(LETTERS);
        if !place.exists() {
            let options = Queue::options()
                .capacity(256)
                .max_message(Setup::MAX_MESSAGE as u64 + 358);
            drop(options.arena_size(128 * 8192).create(place).unwrap());
        }
    }

    /// What waits for ever if it has to is only done where it has not.
    fn sending(&mut self, what: What) -> Deed {
        let fits = |model: &Model| model.room() > 0 && !model.troubled();
        let room = self.models.iter().all(fits);
        let waits = self.setup.policy != FullPolicy::Reject;
        let tag = self.tags;
        match what {
            What::Publish { how, length } => {
                self.tags += 1;
                let long = length > self.setup.inline()
                    || matches!(how, Publish::Loan | Publish::LeakLoan);
                let arena = !(self.setup.tight && long) && self.models[0].loans < 20;
                let how = match how {
                    Publish::Try | Publish::Timed => how,
                    _ if !waits && how != Publish::LeakLoan => how,
                    Publish::Wait if !(room && arena) => Publish::Timed,
                    Publish::Commit | Publish::Loan if !(room && arena) => Publish::Try,
                    _ if !arena => Publish::Try,
                    how => how,
                };
                Deed::Publish { how, tag, length }
            }
            What::Batch { count, length } => {
                let long = length > self.setup.inline() && self.setup.tight;
                let least = self.models.iter().map(Model::room).min().unwrap();
                let most = if room && !long {
                    least.min(5) as usize
                } else {
                    0
                };
                let count = if waits { count.min(most) } else { count };
                self.tags += count as u32;
                Deed::Batch { tag, count, length }
            }
            _ => unreachable!(),
        }
    }

    fn receiving(&mut self, who: Person, what: What) -> Option<Deed> {
        let consumers = self.consumers(who);
        let guard = self.id();
        let (deed, surely) = match what {
            What::Receive { consumer, how } => {
                let consumer = pick(&consumers, consumer)?;
                let deed = |how| Deed::Receive {
                    consumer,
                    how,
                    guard,
                };
                (deed(how), deed(Receive::Timed))
            }
            What::Several {
                consumer,
                how,
                max,
                open,
                leak,
            } => {
                self.ids += max as Id;
                let consumer = pick(&consumers, consumer)?;
                let strict = |model: &Model| {
                    let group = model.people[&who].consumers[&consumer];
                    !model.troubled() && !model.groups[&group].loose
                };
                let strict = self.models.iter().all(strict);
                let leak = leak && strict;
                // In no particular order there are too many ways to open several.
                let open = if strict { open } else { open.min(2) };
                let deed = |how| Deed::Several {
                    consumer,
                    how,
                    max,
                    open,
                    leak,
                    guard,
                };
                (deed(how), deed(Receive::Timed))
            }
            _ => unreachable!(),
        };
        let waits = |how| matches!(how, Receive::Wait | Receive::Iter);
        let unbounded = match deed {
            Deed::Receive { how, .. } | Deed::Several { how, .. } => waits(how),
            _ => false,
        };
        let act = Act { who, deed };
        let comes = |model: &Model| {
            let outcomes = model.predict(&act);
            !model.troubled()
                && outcomes
                    .iter()
                    .all(|(_, seen)| matches!(seen, Seen::Got(_)))
        };
        Some(if unbounded && !self.models.iter().all(comes) {
            surely
        } else {
            deed
        })
    }

    fn deciding(&self, what: What) -> Option<Deed> {
        let What::Decide {
            group,
            which,
            again,
        } = what
        else {
            unreachable!()
        };
        let model = &self.models[0];
        let open = |name: &u8| {
            self.models
                .iter()
                .all(|model| model.groups.get(name).is_some_and(|group| !group.closing))
        };
        let groups: Vec<_> = model.groups.keys().copied().filter(open).collect();
        let group = pick(&groups, group)?;
        let parked: Vec<u64> = model
            .parked(group)
            .iter()
            .map(|&(sequence, ..)| sequence)
            .collect();
        let sequence = pick(&parked, which).unwrap_or(self.setup.base());
        Some(Deed::Decide {
            group,
            sequence,
            again,
        })
    }

    pub fn act(&mut self, who: Person, deed: Deed) -> Outcome {
        self.step(&Act { who, deed })
    }

    fn log(&mut self, line: String) {
        self.count.acts += 1;
        super::UNDER_WAY.lock().unwrap().push(line.clone());
        let indent = if self.busy.is_some() { "    " } else { "" };
        self.script.push(format!("{indent}{line}"));
    }

    fn take(&mut self, act: &Act) -> Handles {
        let handles = self.lives.remove(&act.who);
        handles.unwrap_or_else(|| Handles::new(&self.path))
    }

    fn put(&mut self, act: &Act, handles: Handles, seen: &Seen) {
        let gone = act.deed == Deed::Quit || (act.deed == Deed::Attach && *seen != Seen::Done);
        if !gone {
            self.lives.insert(act.who, handles);
        }
    }

    fn step(&mut self, act: &Act) -> Outcome {
        self.log(format!("{act:?}"));
        let at = self.script.len() - 1;
        let mut handles = self.take(act);
        let seen = handles.perform(act);
        self.put(act, handles, &seen);
        self.script[at] += &format!(" -> {seen:?}");
        self.follow(act, &seen)
    }

    fn follow(&mut self, act: &Act, seen: &Seen) -> Outcome {
        let outcomes = self
            .models
            .iter()
            .flat_map(|model| model.predict(act))
            .collect();
        self.agree(act, seen, outcomes)
    }

    /// Keeps the models in which that is seen.
    fn agree(&mut self, act: &Act, seen: &Seen, outcomes: Vec<(Model, Seen)>) -> Outcome {
        let mut expected: Vec<Seen> = Vec::new();
        let mut models = Vec::new();
        for (model, predicted) in outcomes {
            if predicted == *seen {
                models.push(model);
            } else if !expected.contains(&predicted) {
                expected.push(predicted);
            }
        }
        if models.is_empty() {
            return Err(format!(
                "{act:?}\n  seen: {seen:?}\n  expected one of: {expected:?}"
            ));
        }
        self.models = models;
        self.check()
    }

    /// Dies at that access; at the end of the act, if it makes fewer, or if deaths within are not told apart.
    fn crash(&mut self, act: &Act, at: u64) -> Outcome {
        // Who waits sweeps, and may be halfway through it.
        let sweeps = self.models.iter().any(|model| model.sweepings().len() > 1);
        let act = &if sweeps { bounded(*act) } else { *act };
        let within = self.models.iter().all(|model| model.may_die_in(act));
        self.log(format!("{act:?} -- dies at access {at}"));
        let mut handles = self.take(act);
        let done = Rc::new(Cell::new(None));
        let note = Rc::clone(&done);
        let act_now = *act;
        dies(move || {
            if within {
                fault::install(move |number| {
                    if number == at {
                        die();
                    }
                });
            }
            let seen = handles.perform(&act_now);
            fault::remove();
            note.set(Some(seen));
            // Nothing of it is dropped by the living.
            let _handles = handles;
            die()
        });
        let line = self.script.len() - 1;
        let seen = done.take();
        self.count.deaths += usize::from(seen.is_none());
        if let Some(seen) = &seen {
            self.script[line] = format!("{act:?} -> {seen:?}, and dies");
        }
        let models = std::mem::take(&mut self.models);
        self.models = match &seen {
            Some(seen) => after_act(&models, act, seen),
            None => models
                .iter()
                .flat_map(|model| model.after_death(act))
                .collect(),
        };
        if self.models.is_empty() {
            return Err(format!("{act:?}\n  seen: {seen:?}"));
        }
        let sweeps = matches!(
            act.deed,
            Deed::Attach | Deed::Sweep | Deed::Create { .. } | Deed::Quit | Deed::Produce { .. }
        );
        match self.people().first() {
            Some(&other) if sweeps => self.act(other, Deed::Sweep),
            None if sweeps => self.attach().map(drop),
            _ => self.check(),
        }
    }

    /// Is stopped there while others do these things, and goes on.
    fn pause(&mut self, act: &Act, at: u64, meanwhile: &[Call]) -> Outcome {
        if !self.models.iter().all(|model| model.may_pause_in(act)) {
            return self.step(act);
        }
        self.log(format!("{act:?} -- paused at access {at}"));
        let line = self.script.len() - 1;
        let mut handles = self.take(act);
        let (this, calls, act_now) = (std::ptr::from_mut(self), meanwhile.to_vec(), *act);
        fault::install(move |number| {
            if number == at {
                // The operation under way has nothing of the world in its hands but what was taken out of it.
                let world = unsafe { &mut *this };
                if let Err(problem) = world.meanwhile(&act_now, &calls) {
                    world.problem.get_or_insert(problem);
                }
            }
        });
        let seen = handles.perform(act);
        let paused = fault::remove() > at;
        self.put(act, handles, &seen);
        self.busy = None;
        self.count.pauses += usize::from(paused);
        let resumed = if paused { ", resumes" } else { "" };
        self.script[line] += if paused { "" } else { ", which it never makes" };
        self.log(format!("{act:?}{resumed} -> {seen:?}"));
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        if !paused {
            return self.follow(act, &seen);
        }
        let outcomes = self.models.iter().flat_map(Model::resume).collect();
        self.agree(act, &seen, outcomes)
    }

    fn meanwhile(&mut self, act: &Act, calls: &[Call]) -> Outcome {
        self.busy = Some(act.who);
        self.models = self
            .models
            .iter()
            .flat_map(|model| model.while_paused(act))
            .collect();
        self.check()?;
        calls.iter().try_for_each(|call| self.call(*call, None))
    }
}

enum Fault<'o> {
    Crash(u64),
    Pause(u64, &'o [Call]),
}

/// It ended, and then its attachment died.
fn after_act(models: &[Model], act: &Act, seen: &Seen) -> Vec<Model> {
    let outcomes = models.iter().flat_map(|model| model.predict(act));
    let agreeing = outcomes.filter(|(_, predicted)| predicted == seen);
    let mut models: Vec<Model> = agreeing.map(|(model, _)| model).collect();
    for model in &mut models {
        if model.people.contains_key(&act.who) {
            model.kill(act.who);
        }
    }
    models
}

/// Others may take what it would wait for, and nobody would end its wait; and who waits sweeps.
fn bounded(act: Act) -> Act {
    let deed = match act.deed {
        Deed::Receive {
            consumer,
            how: Receive::Wait | Receive::Iter | Receive::Timed,
            guard,
        } => Deed::Receive {
            consumer,
            how: Receive::Try,
            guard,
        },
        Deed::Publish {
            how: Publish::Wait | Publish::Commit | Publish::Loan | Publish::Timed,
            tag,
            length,
        } => Deed::Publish {
            how: Publish::Try,
            tag,
            length,
        },
        deed => deed,
    };
    Act { deed, ..act }
}

fn pick<T: Copy>(list: &[T], at: u8) -> Option<T> {
    (!list.is_empty()).then(|| list[usize::from(at) % list.len()])
}
