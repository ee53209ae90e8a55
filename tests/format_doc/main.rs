//! Goal: `docs/format.md` and the code say the same of every byte, so that a reader can be written from the page alone.
//! Method: the tables and formulas of the page are parsed and compared with the code, and the code's constants, fields
//! and states with the page, so that neither can say more than the other. At the end a reader that knows nothing but
//! the page reads a real file.

#![cfg(not(slipring_loom))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::mem::offset_of;

use slipring::layout::geometry::{self, Shape};
use slipring::layout::header::{self, DeadLetterHeader, FullPolicy, Timestamps, Verified};
use slipring::layout::{
    self, Durability, FileHeader, Geometry, GroupId, Offset, OwnerId, SegmentPointer, SlotHeader,
    word,
};
use slipring::{Cause, Message, Queue};
use zerocopy::IntoBytes;

mod page;
mod words;

use page::*;
use words::{bits, documented_states};

// --- Limits and shape. ---

macro_rules! limits {
    ($($module:ident: $($name:ident),+);+) => {
        Names::from([$($((stringify!($name), $module::$name as u64)),+),+])
    };
}

#[test]
fn every_limit_has_the_value_of_its_constant_and_none_is_missing() {
    let expected = limits!(
        layout: FORMAT_VERSION, LINE, PAGE, SLOT_HEADER, NAME_MAX, DEAD_QUEUE_MAX, REASON_MAX, NOTE_MAX, GROUPS_MAX, PARTICIPANTS_MAX,
            ACK_TIMEOUT_MAX_MS, CAPACITY_MAX, SLOT_SIZE_MIN, SLOT_SIZE_MAX, MESSAGE_MAX, ARENA_MAX, SEGMENTS_MAX;
        geometry: HEADER_SIZE, CONTROL_SIZE, PARTICIPANT_SIZE, GROUP_SIZE, SEGMENT_SIZE, NOTES_PER_GROUP,
            NOTE_SIZE;
        header: FILE_HEADER_BYTES;
        word: LAP_BITS, CLAIM_LAP_BITS, READY_BITS
    );
    let mut in_doc = BTreeSet::new();
    for row in table("## Limits", "| name | value | what it is |") {
        let name = quoted(row[0]);
        assert!(in_doc.insert(name), "{name} stands twice");
        if name == "MAGIC" {
            assert_eq!(quoted(row[1]).as_bytes(), layout::MAGIC);
            continue;
        }
        let constant = expected.get(name);
        let constant = constant.unwrap_or_else(|| panic!("the code has no limit {name}"));
        assert_eq!(number(row[1]), *constant, "{name}");
    }
    let in_code: BTreeSet<_> = [LAYOUT_SOURCE, GEOMETRY_SOURCE, HEADER_SOURCE, WORD_SOURCE]
        .into_iter()
        .flat_map(top_level_constants)
        .collect();
    assert_eq!(in_doc, in_code, "left: the page, right: src/layout");
}

const SHAPE: Shape = Shape {
    capacity: 8,
    slot_size: 128,
    max_message: 1000,
    arena_size: 1 << 16,
    max_groups: 3,
    max_participants: 5,
    first_sequence: 0,
};

fn shape_names(shape: &Shape) -> Names {
    Names::from([
        ("capacity", shape.capacity),
        ("slot_size", shape.slot_size),
        ("max_message", shape.max_message),
        ("arena_size", shape.arena_size),
        ("max_groups", shape.max_groups.into()),
        ("max_participants", shape.max_participants.into()),
        ("first_sequence", shape.first_sequence),
    ])
}

/// `None` if a number does not fit its type.
fn shape_of(names: &Names) -> Option<Shape> {
    Some(Shape {
        capacity: names["capacity"],
        slot_size: names["slot_size"],
        max_message: names["max_message"],
        arena_size: names["arena_size"],
        max_groups: names["max_groups"].try_into().ok()?,
        max_participants: names["max_participants"].try_into().ok()?,
        first_sequence: names["first_sequence"],
    })
}

/// `SHAPE` with one number changed.
fn with(name: &'static str, value: u64) -> Option<Shape> {
    let mut names = shape_names(&SHAPE);
    assert!(names.insert(name, value).is_some(), "no number {name:?}");
    let mut shape = shape_of(&names)?;
    // The others must not be what refuses it: messages that fit their slot need no arena, others need one.
    let inline = shape.slot_size.saturating_sub(layout::SLOT_HEADER);
    if name != "arena_size" {
        let needed = shape.max_message.checked_next_multiple_of(layout::PAGE)?;
        let fits = shape.max_message <= inline;
        shape.arena_size = if fits { 0 } else { needed };
    } else if value == 0 {
        shape.max_message = inline;
    }
    Some(shape)
}

