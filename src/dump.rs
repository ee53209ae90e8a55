//! A queue file word by word, decoded: for people who look for what is wrong with one. Works on files that nobody can open,
//! and believes none of them.
//!
//! Relies on `examine`; the names of the fields are those of `docs/format.md`.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use zerocopy::FromBytes;

use crate::error::OpenError;
use crate::examine::{Examined, Standing, decode};
use crate::layout::geometry::{
    NOTE_SIZE, NOTES_PER_GROUP, control, group, note, participant, segment, slot,
};
use crate::layout::{
    DEAD_QUEUE_MAX, EntryState, FormatError, Geometry, GroupId, NAME_MAX, NOTE_MAX, Offset,
    OwnedWord, OwnerId, SegmentPointer, SlotHeader, SlotState,
};
use crate::recover::PendingRecovery;
use crate::verify::HEADER_FIELDS;

/// A queue file, to be shown. Made by [`Dump::open`].
///
/// Each part is read when it is asked for, so on a queue in use the parts are from different moments.
///
/// # Examples
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("orders");
/// slipring::Queue::create(&path)?.producer()?.publish("shown")?;
/// let dump = slipring::Dump::open(&path)?;
/// let slot = dump.slots(0..1).next().unwrap();
/// assert_eq!(slot.fields[0].text, "Published, sequence 0, owner 0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Dump {
    examined: Examined,
}

/// A part of the file: an entry of a table, a slot with the words that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpEntry {
    /// What it is, such as `slot 3`.
    pub name: String,
    /// Where it starts, in bytes from the start of the file.
    pub offset: u64,
    /// Its fields, in the order of the format's tables. Those that lie behind the end of a truncated file are not there.
    pub fields: Vec<DumpField>,
}

/// A field of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpField {
    /// Its name in `docs/format.md`; for a group's word, with the number of the group.
    pub name: String,
    /// Where it is, in bytes from the start of the file.
    pub offset: u64,
    /// As it stands there; `None` if it is no number.
    pub raw: Option<u64>,
    /// What that means.
    pub text: String,
}

impl fmt::Display for DumpField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}

/// How the bits of a word are to be understood.
#[derive(Clone, Copy)]
enum Word {
    Number,
    Entry,
}

