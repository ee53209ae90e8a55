//! What `slipring verify` and `repair` found, for people and for programs.

use serde::Serialize;
use slipring::{Finding, Severity, Verification};

use crate::exit::Code;
use crate::units;

/// A finding, as JSON.
#[derive(Serialize)]
pub struct FindingView<'a> {
    severity: String,
    what: &'a str,
    offset: u64,
    found: &'a str,
    expected: &'a str,
    consequence: &'a str,
}

impl<'a> From<&'a Finding> for FindingView<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            severity: finding.severity.to_string(),
            what: &finding.what,
            offset: finding.offset,
            found: &finding.found,
            expected: &finding.expected,
            consequence: finding.consequence,
        }
    }
}

/// How many findings of a kind there are.
pub fn count(found: &Verification, severity: Severity) -> usize {
    let all = found.findings.iter();
    all.filter(|finding| finding.severity == severity).count()
}

/// One line that says it all.
pub fn summary(found: &Verification) -> String {
    let users = match found.online {
        0 => "nobody attached".to_owned(),
        1 => "1 process attached".to_owned(),
        many => format!("{many} processes attached"),
    };
    let messages = units::counted(found.messages, "message");
    let verdict = if found.is_sound() { "sound" } else { "damaged" };
    let mut line = format!("{verdict}: {messages}, {users}");
    for (severity, what) in [
        (Severity::Damage, "damaged"),
        (Severity::Unsure, "unsure while it is in use"),
        (Severity::Leftover, "left by the dead"),
    ] {
        let count = count(found, severity);
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    if found.more_findings > 0 {
        line.push_str(&format!(", {} more not listed", found.more_findings));
    }
    line
}

/// How a command ends that found this.
pub fn code(found: &Verification) -> Code {
    if found.is_sound() {
        Code::Success
    } else {
        Code::Damaged
    }
}