#[test]
fn every_number_of_the_shape_has_the_range_of_the_page() {
    let refused = |name: &'static str, value: u64| {
        with(name, value)
            .is_none_or(|shape| Geometry::new(shape).is_err_and(|error| error.field == name))
    };
    let mut in_doc = Vec::new();
    for row in table("## Shape", "| number | least | most | and also |") {
        let name = quoted(row[0]);
        in_doc.push(name);
        let (least, mut most) = (number(row[1]), number(row[2]));
        let mut step = 1;
        match row[3] {
            "" | "see below" => {}
            "a power of two" => assert!(refused(name, 12), "{name}: 12 is no power of two"),
            also => {
                let of = also.strip_prefix("a multiple of ").expect("a known rule");
                step = evaluate(of, &shape_names(&SHAPE));
                assert!(refused(name, least + step + 1), "{name}");
                most = most / step * step;
            }
        }
        for value in [least, most] {
            let shape = with(name, value).unwrap_or_else(|| panic!("{name}: {value}"));
            assert!(Geometry::new(shape).is_ok(), "{name} can be {value}");
        }
        if let Some(less) = least.checked_sub(step) {
            assert!(refused(name, less), "{name} cannot be {less}");
        }
        let step = if row[3] == "a power of two" {
            most
        } else {
            step
        };
        let more = most + step;
        assert!(refused(name, more), "{name} cannot be {more}");
    }
    let in_code: Vec<_> = body(GEOMETRY_SOURCE, "pub struct Shape {")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(in_doc, in_code, "left: the page, right: Shape");
}

// --- Regions, addresses, examples. ---

/// Every number of a file, by the formulas of the page alone, and the sizes of the regions.
fn laid_out(shape: &Shape) -> (Names, Names) {
    let mut names = shape_names(shape);
    for row in table("## Derived numbers", "| name | formula | meaning |") {
        let name = quoted(row[0]);
        let none = shape.arena_size == 0 && name.starts_with("segment_");
        let value = if none { 0 } else { evaluate(row[1], &names) };
        names.insert(name, value);
    }
    let mut sizes = Names::new();
    for row in table("## Regions", "| region | start | size | alignment |") {
        let region = quoted(row[0]);
        let start = evaluate(row[1], &names);
        names.insert(region, start);
        sizes.insert(region, evaluate(row[2], &names));
        assert_eq!(start % number(row[3]), 0, "alignment of {region}");
    }
    let end = DOC.split("its size is `").nth(1).expect("the file size");
    let end = end.split('`').next().unwrap();
    names.insert("file_size", evaluate(end, &names));
    (names, sizes)
}

/// Shapes of all kinds: with and without an arena, small and large, even and odd numbers.
fn shapes() -> Vec<Shape> {
    let mut shapes = vec![SHAPE];
    for (capacity, slot_size) in [(2, 64), (4, 192), (16, 64), (64, 128), (4096, 4096)] {
        for (max_groups, max_participants) in [(1, 1), (3, 7), (64, 4096)] {
            for max_message in [0, slot_size - 32, slot_size - 31, 5000, 1 << 20, 3 << 30] {
                let needed = u64::next_multiple_of(max_message, 4096);
                let factors: &[u64] = if max_message + 32 <= slot_size {
                    &[0]
                } else {
                    &[1, 3, 40, 5000]
                };
                shapes.extend(factors.iter().map(|factor| Shape {
                    capacity,
                    slot_size,
                    max_message,
                    arena_size: needed * factor + factor / 2 * 77,
                    max_groups,
                    max_participants,
                    first_sequence: capacity * 3,
                }));
            }
        }
    }
    shapes
}

#[test]
fn the_formulas_of_the_page_give_the_regions_of_the_code() {
    for shape in shapes() {
        let geometry = Geometry::new(shape).unwrap();
        let (names, sizes) = laid_out(&shape);
        let order: Vec<_> = table("## Regions", "| region | start | size | alignment |")
            .iter()
            .map(|row| quoted(row[0]))
            .collect();
        let expected: Vec<_> = geometry.regions().iter().map(|(name, _)| *name).collect();
        assert_eq!(order[0], "header");
        assert_eq!(order[1..], expected, "left: the page, right: regions()");
        for (name, start) in geometry.regions() {
            assert_eq!(names[name], start, "{name} of {shape:?}");
        }
        for pair in order.windows(2) {
            let end = names[pair[0]] + sizes[pair[0]];
            assert!(end <= names[pair[1]], "{} overlaps {}", pair[0], pair[1]);
        }
        assert_eq!(sizes["header"], geometry::HEADER_SIZE);
        assert_eq!(sizes["control"], geometry::CONTROL_SIZE);
        assert_eq!(names["file_size"], geometry.file_size(), "{shape:?}");
        assert_eq!(names["arena"] + sizes["arena"], geometry.file_size());
        assert_eq!(names["inline_max"], geometry.inline_max());
        assert_eq!(names["segment_size"], geometry.segment_size(), "{shape:?}");
        assert_eq!(names["segment_count"], geometry.segment_count());
    }
}

