//! `--format`: text with placeholders, read once and filled in for each message.

use std::io::Write;
use std::str::FromStr;

use slipring::DeadLetter;

use crate::dead_letter::cause_name;
use crate::record::{Record, hex};
use crate::units;

/// What stands between braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Payload,
    Sequence,
    Count,
    Kind,
    Key,
    Timestamp,
    Time,
    Length,
    Group,
    Dead(DeadField),
}

/// What only messages in a dead-letter queue have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeadField {
    Cause,
    Reason,
    Deliveries,
    SourceQueue,
    SourceGroup,
    SourceSequence,
}

const FIELDS: [(&str, Field); 15] = [
    ("payload", Field::Payload),
    ("sequence", Field::Sequence),
    ("count", Field::Count),
    ("kind", Field::Kind),
    ("key", Field::Key),
    ("timestamp", Field::Timestamp),
    ("time", Field::Time),
    ("length", Field::Length),
    ("group", Field::Group),
    ("cause", Field::Dead(DeadField::Cause)),
    ("reason", Field::Dead(DeadField::Reason)),
    ("deliveries", Field::Dead(DeadField::Deliveries)),
    ("source_queue", Field::Dead(DeadField::SourceQueue)),
    ("source_group", Field::Dead(DeadField::SourceGroup)),
    ("source_sequence", Field::Dead(DeadField::SourceSequence)),
];

/// The help for `--format`, in short.
pub const SHORT: &str = "Print each message by a template, such as '{sequence} {payload}\\n'";

/// The help for `--format`.
pub const HELP: &str = "\
Print each message by a template, such as '{sequence} {payload}\\n'

Placeholders: {payload} {sequence} {count} (how often it was delivered) {kind} {key} {timestamp} (ns since 1970, 0 if \
the queue takes no times) {time} (the same as UTC) {length} {group}. \
Of a message in a dead-letter queue, else empty: {cause} (rejected or too-many-deliveries) {reason} {deliveries} \
{source_queue} (its id, see `slipring info --json`) {source_group} {source_sequence}. \
Escapes: \\n \\t \\\\ \\0 {{ }}. Nothing is added: write \\n where a line ends.";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

/// A template for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(source: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source.chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' => text.push(escape(rest.next())?),
                '{' if rest.as_str().starts_with('{') => {
                    rest.next();
                    text.push('{');
                }
                '{' => {
                    let (name, after) = rest.as_str().split_once('}').ok_or_else(|| {
                        format!("no }} after {{{}: write {{{{ for a brace", rest.as_str())
                    })?;
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(Piece::Field(field(name)?));
                    rest = after.chars();
                }
                '}' if rest.as_str().starts_with('}') => {
                    rest.next();
                    text.push('}');
                }
                '}' => return Err("a } without {: write }} for a brace".to_owned()),
                other => text.push(other),
            }
        }
        pieces.push(Piece::Text(text));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Self { pieces })
    }
}

fn escape(c: Option<char>) -> Result<char, String> {
    match c {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('0') => Ok('\0'),
        Some('\\') => Ok('\\'),
        Some(other) => Err(format!(
            "unknown escape \\{other}: there are \\n \\t \\0 \\\\"
        )),
        None => Err("a \\ at the end: write \\\\ for a backslash".to_owned()),
    }
}

fn field(name: &str) -> Result<Field, String> {
    let found = FIELDS.iter().find(|(known, _)| *known == name);
    found.map(|(_, field)| *field).ok_or_else(|| {
        let known = FIELDS.map(|(known, _)| format!("{{{known}}}")).join(" ");
        format!("unknown placeholder {{{name}}}: there are {known}")
    })
}

impl Template {
    /// Appends a message, as the template wants it.
    pub fn write(&self, record: &Record<'_>, to: &mut Vec<u8>) -> std::io::Result<()> {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => to.extend_from_slice(text.as_bytes()),
                Piece::Field(Field::Payload) => to.extend_from_slice(record.payload),
                Piece::Field(Field::Sequence) => write!(to, "{}", record.sequence)?,
                Piece::Field(Field::Count) => write!(to, "{}", record.count.unwrap_or(0))?,
                Piece::Field(Field::Kind) => write!(to, "{}", record.kind)?,
                Piece::Field(Field::Key) => write!(to, "{}", record.key)?,
                Piece::Field(Field::Timestamp) => write!(to, "{}", record.timestamp)?,
                Piece::Field(Field::Time) => {
                    write!(to, "{}", units::timestamp(record.timestamp))?;
                }
                Piece::Field(Field::Length) => write!(to, "{}", record.payload.len())?,
                Piece::Field(Field::Group) => write!(to, "{}", record.group.unwrap_or(""))?,
                Piece::Field(Field::Dead(field)) => {
                    let text = record.dead_letter.map(|letter| field.of(letter));
                    to.extend_from_slice(text.unwrap_or_default().as_bytes());
                }
            }
        }
        Ok(())
    }
}

impl DeadField {
    fn of(self, letter: &DeadLetter) -> String {
        match self {
            Self::Cause => cause_name(letter.cause).to_owned(),
            Self::Reason => letter.reason.clone(),
            Self::Deliveries => letter.deliveries.to_string(),
            Self::SourceQueue => hex(&letter.queue_id),
            Self::SourceGroup => letter.group.clone(),
            Self::SourceSequence => letter.sequence.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record<'_> = Record {
        payload: b"pay\xff",
        sequence: 7,
        count: Some(2),
        kind: 3,
        key: 9,
        timestamp: 5,
        group: Some("g"),
        dead_letter: None,
    };

    fn filled(source: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let template: Template = source.parse().unwrap();
        template.write(&RECORD, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(filled("{sequence}:{payload}\\n"), b"7:pay\xff\n");
        assert_eq!(
            filled("{count}{kind}{key}{timestamp}{length}{group}"),
            b"23954g"
        );
        assert_eq!(filled("{time}"), b"1970-01-01T00:00:00.000000005Z");
        assert_eq!(filled("{cause}{reason}{source_sequence}."), b".");
    }

    #[test]
    fn escapes_and_braces_stand_for_themselves() {
        assert_eq!(filled("\\t{{{{x}}\\\\\\0"), b"\t{{x}\\\0");
        assert_eq!(filled(""), b"");
    }

    #[test]
    fn mistakes_are_named() {
        for (source, named) in [
            ("{seq}", "unknown placeholder {seq}"),
            ("{payload", "no } after {payload"),
            ("}", "a } without {"),
            ("\\x", "unknown escape \\x"),
            ("\\", "a \\ at the end"),
        ] {
            let error = source.parse::<Template>().unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
