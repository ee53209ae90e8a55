//! A message on its way to the terminal: as it is, by a template, or as JSON.

use std::fmt::Write;

use anyhow::Context;
use serde::{Serialize, Serializer};
use slipring::DeadLetter;

use crate::dead_letter::DeadLetterView;
use crate::template::Template;

/// What there is to print about a message.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub payload: &'a [u8],
    pub sequence: u64,
    /// How often it was delivered; `None` if it was only looked at.
    pub count: Option<u8>,
    pub kind: u16,
    pub key: u32,
    pub timestamp: u64,
    pub group: Option<&'a str>,
    /// In a dead-letter queue: where it comes from.
    pub dead_letter: Option<&'a DeadLetter>,
}

/// How to print it.
#[derive(Clone, Debug)]
pub enum Style {
    /// The payload, and this byte after it.
    Plain { end: u8 },
    /// As the template says.
    Template(Template),
    /// One object, on one line.
    Json,
}

impl Style {
    /// From the three options there are; clap sees to it that only one is given.
    pub fn choose(template: Option<&Template>, json: bool, null: bool) -> Self {
        match template {
            Some(template) => Self::Template(template.clone()),
            None if json => Self::Json,
            None => Self::Plain {
                end: if null { 0 } else { b'\n' },
            },
        }
    }

    /// Appends a message.
    pub fn write(&self, record: &Record<'_>, to: &mut Vec<u8>) -> anyhow::Result<()> {
        match self {
            Self::Plain { end } => {
                to.extend_from_slice(record.payload);
                to.push(*end);
            }
            Self::Template(template) => template
                .write(record, to)
                .context("formatting the message")?,
            Self::Json => {
                serde_json::to_writer(&mut *to, &Json::from(record))
                    .context("formatting the message")?;
                to.push(b'\n');
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Json<'a> {
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u8>,
    kind: u16,
    key: u32,
    timestamp_ns: u64,
    length: usize,
    #[serde(flatten)]
    payload: Payload<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<DeadLetterView<'a>>,
}

/// A payload, as JSON.
#[derive(Serialize)]
pub enum Payload<'a> {
    #[serde(rename = "payload")]
    Text(&'a str),
    #[serde(rename = "payload_hex", serialize_with = "as_hex")]
    Bytes(&'a [u8]),
}

fn as_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(payload: &'a [u8]) -> Self {
        match std::str::from_utf8(payload) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Bytes(payload),
        }
    }
}

impl<'a> From<&Record<'a>> for Json<'a> {
    fn from(record: &Record<'a>) -> Self {
        Self {
            sequence: record.sequence,
            group: record.group,
            count: record.count,
            kind: record.kind,
            key: record.key,
            timestamp_ns: record.timestamp,
            length: record.payload.len(),
            payload: record.payload.into(),
            dead_letter: record.dead_letter.map(Into::into),
        }
    }
}

/// The beginning of some bytes, safe to print in a table: text without control characters, or digits.
pub fn preview(bytes: &[u8]) -> String {
    const MOST: usize = 40;
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().take(MOST + 1).map(printable).collect(),
        Err(_) => format!("0x{}", hex(bytes.get(..MOST).unwrap_or(bytes))),
    };
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn printable(c: char) -> String {
    if c.is_control() {
        c.escape_default().to_string()
    } else {
        c.to_string()
    }
}

/// Two digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _always_fits = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record<'_> = Record {
        payload: b"text",
        sequence: 1,
        count: None,
        kind: 2,
        key: 3,
        timestamp: 4,
        group: None,
        dead_letter: None,
    };

    fn written(style: &Style, record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        style.write(record, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn json_has_text_or_hex() {
        let text = written(&Style::Json, &RECORD);
        let text: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(text["payload"], "text");
        assert_eq!(text["length"], 4);
        assert!(text.get("count").is_none());
        let payload = &[0xff, 0x00];
        let bytes = written(&Style::Json, &Record { payload, ..RECORD });
        let bytes: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(bytes["payload_hex"], "ff00");
        assert!(bytes.get("payload").is_none());
    }

    #[test]
    fn plain_is_the_payload_and_an_end() {
        assert_eq!(
            written(&Style::choose(None, false, false), &RECORD),
            b"text\n"
        );
        assert_eq!(
            written(&Style::choose(None, false, true), &RECORD),
            b"text\0"
        );
    }

    #[test]
    fn a_preview_is_short_and_harmless() {
        assert_eq!(preview(b"a b"), "a b");
        assert_eq!(preview(b"\x1b[2J\n"), "\\u{1b}[2J\\n");
        assert_eq!(preview(&[0xff, 0]), "0xff00");
        let long = "x".repeat(41);
        assert_eq!(preview(long.as_bytes()), format!("{}...", "x".repeat(40)));
        assert_eq!(preview(&long.as_bytes()[1..]), "x".repeat(40));
        assert!(preview(&[0xff; 100]).ends_with("f..."));
    }
}