/// The page's formula for an address, evaluated.
fn address(what: &str, names: &Names) -> u64 {
    let rows = table("## Addresses", "| what | formula |");
    let row = rows.iter().find(|row| quoted(row[0]) == what);
    evaluate(row.expect("an address")[1], names)
}

#[test]
fn the_formulas_of_the_page_give_the_addresses_of_the_code() {
    let known =
        "index lap participant group note claim lease reservation segment slot segment_bytes";
    let known: BTreeSet<_> = known.split(' ').collect();
    let rows = table("## Addresses", "| what | formula |");
    let in_doc: BTreeSet<_> = rows.iter().map(|row| quoted(row[0])).collect();
    assert_eq!(in_doc, known, "left: the page, right: this test");
    for shape in shapes() {
        let geo = Geometry::new(shape).unwrap();
        let (mut names, _) = laid_out(&shape);
        let last_group = shape.max_groups - 1;
        let last_participant = shape.max_participants - 1;
        let last_segment = geo.segment_count().saturating_sub(1);
        for sequence in [0, 1, shape.capacity - 1, shape.capacity, 123_456_789_012] {
            names.insert("sequence", sequence);
            names.insert("group", last_group.into());
            names.insert("participant", last_participant.into());
            names.insert("segment", last_segment);
            let index = address("index", &names);
            names.insert("index", index);
            let group = GroupId(u8::try_from(last_group).unwrap());
            let participant = OwnerId(u16::try_from(last_participant).unwrap());
            let compare = |what, Offset(expected)| {
                assert_eq!(address(what, &names), expected, "{what} of {shape:?}");
            };
            assert_eq!(address("lap", &names), geo.lap(sequence));
            compare("participant", geo.participant(participant));
            compare("group", geo.group(group));
            compare("claim", geo.claim(group, sequence));
            compare("lease", geo.lease(group, sequence));
            compare("note", geo.note(group, sequence));
            compare("reservation", geo.reservation(sequence));
            compare("slot", geo.slot(sequence));
            compare("segment", geo.segment(last_segment));
            compare("segment_bytes", geo.segment_bytes(last_segment));
        }
    }
}

#[test]
fn the_examples_of_the_page_are_right() {
    for heading in ["### Small", "### With an arena"] {
        let rows = table(heading, "| number | value |").into_iter();
        let given: Names = rows.map(|row| (quoted(row[0]), number(row[1]))).collect();
        let shape = shape_of(&given).unwrap();
        let geometry = Geometry::new(shape).unwrap();
        let mut expected = shape_names(&shape);
        expected.extend(geometry.regions());
        let claims = geometry.lease(GroupId(0), 0).0 - geometry.claim(GroupId(0), 0).0;
        expected.extend([
            ("inline_max", geometry.inline_max()),
            ("words_stride", claims / u64::from(shape.max_groups)),
            ("segment_size", geometry.segment_size()),
            ("segment_count", geometry.segment_count()),
            ("file_size", geometry.file_size()),
        ]);
        assert_eq!(given, expected, "{heading}: right: the code");
        if heading == "### Small" {
            let (slot, reservation) = (geometry.slot(6).0, geometry.reservation(6).0);
            let claim = geometry.claim(GroupId(0), 6).0;
            let sentence = format!(
                "Sequence 6 is in lap 2 at index 2: its slot is at {slot}, its reservation word at {reservation}, its \
                 claim word for group 0 at {claim}."
            );
            assert!(DOC.contains(&sentence), "the page should say: {sentence}");
        }
    }
}

// --- Structs and entries. ---

/// A row of a byte table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: &'static str,
    offset: u64,
    size: u64,
    kind: &'static str,
}

