//! Groups: named readers of a queue. Every group sees every message; within a shared group each message goes to one
//! consumer.

use std::sync::Arc;
use std::time::Duration;

use crate::durable::NotSynced;
use crate::error::{AttachError, GeometryError, GroupError};
use crate::layout::geometry::group;
use crate::layout::header::FullPolicy;
use crate::layout::{ACK_TIMEOUT_MAX_MS, EntryState, GroupId, NAME_MAX, OwnedWord};
use crate::participant::{Attachment, Futex};
use crate::ring::{OutOfReach, Ring, Start, Terms};
use crate::sync::Ordering;
use crate::{Consumer, dead};

/// The group a new queue has.
pub const DEFAULT_GROUP: &str = "default";

/// How a group is made. The group `default` of a new queue has none of these; to have it otherwise, create the queue
/// without it ([`Options::default_group`](crate::Options::default_group)) and make it.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use slipring::{GroupOptions, Start};
/// let options = GroupOptions::shared()
///     .start(Start::Earliest)
///     .max_deliveries(5)
///     .dead_letters("orders.dead")
///     .ack_timeout(Duration::from_secs(30));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing until a group is made with them"]
pub struct GroupOptions {
    exclusive: bool,
    ephemeral: bool,
    start: Start,
    max_deliveries: Option<u8>,
    dead_letters: Option<String>,
    ack_timeout: Option<Duration>,
}

impl GroupOptions {
    /// Consumers compete: each message goes to one, is settled by itself, and order is that of claims, not of endings.
    pub fn shared() -> Self {
        Self::default()
    }

    /// One consumer at a time sees all messages in strict order; others stand by and take over when it leaves or dies.
    /// The fastest kind, for broadcast and pipelines.
    pub fn exclusive() -> Self {
        Self {
            exclusive: true,
            ..Self::default()
        }
    }

    /// Where it starts; default [`Start::Latest`].
    pub fn start(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Whether it vanishes when its last consumer has gone; if none ever comes, with the process that made it.
    pub fn ephemeral(self, ephemeral: bool) -> Self {
        Self { ephemeral, ..self }
    }

    /// How often a message is delivered at most, 1 to 254; default: any number. One delivered as often and not acked is
    /// dead: it goes to the dead-letter queue, or, without one, is parked ([`Group::dead_letters`]). A message that kills
    /// every consumer it meets is stopped so.
    pub fn max_deliveries(self, deliveries: u8) -> Self {
        Self {
            max_deliveries: Some(deliveries),
            ..self
        }
    }

    /// The queue that dead messages go to: delivered too often, or rejected ([`Delivery::reject`](crate::Delivery::reject)).
    /// A bare name is a file beside this queue's own; anything else is a path. Making the group makes that queue if there
    /// is none. Its consumers see the payload as it was published, and the rest by
    /// [`Delivery::dead_letter`](crate::Delivery::dead_letter). A message that it has no room for, or no
    /// group that would keep it, is parked. It may not drop its oldest messages.
    pub fn dead_letters(self, queue: impl Into<String>) -> Self {
        Self {
            dead_letters: Some(queue.into()),
            ..self
        }
    }

    /// Shared groups: how long a claim lasts, 1 ms to 2^40 ms; default: as long as its process lives. Then it goes to
    /// another consumer, which takes up to about 100 ms to be noticed, and the late ack fails with
    /// [`AckError::Stale`](crate::AckError::Stale). [`Delivery::extend`](crate::Delivery::extend) prolongs it.
    /// As whoever takes it has to be told from who had it, no delivery is taken back in such a group: a release counts as
    /// one, the count goes on after [`Group::retry`], which gives a message one more delivery, and 254 are the most.
    /// Messages of such a group are copied out, one allocation each, since the queue may overwrite what a late consumer
    /// still looks at.
    pub fn ack_timeout(self, timeout: Duration) -> Self {
        Self {
            ack_timeout: Some(timeout),
            ..self
        }
    }

    fn terms(&self) -> Result<Terms, GroupError> {
        let refuse = |field, found, expected| {
            Err(GroupError::Option(GeometryError {
                field,
                found,
                expected,
            }))
        };
        let ack_timeout_ms = match self.ack_timeout {
            None => 0,
            Some(timeout) => {
                let ms = timeout.as_nanos().div_ceil(1_000_000);
                match u64::try_from(ms) {
                    Ok(ms @ 1..=ACK_TIMEOUT_MAX_MS) => ms,
                    _ => {
                        let found = u64::try_from(ms).unwrap_or(u64::MAX);
                        return refuse("ack_timeout", found, "from 1 to 2^40 ms");
                    }
                }
            }
        };
        if self.exclusive && ack_timeout_ms > 0 {
            return Err(GroupError::AckTimeoutOnExclusive);
        }
        if let Some(found @ (0 | u8::MAX)) = self.max_deliveries {
            return refuse("max_deliveries", found.into(), "from 1 to 254");
        }
        Ok(Terms {
            exclusive: self.exclusive,
            ephemeral: self.ephemeral,
            max_deliveries: self.max_deliveries.unwrap_or(0),
            ack_timeout_ms,
        })
    }
}

/// A group of a queue. Holding one holds nothing: it may be deleted meanwhile.
#[derive(Clone, Debug)]
pub struct Group {
    attachment: Arc<Attachment>,
    id: GroupId,
    /// Tells it from a later group in the same entry.
    incarnation: u64,
    name: String,
}

impl Group {
    pub(crate) fn create(
        attachment: &Arc<Attachment>,
        name: &str,
        options: &GroupOptions,
    ) -> Result<Self, GroupError> {
        check_name(name)?;
        if attachment.is_forked() {
            return Err(GroupError::Forked);
        }
        if options.exclusive && attachment.verified().full_policy == FullPolicy::DropOldest {
            return Err(GroupError::ExclusiveOnLossy);
        }
        let terms = options.terms()?;
        Self::check_free(attachment.ring(), name)?;
        let dead_queue = match &options.dead_letters {
            Some(queue) => dead::prepare_queue(attachment, queue)?,
            None => String::new(),
        };
        attachment
            .alone(|| Self::create_alone(attachment, name, terms, options.start, &dead_queue))
            .unwrap_or(Err(GroupError::Busy))
    }

