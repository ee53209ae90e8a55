//! What the command line reads from people: sizes, durations, modes, rates, templates; and what it prints of messages that
//! anybody may have published. Nothing panics, and what is read back from its own output is the same.
#![no_main]

#[path = "../../cli/src/dead_letter.rs"]
#[allow(dead_code, reason = "the command uses more of it")]
mod dead_letter;
#[path = "../../cli/src/record.rs"]
#[allow(dead_code, reason = "the command uses more of it")]
mod record;
#[path = "../../cli/src/template.rs"]
#[allow(dead_code, reason = "the command uses more of it")]
mod template;
#[path = "../../cli/src/units.rs"]
#[allow(dead_code, reason = "the command uses more of it")]
mod units;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use record::{Record, Style};
use template::Template;

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_first_chunk::<18>() else {
        return;
    };
    let [a, b] =
        [&head[..8], &head[8..16]].map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    let payload = &rest[..rest.len().min(usize::from(head[16]))];
    if let Ok(text) = std::str::from_utf8(rest) {
        numbers(text);
        print(text, payload, a, b);
    }
    shown(a, payload);
});

fn numbers(text: &str) {
    if let Ok(size) = units::parse_size(text) {
        assert_eq!(units::parse_size(&size.to_string()), Ok(size));
    }
    let _duration = units::parse_duration(text);
    if let Ok(mode) = units::parse_mode(text) {
        assert!(mode <= 0o777);
    }
    if let Ok(rate) = units::parse_rate(text) {
        assert!(rate.is_finite() && rate > 0.0);
    }
}

fn print(source: &str, payload: &[u8], a: u64, b: u64) {
    let template = source.parse::<Template>().ok();
    let record = Record {
        payload,
        sequence: a,
        count: Some(b as u8),
        kind: b as u16,
        key: a as u32,
        timestamp: b,
        group: Some(source),
        dead_letter: None,
    };
    let styles = [
        Style::choose(template.as_ref(), false, false),
        Style::choose(None, true, false),
    ];
    for style in styles {
        let mut to = Vec::new();
        style.write(&record, &mut to).unwrap();
        if matches!(style, Style::Json) {
            let read: serde_json::Value = serde_json::from_slice(&to).unwrap();
            assert_eq!(read["sequence"], a);
            assert_eq!(to.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
}

fn shown(number: u64, payload: &[u8]) {
    let preview = record::preview(payload);
    assert!(!preview.chars().any(char::is_control));
    assert_eq!(record::hex(payload).len(), 2 * payload.len());
    let shown = [
        units::size(number),
        units::count(number),
        units::age(number),
        units::timestamp(number),
        units::duration(Duration::from_nanos(number)),
        units::duration(Duration::from_secs(number)),
    ];
    assert!(shown.iter().all(|text| text.is_ascii() && !text.is_empty()));
}