fn byte_table(heading: &str, names: &Names) -> Vec<Field> {
    let found: Vec<Field> = table(heading, "| offset | size | field | meaning |")
        .iter()
        .map(|row| Field {
            offset: number(row[0]),
            size: evaluate(row[1], names),
            name: quoted(row[2]),
            kind: row[3].split_once(": ").expect("a type, then a colon").0,
        })
        .collect();
    for pair in found.windows(2) {
        let end = pair[0].offset + pair[0].size;
        assert!(end <= pair[1].offset, "{heading}: {pair:?} overlap");
    }
    for field in &found {
        let size = match field.kind {
            "u64" | "owned word" | "ready hint" => 8,
            "8 notes of 128 bytes" => 8 * geometry::NOTE_SIZE,
            "u32" => 4,
            "u16" => 2,
            "u8" => 1,
            "the rest" => field.size,
            bytes => number(bytes.strip_suffix(" bytes").expect("a known type")),
        };
        assert_eq!(field.size, size, "{heading}: size and type of {field:?}");
        let aligned = field.offset.is_multiple_of(size.min(8));
        assert!(
            aligned || field.kind.ends_with("bytes"),
            "{heading}: {field:?}"
        );
    }
    found
}

fn field(heading: &str, name: &str) -> Field {
    let names = Names::from([("slot_size", 64)]);
    let found = byte_table(heading, &names);
    let found = found.into_iter().find(|field| field.name == name);
    found.unwrap_or_else(|| panic!("{heading} has no field {name}"))
}

fn size_of_field<S, F>(_field: impl Fn(&S) -> &F) -> u64 {
    size_of::<F>() as u64
}

macro_rules! check_struct {
    ($heading:literal, $of:ident: $($field:ident),+) => {
        struct_is_as_documented($heading, stringify!($of), size_of::<$of>(), &[$((
            stringify!($field),
            offset_of!($of, $field) as u64,
            size_of_field(|s: &$of| &s.$field),
        )),+])
    };
}

fn struct_is_as_documented(heading: &str, of: &str, size: usize, code: &[(&str, u64, u64)]) {
    let doc = byte_table(heading, &Names::new());
    let found: Vec<_> = doc.iter().map(|f| (f.name, f.offset, f.size)).collect();
    assert_eq!(found, code, "{heading}: left: the page, right: {of}");
    let total: u64 = doc.iter().map(|field| field.size).sum();
    assert_eq!(total, size as u64, "{heading} leaves bytes of {of} out");
    let source = fields(of);
    let names: Vec<_> = source.iter().map(|(name, _)| *name).collect();
    let in_doc: Vec<_> = doc.iter().map(|field| field.name).collect();
    assert_eq!(in_doc, names, "{heading}: left: the page, right: {of}");
    for (field, (_, kind)) in doc.iter().zip(source) {
        let expected = match kind.strip_prefix("[u8; ").and_then(|k| k.strip_suffix(']')) {
            Some(count) => format!("{count} bytes"),
            None => kind.to_owned(),
        };
        assert_eq!(field.kind, expected, "{heading}: type of {}", field.name);
    }
}

#[test]
fn the_file_header_is_as_documented() {
    check_struct!(
        "## File header", FileHeader: magic, version, crc, queue_id, boot_id, created_ns, file_size, capacity,
            slot_size, max_message, arena_size, first_sequence, max_groups, max_participants,
            full_policy, durability, checksums, timestamps, interval_ms
    );
}

#[test]
fn the_slot_header_is_as_documented() {
    check_struct!(
        "## Slot header", SlotHeader: length, flags, kind, crc, key, timestamp
    );
    let flags = section("## Slot header");
    let says = |text: &str| flags.iter().any(|line| line.contains(text));
    assert!(says("bit 0 is set if the payload is in the arena"));
    assert!(says("bit 1 if a dead-letter header stands in front of it"));
    assert_eq!(SlotHeader::IN_ARENA, 1 << 0);
    assert_eq!(SlotHeader::DEAD_LETTER, 1 << 1);
    let flags = body(HEADER_SOURCE, "impl SlotHeader {").matches("pub const");
    assert_eq!(flags.count(), 2, "a flag the page does not know");
}

#[test]
fn the_dead_letter_header_is_as_documented() {
    check_struct!(
        "## Dead-letter header", DeadLetterHeader: queue_id, sequence, timestamp, deliveries, cause, group_length,
            reason_length
    );
    for (cause, number) in [(Cause::TooManyDeliveries, 1), (Cause::Rejected, 2)] {
        assert_eq!(cause.number(), number);
        assert_eq!(Cause::from_number(number), Some(cause));
    }
}

#[test]
fn the_segment_pointer_is_as_documented() {
    check_struct!(
        "## Segment pointer", SegmentPointer: offset, emptied
    );
}

macro_rules! module_constants {
    ($module:ident: $($name:ident),+) => {
        [$((stringify!($name), geometry::$module::$name)),+]
    };
}

