//! How the command ends: exit codes, and one line on stderr that says why.

use std::process::ExitCode;

use slipring::{
    AttachError, ClaimError, GroupError, OpenError, OpenErrorKind, PublishError, TransferError,
};

use crate::output::{self, ClosedPipe, Stopped};
use crate::signals;

/// What the process says when it ends. Wrong usage, 2, is clap's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Done.
    Success,
    /// Anything without a code of its own.
    Failure,
    /// No such queue or group.
    NotFound,
    /// Fewer messages than asked for.
    Empty,
    /// No room for a message.
    Full,
    /// A file that breaks the rules of its format.
    Damaged,
    /// Ended by a signal, in good order.
    Signal(u8),
}

/// The codes and their meanings, for the help and the man page.
pub const CODES: [(&str, &str); 8] = [
    ("0", "done; also when whoever reads the output has gone"),
    ("1", "failed; stderr says why"),
    ("2", "wrong usage"),
    ("3", "no such queue or group"),
    (
        "4",
        "empty, or timed out, before as many messages came as were asked for",
    ),
    ("5", "queue full, at once or until the time-out"),
    (
        "6",
        "damaged: verify, repair, dump and import say what is wrong, and where",
    ),
    (
        "128+N",
        "stopped by signal N (130: interrupt, 143: terminate), after settling or giving back",
    ),
];

/// [`CODES`] as a part of the help.
pub fn table() -> String {
    let mut text = String::from("Exit codes:");
    for (code, meaning) in CODES {
        text.push_str(&format!("\n  {code:<6} {meaning}"));
    }
    text
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(match code {
            Code::Success => 0,
            Code::Failure => 1,
            Code::NotFound => 3,
            Code::Empty => 4,
            Code::Full => 5,
            Code::Damaged => 6,
            Code::Signal(number) => 128 + number,
        })
    }
}

/// Says on stderr why it failed, and picks the code.
pub fn explain(error: &anyhow::Error) -> Code {
    let code = classify(error);
    if !matches!(code, Code::Success | Code::Signal(_)) {
        output::complain(&one_line(error));
    }
    code
}

fn classify(error: &anyhow::Error) -> Code {
    error.chain().find_map(code_of).unwrap_or(Code::Failure)
}

fn code_of(cause: &(dyn std::error::Error + 'static)) -> Option<Code> {
    if cause.is::<ClosedPipe>() {
        return Some(Code::Success);
    }
    if cause.is::<Stopped>() {
        return signals::caught().map(Code::Signal);
    }
    if let Some(open) = cause.downcast_ref::<OpenError>() {
        return matches!(open.kind(), OpenErrorKind::NotFound).then_some(Code::NotFound);
    }
    if let Some(transfer) = cause.downcast_ref::<TransferError>() {
        return match transfer {
            TransferError::Damaged { .. } | TransferError::Unsound { .. } => Some(Code::Damaged),
            // Its cause is not one of the chain: it says the same.
            TransferError::Open(open) => code_of(open),
            _ => None,
        };
    }
    match cause.downcast_ref::<GroupError>() {
        Some(GroupError::NotFound) => return Some(Code::NotFound),
        Some(_) => return Some(Code::Failure),
        None => {}
    }
    if let Some(AttachError::NoDefaultGroup) = cause.downcast_ref() {
        return Some(Code::NotFound);
    }
    if let Some(ClaimError::Empty | ClaimError::TimedOut) = cause.downcast_ref() {
        return Some(Code::Empty);
    }
    let full = matches!(
        cause.downcast_ref(),
        Some(PublishError::Full | PublishError::TimedOut)
    );
    full.then_some(Code::Full)
}

/// The error and its causes, leaving out a cause that the line says already.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn context_does_not_hide_the_code() {
        let full = Err::<(), _>(PublishError::Full).context("message 3");
        assert_eq!(classify(&full.unwrap_err()), Code::Full);
        let missing = Err::<(), _>(GroupError::NotFound).context("a").context("b");
        assert_eq!(classify(&missing.unwrap_err()), Code::NotFound);
        assert_eq!(classify(&anyhow::anyhow!("else")), Code::Failure);
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("inner").context("outer: inner");
        assert_eq!(one_line(&error), "outer: inner");
        let error = anyhow::anyhow!("two\nlines").context("outer");
        assert_eq!(one_line(&error), "outer: two lines");
    }
}