    fn check_free(ring: &Ring, name: &str) -> Result<(), GroupError> {
        match find(ring, name) {
            None => Ok(()),
            Some((_, state)) if state.entry_state() == Some(EntryState::Closing) => {
                Err(GroupError::Closing)
            }
            Some(_) => Err(GroupError::AlreadyExists),
        }
    }

    fn create_alone(
        attachment: &Arc<Attachment>,
        name: &str,
        terms: Terms,
        start: Start,
        dead_queue: &str,
    ) -> Result<Self, GroupError> {
        let ring = attachment.ring();
        Self::check_free(ring, name)?;
        let max = ring.geometry().shape().max_groups;
        let joining = ring
            .begin_group(attachment.me())
            .ok_or(GroupError::Full { max })?;
        // In a durable queue the disk must not take this entry for the group that had it before, nor a part of it for a group.
        sync_group(attachment).inspect_err(|_| ring.abandon_group(joining))?;
        Self::write_name(ring, joining.id, name);
        dead::write_queue(ring, joining.id, dead_queue);
        let mut synced = Ok(());
        let sync = || {
            synced = sync_group(attachment);
            synced.is_ok()
        };
        ring.finish_group_synced(joining, terms, start, sync)
            .map_err(|OutOfReach { earliest, latest }| {
                let asked = match start {
                    Start::At(asked) => asked,
                    Start::Earliest | Start::Latest => latest,
                };
                GroupError::Start {
                    asked,
                    earliest,
                    latest,
                }
            })?;
        synced?;
        sync_group(attachment)?;
        Ok(Self::at(attachment, joining.id, name.to_owned()))
    }

    pub(crate) fn write_name(ring: &Ring, id: GroupId, name: &str) {
        ring.mem()
            .copy_in(ring.geometry().group(id).plus(group::NAME), name.as_bytes());
        // ORDERING: Release; pairs with name_of's Acquire; the name's bytes.
        ring.group_word(id, group::NAME_LENGTH)
            .store(name.len() as u64, Ordering::Release);
    }

    fn at(attachment: &Arc<Attachment>, id: GroupId, name: String) -> Self {
        let incarnation = attachment.ring().group_state(id).tag();
        Self {
            attachment: Arc::clone(attachment),
            id,
            incarnation,
            name,
        }
    }

    pub(crate) fn open(attachment: &Arc<Attachment>, name: &str) -> Result<Self, GroupError> {
        if attachment.is_forked() {
            return Err(GroupError::Forked);
        }
        match find(attachment.ring(), name) {
            Some((id, state)) if state.entry_state() == Some(EntryState::Live) => {
                Ok(Self::at(attachment, id, name.to_owned()))
            }
            Some((_, state)) if state.entry_state() == Some(EntryState::Closing) => {
                Err(GroupError::Closing)
            }
            // Being made: not there yet.
            _ => Err(GroupError::NotFound),
        }
    }

    pub(crate) fn open_or_create(
        attachment: &Arc<Attachment>,
        name: &str,
        options: &GroupOptions,
    ) -> Result<Self, GroupError> {
        match Self::open(attachment, name) {
            Err(GroupError::NotFound) => {}
            found => return found.and_then(|found| found.made_with(options)),
        }
        match Self::create(attachment, name, options) {
            // Somebody was quicker.
            Err(GroupError::AlreadyExists) => {
                Self::open(attachment, name).and_then(|found| found.made_with(options))
            }
            made => made,
        }
    }