fn module_is_as_documented(heading: &str, module: &str, end: u64, code: &[(&str, u64)]) {
    let doc = byte_table(heading, &Names::from([("slot_size", 64)]));
    let found: Vec<_> = doc
        .iter()
        .map(|field| (field.name.to_uppercase(), field.offset))
        .collect();
    let code: Vec<_> = code.iter().map(|&(n, o)| (n.to_owned(), o)).collect();
    assert_eq!(found, code, "{heading}: left: the page, right: {module}");
    let last = doc.last().unwrap();
    assert!(last.offset + last.size <= end, "{heading}: {last:?}");
    let source = constants(body(GEOMETRY_SOURCE, &format!("pub mod {module} {{")));
    let names: Vec<_> = source.iter().map(|(name, _)| (*name).to_owned()).collect();
    let in_doc: Vec<_> = found.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(in_doc, names, "{heading}: left: the page, right: {module}");
    if module == "slot" {
        return;
    }
    for (field, (name, documentation)) in doc.iter().zip(source) {
        let kind = documentation.to_lowercase();
        assert!(
            kind.starts_with(field.kind),
            "{heading}: the page says {name} is {:?}, its comment {documentation:?}",
            field.kind
        );
    }
}

#[test]
fn the_control_block_is_as_documented() {
    let code = module_constants!(
        control: TAIL, WAITING, SPACE_WAITING, SPACE_EVENT, GENERATION, SOLE, LAST_PROBE, ABORTED,
            BURIED, RETURNED, SYNCER, STARTED, FINISHED, UNTIL_DISK, UNTIL_LIVE, DURABLE, POISONED, SYNCED_VIEW,
            ASKED, COVERED, EXPECTED, SYNC_NS, SYNC_EVENT, EPOCH, BOOT_FIRST, BOOT_SECOND, BOOT_CHECK, RECOVERED, TORN,
            MISSING, FOUND_CLEAN, CLEAN
    );
    let code = code.map(|(name, Offset(at))| (name, at));
    let end = geometry::HEADER_SIZE + geometry::CONTROL_SIZE;
    module_is_as_documented("## Control block", "control", end, &code);
    let lines: BTreeSet<_> = code.iter().map(|(_, at)| at / layout::LINE).collect();
    // Counters of sweeps share one, and so do what a syncer writes and what a recovery does.
    assert_eq!(
        lines.len(),
        code.len() - 2 - 10 - 7,
        "two fields share a line"
    );
}

#[test]
fn a_participant_entry_is_as_documented() {
    let code = module_constants!(
        participant: STATE, MEMBER_OF, PRODUCES, PID, ATTACHED_NS, NAME_LENGTH, NAME, PUBLISHED
    );
    let end = geometry::PARTICIPANT_SIZE;
    module_is_as_documented("## Participant entry", "participant", end, &code);
}

#[test]
fn a_group_entry_is_as_documented() {
    let code = module_constants!(
        group: STATE, FLAGS, START, NAME_LENGTH, NAME, FLOOR, OPENED, HEAD, READY, OWNER,
            STANDBY_EVENT, EVENT, DELIVERED, REDELIVERED, ACKED, DEAD_LETTERED, EXPIRED, LOST,
            MAX_DELIVERIES, ACK_TIMEOUT, DEAD_QUEUE_LENGTH, DEAD_QUEUE, NOTES
    );
    module_is_as_documented("## Group entry", "group", geometry::GROUP_SIZE, &code);
}

#[test]
fn a_segment_entry_is_as_documented() {
    let code = module_constants!(segment: STATE, BUMP, USED_UNTIL, EMPTIED);
    let end = geometry::SEGMENT_SIZE;
    module_is_as_documented("## Segment entry", "segment", end, &code);
}

#[test]
fn a_note_is_as_documented() {
    let code = module_constants!(note: SEQUENCE, LENGTH, REASON);
    module_is_as_documented("### Note", "note", geometry::NOTE_SIZE, &code);
}

#[test]
fn a_slot_is_as_documented() {
    let code = module_constants!(slot: WORD, HEADER, PAYLOAD);
    module_is_as_documented("## Slot", "slot", 64, &code);
    let header = field("## Slot", "header");
    assert_eq!(header.size, size_of::<SlotHeader>() as u64);
    let payload = field("## Slot", "payload");
    assert!(size_of::<SegmentPointer>() as u64 <= payload.size);
    let geometry = Geometry::new(SHAPE).unwrap();
    let sizes = byte_table("## Slot", &shape_names(&SHAPE));
    assert_eq!(sizes[2].size, geometry.inline_max());
    assert_eq!(sizes[2].offset + sizes[2].size, SHAPE.slot_size);
}

// --- Header checks. ---