impl Dump {
    /// Opens a file for reading. A damaged, truncated or foreign one is no error: what can be shown of it is.
    ///
    /// # Errors
    /// The file cannot be read, or is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let examined = Examined::open(path.as_ref())?;
        Ok(Self { examined })
    }

    /// Why nobody can open the queue, if so.
    pub fn refused(&self) -> Option<FormatError> {
        self.examined.refused
    }

    /// What the next opener does first, if the file was last used in another boot.
    pub fn pending_recovery(&self) -> Option<PendingRecovery> {
        self.examined.pending_recovery()
    }

    /// Where everything lies, if the header's numbers can be; without it, only the header is shown.
    pub fn geometry(&self) -> Option<&Geometry> {
        self.examined.geometry.as_ref()
    }

    /// Bytes of the file.
    pub fn file_size(&self) -> u64 {
        self.examined.size
    }

    /// The header.
    pub fn header(&self) -> DumpEntry {
        let mut entry = self.entry("header".to_owned(), Offset(0));
        let ends = HEADER_FIELDS.iter().skip(1).map(|(_, offset)| *offset);
        for (&(name, at), end) in HEADER_FIELDS.iter().zip(ends.chain([120])) {
            let bytes = self.examined.bytes(Offset(at), end - at);
            if bytes.len() as u64 != end - at {
                break;
            }
            let number = bytes
                .iter()
                .rev()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            let (raw, text) = match name {
                "magic" => (None, format!("\"{}\"", bytes.escape_ascii())),
                "queue_id" | "boot_id" => (None, hex(&bytes)),
                "crc" => (Some(number), self.crc_text(number)),
                _ => (Some(number), number.to_string()),
            };
            entry.push(name, Offset(at), raw, text);
        }
        entry
    }

    fn crc_text(&self, found: u64) -> String {
        let computed = self.examined.header.map(|header| header.checksum());
        match computed {
            Some(computed) if u64::from(computed) != found => {
                format!("{found:#010x}, computed {computed:#010x}")
            }
            _ => format!("{found:#010x}"),
        }
    }

    /// The control block.
    pub fn control(&self) -> DumpEntry {
        let mut entry = self.entry("control".to_owned(), control::TAIL);
        if self.geometry().is_none() {
            return entry;
        }
        let words = [
            ("tail", control::TAIL, Word::Number),
            ("waiting", control::WAITING, Word::Number),
            ("space_waiting", control::SPACE_WAITING, Word::Number),
            ("generation", control::GENERATION, Word::Number),
            ("sole", control::SOLE, Word::Entry),
            ("last_probe", control::LAST_PROBE, Word::Number),
            ("aborted", control::ABORTED, Word::Number),
            ("buried", control::BURIED, Word::Number),
            ("returned", control::RETURNED, Word::Number),
            ("syncer", control::SYNCER, Word::Entry),
            ("started", control::STARTED, Word::Number),
            ("finished", control::FINISHED, Word::Number),
            ("until_disk", control::UNTIL_DISK, Word::Number),
            ("until_live", control::UNTIL_LIVE, Word::Number),
            ("durable", control::DURABLE, Word::Number),
            ("poisoned", control::POISONED, Word::Number),
            ("synced_view", control::SYNCED_VIEW, Word::Number),
            ("asked", control::ASKED, Word::Number),
            ("covered", control::COVERED, Word::Number),
            ("expected", control::EXPECTED, Word::Number),
            ("sync_ns", control::SYNC_NS, Word::Number),
            ("epoch", control::EPOCH, Word::Number),
            ("boot_first", control::BOOT_FIRST, Word::Number),
            ("boot_second", control::BOOT_SECOND, Word::Number),
            ("boot_check", control::BOOT_CHECK, Word::Number),
            ("recovered", control::RECOVERED, Word::Number),
            ("torn", control::TORN, Word::Number),
            ("missing", control::MISSING, Word::Number),
            ("found_clean", control::FOUND_CLEAN, Word::Number),
            ("clean", control::CLEAN, Word::Number),
        ];
        for (name, offset, word) in words {
            self.word(&mut entry, name, offset, word);
        }
        entry
    }

    /// The participants whose entries are, or were, in use.
    pub fn participants(&self) -> impl Iterator<Item = DumpEntry> + '_ {
        let ids = self
            .geometry()
            .into_iter()
            .flat_map(Geometry::participant_ids);
        ids.filter_map(|id| self.participant(id))
    }

    fn participant(&self, id: OwnerId) -> Option<DumpEntry> {
        let start = self.geometry()?.participant(id);
        self.examined.word(start).filter(|&word| word != 0)?;
        let mut entry = self.entry(format!("participant {}", id.0), start);
        self.word(&mut entry, "state", start, Word::Entry);
        if let Some(field) = entry.fields.first_mut()
            && let Some(standing @ (Standing::Alive | Standing::Dead)) = self.examined.standing(id)
        {
            let lock = match standing {
                Standing::Alive => "lock held",
                _ => "lock free: dead",
            };
            field.text = format!("{}, {lock}", field.text);
        }
        for (name, field) in [
            ("member_of", participant::MEMBER_OF),
            ("produces", participant::PRODUCES),
            ("pid", participant::PID),
            ("attached_ns", participant::ATTACHED_NS),
        ] {
            self.word(&mut entry, name, start.plus(field), Word::Number);
        }
        let (text, length) = (participant::NAME, participant::NAME_LENGTH);
        self.text(&mut entry, "name", start, text, length, NAME_MAX);
        let published = start.plus(participant::PUBLISHED);
        self.word(&mut entry, "published", published, Word::Number);
        Some(entry)
    }

    /// The groups whose entries are, or were, in use.
    pub fn groups(&self) -> impl Iterator<Item = DumpEntry> + '_ {
        let ids = self.geometry().into_iter().flat_map(Geometry::group_ids);
        ids.filter_map(|id| self.group(id))
    }

    fn group(&self, id: GroupId) -> Option<DumpEntry> {
        let start = self.geometry()?.group(id);
        self.examined.word(start).filter(|&word| word != 0)?;
        let mut entry = self.entry(format!("group {}", id.0), start);
        self.word(&mut entry, "state", start, Word::Entry);
        self.word(&mut entry, "flags", start.plus(group::FLAGS), Word::Number);
        let (text, length) = (group::NAME, group::NAME_LENGTH);
        self.text(&mut entry, "name", start, text, length, NAME_MAX);
        for (name, field) in [
            ("start", group::START),
            ("floor", group::FLOOR),
            ("opened", group::OPENED),
            ("head", group::HEAD),
        ] {
            self.word(&mut entry, name, start.plus(field), Word::Number);
        }
        let floor = self.examined.word(start.plus(group::FLOOR));
        if let Some(raw) = self.examined.word(start.plus(group::READY)) {
            let text = decode::ready(raw, floor.unwrap_or(0));
            entry.push("ready", start.plus(group::READY), Some(raw), text);
        }
        self.word(&mut entry, "owner", start.plus(group::OWNER), Word::Entry);
        for (name, field) in [
            ("delivered", group::DELIVERED),
            ("redelivered", group::REDELIVERED),
            ("acked", group::ACKED),
            ("dead_lettered", group::DEAD_LETTERED),
            ("expired", group::EXPIRED),
            ("lost", group::LOST),
            ("max_deliveries", group::MAX_DELIVERIES),
            ("ack_timeout", group::ACK_TIMEOUT),
        ] {
            self.word(&mut entry, name, start.plus(field), Word::Number);
        }
        let (text, length) = (group::DEAD_QUEUE, group::DEAD_QUEUE_LENGTH);
        self.text(
            &mut entry,
            "dead_queue",
            start,
            text,
            length,
            DEAD_QUEUE_MAX,
        );
        self.notes(&mut entry, start.plus(group::NOTES));
        Some(entry)
    }

    fn notes(&self, entry: &mut DumpEntry, start: Offset) {
        for number in 0..NOTES_PER_GROUP {
            let start = start.plus(number * NOTE_SIZE);
            let sequence = self.examined.word(start.plus(note::SEQUENCE));
            let Some(sequence) = sequence.filter(|&sequence| sequence != 0) else {
                continue;
            };
            let name = format!("note of sequence {}", sequence - 1);
            self.text(entry, &name, start, note::REASON, note::LENGTH, NOTE_MAX);
        }
    }

    /// The segments that are, or were, in use.
    pub fn segments(&self) -> impl Iterator<Item = DumpEntry> + '_ {
        let count = self.geometry().map_or(0, Geometry::segment_count);
        (0..count).filter_map(|number| {
            let start = self.geometry()?.segment(number);
            self.examined.word(start).filter(|&word| word != 0)?;
            let mut entry = self.entry(format!("segment {number}"), start);
            self.word(&mut entry, "state", start, Word::Entry);
            for (name, field) in [
                ("bump", segment::BUMP),
                ("used_until", segment::USED_UNTIL),
                ("emptied", segment::EMPTIED),
            ] {
                self.word(&mut entry, name, start.plus(field), Word::Number);
            }
            Some(entry)
        })
    }

    /// Slots, by index: the slot word, the reservation, what the groups in use say of it, and the header of a message.
    pub fn slots(&self, indices: Range<u64>) -> impl Iterator<Item = DumpEntry> + '_ {
        let capacity = self.geometry().map_or(0, Geometry::capacity);
        (indices.start..indices.end.min(capacity)).filter_map(|index| self.slot(index))
    }

    /// The index of the slot of a sequence.
    pub fn index_of(&self, sequence: u64) -> Option<u64> {
        self.geometry()
            .map(|geometry| sequence % geometry.capacity())
    }

    fn slot(&self, index: u64) -> Option<DumpEntry> {
        let geometry = self.geometry()?;
        let start = geometry.slot(index);
        let word = self.examined.word(start.plus(slot::WORD))?;
        let mut entry = self.entry(format!("slot {index}"), start);
        let text = decode::slot(geometry, index, word);
        entry.push("word", start, Some(word), text);
        let at = geometry.reservation(index);
        if let Some(raw) = self.examined.word(at) {
            let text = decode::slot(geometry, index, raw);
            entry.push("reservation", at, Some(raw), text);
        }
        for id in geometry.group_ids() {
            let state = self.examined.word(geometry.group(id)).map(OwnedWord);
            let unused = state.is_none_or(|state| state.entry_state() == Some(EntryState::Free));
            let at = geometry.claim(id, index);
            let claim = self.examined.word(at).filter(|_| !unused);
            if let Some(raw) = claim {
                let text = decode::claim(geometry, index, raw, word);
                entry.push(&format!("claim {}", id.0), at, Some(raw), text);
            }
        }
        if OwnedWord(word).slot_state() == Some(SlotState::Published) {
            self.message(&mut entry, start);
        }
        Some(entry)
    }

    fn message(&self, entry: &mut DumpEntry, start: Offset) {
        let at = start.plus(slot::HEADER);
        let bytes = self.examined.bytes(at, size_of::<SlotHeader>() as u64);
        let Ok(header) = SlotHeader::read_from_bytes(&bytes) else {
            return;
        };
        let numbers = [
            ("length", 0, u64::from(header.length)),
            ("flags", 4, header.flags.into()),
            ("kind", 6, header.kind.into()),
            ("crc", 8, header.crc.into()),
            ("key", 12, header.key.into()),
            ("timestamp", 16, header.timestamp),
        ];
        for (name, offset, number) in numbers {
            entry.push(name, at.plus(offset), Some(number), number.to_string());
        }
        let at = start.plus(slot::PAYLOAD);
        if header.flags & SlotHeader::IN_ARENA == 0 {
            self.payload(entry, at, header.length);
            return;
        }
        let bytes = self.examined.bytes(at, size_of::<SegmentPointer>() as u64);
        let Ok(pointer) = SegmentPointer::read_from_bytes(&bytes) else {
            return;
        };
        let SegmentPointer { offset, emptied } = pointer;
        let length = u64::from(header.length);
        let segment = self
            .geometry()
            .and_then(|geometry| geometry.segment_at(offset, length));
        let place = segment.map_or_else(
            || "not in the arena".to_owned(),
            |number| format!("in segment {number}"),
        );
        let text = format!("offset {offset}, {place}, emptied {emptied}");
        entry.push("pointer", at, Some(offset), text);
        if segment.is_some() {
            self.payload(entry, Offset(offset), header.length);
        }
    }

    /// The first bytes of a payload.
    fn payload(&self, entry: &mut DumpEntry, at: Offset, length: u32) {
        const SHOWN: u64 = 64;
        let bytes = self.examined.bytes(at, u64::from(length).min(SHOWN));
        let more = if u64::from(length) > SHOWN { "..." } else { "" };
        let text = format!("\"{}\"{more}", bytes.escape_ascii());
        entry.push("payload", at, None, text);
    }

    fn entry(&self, name: String, offset: Offset) -> DumpEntry {
        DumpEntry {
            name,
            offset: offset.0,
            fields: Vec::new(),
        }
    }

    fn word(&self, entry: &mut DumpEntry, name: &str, at: Offset, word: Word) {
        if let Some(raw) = self.examined.word(at) {
            let text = match word {
                Word::Number => raw.to_string(),
                Word::Entry => decode::entry(raw),
            };
            entry.push(name, at, Some(raw), text);
        }
    }

    fn text(
        &self,
        entry: &mut DumpEntry,
        name: &str,
        start: Offset,
        text: u64,
        length: u64,
        most: usize,
    ) {
        let Some(length) = self.examined.word(start.plus(length)) else {
            return;
        };
        let bytes = self
            .examined
            .bytes(start.plus(text), length.min(most as u64));
        let shown = format!("\"{}\"", bytes.escape_ascii());
        entry.push(name, start.plus(text), None, shown);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl DumpEntry {
    fn push(&mut self, name: &str, offset: Offset, raw: Option<u64>, text: String) {
        self.fields.push(DumpField {
            name: name.to_owned(),
            offset: offset.0,
            raw,
            text,
        });
    }
}