    /// Compares what was asked for with what there is; where it starts and whether it is ephemeral are not compared.
    fn made_with(self, options: &GroupOptions) -> Result<Self, GroupError> {
        let asked = options.terms()?;
        let ring = self.attachment.ring();
        let found = ring.terms(self.id);
        if found.exclusive != asked.exclusive {
            return Err(GroupError::KindDiffers {
                exclusive: found.exclusive,
            });
        }
        let dead_queue = dead::queue_of(ring, self.id);
        let differs = |set: bool, same: bool, option| {
            if set && !same {
                Err(GroupError::OptionDiffers { option })
            } else {
                Ok(())
            }
        };
        let limit = found.max_deliveries == asked.max_deliveries;
        differs(options.max_deliveries.is_some(), limit, "max_deliveries")?;
        let timeout = found.ack_timeout_ms == asked.ack_timeout_ms;
        differs(options.ack_timeout.is_some(), timeout, "ack_timeout")?;
        if let Some(queue) = &options.dead_letters {
            differs(true, dead::kept_name(queue) == dead_queue, "dead_letters")?;
        }
        Ok(self)
    }

    pub(crate) fn all(attachment: &Arc<Attachment>) -> Vec<Self> {
        if attachment.is_forked() {
            return Vec::new();
        }
        let ring = attachment.ring();
        ring.geometry()
            .group_ids()
            .filter(|&id| ring.group_state(id).entry_state() == Some(EntryState::Live))
            .map(|id| Self::at(attachment, id, name_of(ring, id)))
            .collect()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True if one consumer at a time sees everything in strict order.
    pub fn is_exclusive(&self) -> bool {
        !self.attachment.is_forked() && self.attachment.ring().is_exclusive(self.id)
    }

    /// A consumer in this group. In an exclusive group it becomes the active one, or stands by.
    ///
    /// # Errors
    /// [`AttachError::GroupClosed`] if the group has been deleted.
    pub fn consumer(&self) -> Result<Consumer, AttachError> {
        if self.attachment.is_forked() {
            return Err(AttachError::Forked);
        }
        if !self.is_current() || !self.attachment.join_group(self.id) {
            return Err(AttachError::GroupClosed);
        }
        // Joined, so it cannot be freed and made anew any more.
        if !self.is_current() {
            self.attachment.leave_group(self.id);
            return Err(AttachError::GroupClosed);
        }
        self.attachment.ring().note_joined(self.id);
        Ok(Consumer::new(Arc::clone(&self.attachment), self.id))
    }

    /// Runs `work` as a member of the group, so that it cannot be freed and made anew meanwhile; `None`: it is gone.
    pub(crate) fn as_member<T>(&self, work: impl FnOnce(&Attachment, GroupId) -> T) -> Option<T> {
        let attachment = &self.attachment;
        if attachment.is_forked() || !self.is_current() || !attachment.join_group(self.id) {
            return None;
        }
        let done = self.is_current().then(|| work(attachment, self.id));
        attachment.leave_group(self.id);
        done
    }

    fn is_current(&self) -> bool {
        let state = self.attachment.ring().group_state(self.id);
        state.tag() == self.incarnation && state.entry_state() == Some(EntryState::Live)
    }

    /// Deletes it: members are told at their next call, and once they have gone it holds nobody back.
    ///
    /// # Errors
    /// [`GroupError::NotFound`] if it is gone already.
    pub fn delete(self) -> Result<(), GroupError> {
        if self.attachment.is_forked() {
            return Err(GroupError::Forked);
        }
        let ring = self.attachment.ring();
        let state = ring.group_state(self.id);
        if state.tag() != self.incarnation || !ring.close_group(self.id, state) {
            return Err(GroupError::NotFound);
        }
        ring.wake_all(&Futex);
        sync_group(&self.attachment)
    }
}

/// In a durable queue, waits until the disk has all of the group table.
fn sync_group(attachment: &Attachment) -> Result<(), GroupError> {
    let mut publisher = attachment.ring().publisher(attachment.me(), false);
    match attachment.sync(&mut publisher) {
        Err(NotSynced::Failed(errno)) => Err(GroupError::SyncFailed { errno }),
        Ok(()) | Err(NotSynced::NotDurable) => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), GroupError> {
    let good = (1..=NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if good {
        return Ok(());
    }
    Err(GroupError::Name {
        length: name.len(),
        expected: "1 to 63 bytes without control characters",
    })
}

/// The entry of that name that is in use or being deleted.
fn find(ring: &Ring, name: &str) -> Option<(GroupId, OwnedWord)> {
    ring.geometry()
        .group_ids()
        .map(|id| (id, ring.group_state(id)))
        .find(|&(id, state)| {
            matches!(
                state.entry_state(),
                Some(EntryState::Pinned | EntryState::Live | EntryState::Closing)
            ) && name_of(ring, id) == name
        })
}

/// A group's name; what is no text is shown as U+FFFD.
pub(crate) fn name_of(ring: &Ring, id: GroupId) -> String {
    // ORDERING: Acquire; pairs with write_name's Release.
    let length = ring
        .group_word(id, group::NAME_LENGTH)
        .load(Ordering::Acquire);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(NAME_MAX).min(NAME_MAX)];
    ring.mem()
        .copy_out_torn(ring.geometry().group(id).plus(group::NAME), &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