fn verified(shape: Shape) -> Verified {
    Verified {
        geometry: Geometry::new(shape).unwrap(),
        full_policy: FullPolicy::Reject,
        timestamps: Timestamps::Precise,
        durability: Durability::None,
        checksums: false,
        queue_id: [7; 16],
        boot_id: [8; 16],
        created_ns: 9,
    }
}

fn put(bytes: &mut [u8], name: &str, value: &[u8]) {
    let place = field("## File header", name);
    assert_eq!(value.len() as u64, place.size, "{name}");
    bytes[place.offset as usize..][..value.len()].copy_from_slice(value);
}

/// The checksum, from the page alone.
fn documented_checksum(bytes: &[u8]) -> u32 {
    let rows = table("### Header checksum", "| parameter | value |");
    let of = |parameter: &str| {
        let row = rows.iter().find(|row| row[0].starts_with(parameter));
        number(row.unwrap_or_else(|| panic!("no {parameter:?}"))[1])
    };
    let narrow = |parameter| u32::try_from(of(parameter)).unwrap();
    let polynomial = narrow("polynomial");
    let compute = |bytes: &[u8]| {
        let mut crc = narrow("initial value");
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = crc >> 1 ^ if crc & 1 == 1 { polynomial } else { 0 };
            }
        }
        crc ^ narrow("final exclusive or")
    };
    assert_eq!(compute(b"123456789"), narrow("checksum of the text"));
    let first = of("first byte covered") as usize;
    let mut covered = bytes[first..][..of("bytes covered") as usize].to_vec();
    let zero = of("first byte taken as zero") as usize - first;
    covered[zero..][..of("bytes taken as zero") as usize].fill(0);
    let crc = field("## File header", "crc");
    assert_eq!((zero + first) as u64, crc.offset);
    assert_eq!(of("bytes taken as zero"), crc.size);
    compute(&covered)
}

#[test]
fn the_checksum_is_as_documented() {
    let header = FileHeader::new(&verified(SHAPE));
    assert_eq!(documented_checksum(header.as_bytes()), header.crc);
}

#[test]
fn the_policies_have_the_numbers_of_the_page() {
    let columns = "| number | name | meaning |";
    let size = verified(SHAPE).geometry.file_size();
    let check = |heading: &str, field: &str, name_of: &dyn Fn(Verified) -> String| {
        let doc = documented_states(heading, columns);
        for raw in 0..20_u32 {
            let mut bytes = FileHeader::new(&verified(SHAPE)).as_bytes().to_vec();
            if field == "durability" {
                let interval = u16::from(raw == 1);
                put(&mut bytes, "checksums", &[1]);
                put(&mut bytes, "interval_ms", &interval.to_le_bytes());
            }
            let size_of = usize::try_from(self::field("## File header", field).size).unwrap();
            put(&mut bytes, field, &raw.to_le_bytes()[..size_of]);
            let crc = documented_checksum(&bytes).to_le_bytes();
            put(&mut bytes, "crc", &crc);
            let found = FileHeader::verify(&bytes, size).ok().map(name_of);
            let expected = doc.get(&raw.into()).copied();
            assert_eq!(found.as_deref(), expected, "{field} {raw}: right: the page");
        }
    };
    let policy = |v: Verified| v.full_policy.to_string();
    check("### Full policy", "full_policy", &policy);
    let timestamps = |v: Verified| v.timestamps.to_string();
    check("### Timestamps", "timestamps", &timestamps);
    // Of an interval the page has the name, the code how long it is.
    let durability = |v: Verified| {
        let name = v.durability.to_string();
        name.split(':').next().unwrap().to_owned()
    };
    check("### Durability", "durability", &durability);
}

#[test]
fn an_opener_checks_in_the_order_of_the_page() {
    let good = verified(SHAPE);
    let rows = table("## Opening", "| step | check | error |");
    let order: Vec<_> = rows.iter().map(|row| quoted(row[2])).collect();
    let variants: Vec<_> = body(HEADER_SOURCE, "pub enum FormatError {")
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.split(['(', ' ', ',']).next().unwrap())
        .filter(|variant| *variant != "Word")
        .collect();
    assert_eq!(order, variants, "left: the page, right: FormatError");

    for (step, expected) in order.iter().enumerate() {
        // From this step on everything is wrong; before it, nothing is.
        let wrong = |what: &str| order[step..].contains(&what);
        let mut bytes = FileHeader::new(&good).as_bytes().to_vec();
        if wrong("Magic") {
            put(&mut bytes, "magic", b"GNIRPILS");
        }
        if wrong("Version") {
            put(&mut bytes, "version", &2_u32.to_le_bytes());
        }
        if wrong("Geometry") {
            put(&mut bytes, "capacity", &3_u64.to_le_bytes());
        }
        let crc = documented_checksum(&bytes) ^ u32::from(wrong("Checksum"));
        put(&mut bytes, "crc", &crc.to_le_bytes());
        if wrong("TooShort") {
            bytes.pop();
        }
        let size = good.geometry.file_size() + u64::from(wrong("Size"));
        let error = FileHeader::verify(&bytes, size).unwrap_err();
        let found = format!("{error:?}");
        assert!(found.starts_with(expected), "step {step}: {found}");
        assert_eq!(number(rows[step][0]), step as u64 + 1, "steps are counted");
    }
}

