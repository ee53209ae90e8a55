//! The header, field by field: each that is wrong by itself, not only the first.

use super::{Examiner, Finding, damage};
use crate::examine::Examined;
use crate::layout::geometry::HEADER_SIZE;
use crate::layout::header::{FILE_HEADER_BYTES, FullPolicy, Timestamps};
use crate::layout::{FORMAT_VERSION, FileHeader, FormatError, Geometry, MAGIC, Offset};

/// Where its fields are, as `docs/format.md` has them.
pub(crate) const FIELDS: [(&str, u64); 16] = [
    ("magic", 0),
    ("version", 8),
    ("crc", 12),
    ("queue_id", 16),
    ("boot_id", 32),
    ("created_ns", 48),
    ("file_size", 56),
    ("capacity", 64),
    ("slot_size", 72),
    ("max_message", 80),
    ("arena_size", 88),
    ("first_sequence", 96),
    ("max_groups", 104),
    ("max_participants", 108),
    ("full_policy", 112),
    ("timestamps", 116),
];

const NOBODY_OPENS_IT: &str = "nobody can open the queue";

/// Where a field of the header is.
fn offset_of(field: &str) -> Offset {
    let found = FIELDS.iter().find(|(name, _)| *name == field);
    Offset(found.map_or(0, |(_, offset)| *offset))
}

/// What is wrong with the header, and with the size of the file.
pub(super) fn check(examined: &Examined) -> Vec<Finding> {
    let finding = |field: &str, found: String, expected: String| {
        let what = format!("header field {field}");
        damage(what, offset_of(field), found, expected, NOBODY_OPENS_IT)
    };
    let Some(header) = &examined.header else {
        let what = "file";
        let expected = format!("at least {FILE_HEADER_BYTES} bytes of header");
        let found = format!("{} bytes", examined.size);
        return vec![damage(what, Offset(0), found, expected, NOBODY_OPENS_IT)];
    };
    match examined.refused {
        Some(FormatError::Magic { found }) => {
            let found = format!("\"{}\"", found.escape_ascii());
            let expected = format!("\"{}\"", MAGIC.escape_ascii());
            return vec![finding("magic", found, expected)];
        }
        Some(FormatError::Version { found, .. }) => {
            let (found, expected) = (found.to_string(), FORMAT_VERSION.to_string());
            return vec![finding("version", found, expected)];
        }
        _ => {}
    }
    let mut findings = Vec::new();
    if header.crc != header.checksum() {
        let (found, expected) = (header.crc, header.checksum());
        let found = format!("{found:#010x}");
        findings.push(finding("crc", found, format!("{expected:#010x}")));
    }
    findings.extend(numbers(header, examined.size, finding));
    findings
}

fn numbers(
    header: &FileHeader,
    size: u64,
    finding: impl Fn(&str, String, String) -> Finding,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if FullPolicy::from_bits(header.full_policy).is_none() {
        let found = header.full_policy.to_string();
        findings.push(finding("full_policy", found, "0, 1 or 2".to_owned()));
    }
    if Timestamps::from_bits(header.timestamps).is_none() {
        let found = header.timestamps.to_string();
        findings.push(finding("timestamps", found, "0, 1 or 2".to_owned()));
    }
    match Geometry::new(header.shape()) {
        Err(error) => {
            let (found, expected) = (error.found.to_string(), error.expected.to_owned());
            findings.push(finding(error.field, found, expected));
        }
        Ok(geometry) => {
            let asked = geometry.file_size();
            if header.file_size != asked {
                let found = header.file_size.to_string();
                findings.push(finding("file_size", found, asked.to_string()));
            }
            if size != asked {
                let how = if size < asked { "truncated" } else { "grown" };
                let (what, at) = (format!("file, {how},"), Offset(size.min(asked)));
                let found = format!("{size} bytes");
                let expected = format!("{asked} bytes");
                findings.push(damage(what, at, found, expected, NOBODY_OPENS_IT));
            }
        }
    }
    findings
}

/// The rest of the header region is unused.
pub(super) fn check_unused(examiner: &mut Examiner<'_>) {
    examiner.unused(
        "header",
        Offset(0),
        &[(0, FILE_HEADER_BYTES as u64)],
        HEADER_SIZE,
    );
}