// --- Real files. ---

fn word_at(bytes: &[u8], offset: u64) -> u64 {
    let at = usize::try_from(offset).unwrap();
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The values of the words of a new file, by the page: offset, size, expected.
fn new_file_words(names: &Names, default_group: bool, durable: bool) -> Vec<(u64, u64)> {
    let rows = table("## A new file", "| word | value |");
    let mut found = Vec::new();
    for row in rows {
        let (part, name) = quoted(row[0]).split_once('.').unwrap();
        let offset = match part {
            "control" => field("## Control block", name).offset,
            "group" => names["groups"] + field("## Group entry", name).offset,
            _ => panic!("{part} is no part of a new file"),
        };
        let wanted = match name {
            "tail" => true,
            "until_disk" | "until_live" | "durable" => durable,
            _ => default_group,
        };
        if wanted {
            found.push((offset, evaluate(row[1], names)));
        }
    }
    found
}

#[test]
fn a_new_file_holds_what_the_page_says_and_nothing_else() {
    for (default_group, durable) in [(true, false), (false, false), (true, true)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue");
        let options = Queue::options()
            .capacity(4)
            .max_message(32)
            .max_participants(2)
            .max_groups(2)
            .first_sequence(20)
            .durability(if durable {
                Durability::Sync
            } else {
                Durability::None
            })
            .default_group(default_group);
        let queue = options.create(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        drop(queue);

        let shape = read_shape(&bytes);
        let (names, _) = laid_out(&shape);
        assert_eq!(bytes.len() as u64, names["file_size"]);
        // Who attaches looks for the dead.
        bytes[field("## Control block", "generation").offset as usize] -= 1;
        let mut erase = |offset: u64, size: u64| {
            bytes[offset as usize..][..size as usize].fill(0);
        };
        erase(0, number("120"));
        // Who made it has attached to it.
        erase(names["participants"], number("256"));
        if default_group {
            let name = names["groups"] + field("## Group entry", "name").offset;
            let found = std::fs::read(&path).unwrap()[name as usize..][..7].to_vec();
            assert_eq!(found, b"default");
            erase(name, 7);
        }
        for (offset, expected) in new_file_words(&names, default_group, durable) {
            assert_eq!(word_at(&bytes, offset), expected, "offset {offset}");
            bytes[offset as usize..][..8].fill(0);
        }
        let other = bytes.iter().position(|byte| *byte != 0);
        assert_eq!(other, None, "a byte that the page does not name");
    }
}

/// A field of a file, by the page.
fn read(bytes: &[u8], heading: &str, base: u64, name: &str) -> u64 {
    let place = field(heading, name);
    let at = usize::try_from(base + place.offset).unwrap();
    let mut wide = [0; 8];
    wide[..place.size as usize].copy_from_slice(&bytes[at..][..place.size as usize]);
    u64::from_le_bytes(wide)
}

/// The shape of a file, by the page.
fn read_shape(bytes: &[u8]) -> Shape {
    let mut names = shape_names(&SHAPE);
    for (name, value) in &mut names {
        *value = read(bytes, "## File header", 0, name);
    }
    shape_of(&names).unwrap()
}

/// A reader made from the page alone: kind, key and payload of the message at a sequence of a quiet file.
fn read_by_the_page(bytes: &[u8], sequence: u64) -> Option<(u64, u64, Vec<u8>)> {
    let (mut names, _) = laid_out(&read_shape(bytes));
    names.insert("sequence", sequence);
    let index = address("index", &names);
    names.insert("index", index);
    let slot = address("slot", &names);
    let read = |heading: &str, base: u64, name: &str| read(bytes, heading, base, name);
    let word = read("## Slot", slot, "word");
    let masks: Names = bits("### Slot word").into_iter().collect();
    let part = |name: &str| (word & masks[name]) >> masks[name].trailing_zeros();
    let states = documented_states("### Slot word", "| number | state | meaning |");
    if part("lap") != address("lap", &names) || states.get(&part("state")) != Some(&"Published") {
        return None;
    }
    let header = slot + field("## Slot", "header").offset;
    let payload = slot + field("## Slot", "payload").offset;
    let length = read("## Slot header", header, "length");
    let mut start = payload;
    if read("## Slot header", header, "flags") & 1 == 1 {
        start = read("## Segment pointer", payload, "offset");
        let segment = (start - names["arena"]) / names["segment_size"];
        names.insert("segment", segment);
        let entry = address("segment", &names);
        assert_eq!(
            read("## Segment pointer", payload, "emptied"),
            read("## Segment entry", entry, "emptied")
        );
        assert!(start + length <= address("segment_bytes", &names) + names["segment_size"]);
        assert_eq!(start % 64, 0);
    } else {
        assert!(length <= names["inline_max"]);
    }
    Some((
        read("## Slot header", header, "kind"),
        read("## Slot header", header, "key"),
        bytes[start as usize..][..length as usize].to_vec(),
    ))
}

#[test]
fn a_reader_made_from_the_page_alone_finds_every_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queue");
    let options = Queue::options()
        .capacity(8)
        .max_message(5000)
        .first_sequence(16);
    let queue = options.create(&path).unwrap();
    let mut producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    let payload = |sequence: u64| vec![sequence as u8; [0, 1, 96, 97, 5000][sequence as usize % 5]];
    // Three laps, so that segments are emptied and laps told apart.
    for sequence in 16..40_u64 {
        let bytes = payload(sequence);
        let message = Message::new(&bytes).kind(sequence as u16).key(99);
        assert_eq!(producer.publish(message).unwrap(), sequence);
        let file = std::fs::read(&path).unwrap();
        let expected = (sequence, 99, payload(sequence));
        assert_eq!(read_by_the_page(&file, sequence), Some(expected));
        assert_eq!(read_by_the_page(&file, sequence + 1), None, "nothing yet");
        if sequence >= 24 {
            assert_eq!(read_by_the_page(&file, sequence - 8), None, "overwritten");
        }
        consumer.recv().unwrap().ack().unwrap();
    }
}

#[cfg(target_os = "linux")]
mod locks {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::sync::mpsc;
    use std::time::Duration;

    use nix::fcntl::{FcntlArg, fcntl};
    use slipring::{GroupOptions, Queue};

    use super::{Names, evaluate, quoted, table};

    /// First byte of a lock, by the page.
    fn first_byte(lock: &str, participant: u64) -> i64 {
        let rows = table("## Locks", "| lock | first byte | bytes | held |");
        let row = rows.iter().find(|row| row[0] == lock).expect("that lock");
        assert_eq!(row[2], "1", "bytes of the lock");
        let names = Names::from([("participant", participant)]);
        i64::try_from(evaluate(quoted(row[1]), &names)).unwrap()
    }

    fn request(kind: i32, byte: i64) -> libc::flock {
        libc::flock {
            l_type: i16::try_from(kind).unwrap(),
            l_whence: i16::try_from(libc::SEEK_SET).unwrap(),
            l_start: byte,
            l_len: 1,
            l_pid: 0,
        }
    }

    /// Whether somebody else holds a lock on this byte.
    fn is_held(file: &File, byte: i64) -> bool {
        let mut lock = request(libc::F_WRLCK, byte);
        fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock)).unwrap();
        i32::from(lock.l_type) != libc::F_UNLCK
    }

    #[test]
    fn a_participant_holds_the_lock_byte_of_the_page_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue");
        let options = Queue::options().capacity(2).max_participants(3);
        let first = options.create(&path).unwrap();
        let second = options.open(&path).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let held = || [0, 1, 2].map(|id| is_held(&file, first_byte("participant", id)));
        assert_eq!(held(), [true, true, false]);
        assert!(!is_held(&file, first_byte("participant", 0) - 1));
        assert!(!is_held(&file, first_byte("groups", 0)));
        drop(first);
        assert_eq!(held(), [false, true, false]);
        drop(second);
        assert_eq!(held(), [false; 3]);
    }

    #[test]
    fn making_a_group_waits_for_the_lock_byte_of_the_page() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue");
        let options = Queue::options().capacity(2).max_message(8);
        let queue = options.create(&path).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let set = |kind| {
            let lock = request(kind, first_byte("groups", 0));
            fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)).unwrap();
        };
        set(libc::F_WRLCK);
        let (made, done) = mpsc::channel();
        let maker = std::thread::spawn(move || {
            let _group = queue.create_group("second", GroupOptions::shared());
            made.send(()).unwrap();
        });
        let early = done.recv_timeout(Duration::from_millis(100));
        assert!(early.is_err(), "a group was made without the lock");
        set(libc::F_UNLCK);
        maker.join().unwrap();
    }
}
