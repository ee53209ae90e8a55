//! Parsing: the tables and formulas of the page, and the names of constants, fields and states in the source.

use std::collections::{BTreeMap, BTreeSet};

pub const DOC: &str = include_str!("../../docs/format.md");
pub const GEOMETRY_SOURCE: &str = concat!(
    include_str!("../../src/layout/geometry.rs"),
    include_str!("../../src/layout/fields.rs")
);
pub const HEADER_SOURCE: &str = include_str!("../../src/layout/header.rs");
pub const LAYOUT_SOURCE: &str = include_str!("../../src/layout/mod.rs");
pub const WORD_SOURCE: &str = include_str!("../../src/layout/word.rs");

// --- The page: sections, tables, formulas. ---

/// The lines below a heading, down to the next heading of any depth.
pub fn section(heading: &str) -> Vec<&'static str> {
    let mut lines = DOC.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "no heading {heading:?}");
    lines.take_while(|line| !line.starts_with('#')).collect()
}

/// The rows of every table below a heading that has these columns, cells trimmed, code quotes kept.
pub fn table(heading: &str, columns: &str) -> Vec<Vec<&'static str>> {
    fn cells(line: &str) -> Vec<&str> {
        let inner = line.strip_prefix('|').and_then(|l| l.strip_suffix('|'));
        let inner = inner.unwrap_or_else(|| panic!("not a table row: {line}"));
        inner.split('|').map(str::trim).collect()
    }
    let mut rows = Vec::new();
    let mut inside = false;
    let mut seen = false;
    for line in section(heading) {
        if !line.starts_with('|') {
            inside = false;
        } else if inside {
            let row = cells(line);
            assert_eq!(row.len(), cells(columns).len(), "{heading}: {line}");
            if !row[0].starts_with("---") {
                rows.push(row);
            }
        } else if line == columns {
            inside = true;
            seen = true;
        }
    }
    assert!(seen, "{heading} has no table with the columns {columns:?}");
    assert!(!rows.is_empty(), "{heading} has an empty table");
    rows
}

/// What a cell quotes as code: its first such part.
pub fn quoted(cell: &str) -> &str {
    cell.split('`')
        .nth(1)
        .unwrap_or_else(|| panic!("{cell:?} has nothing in code quotes"))
}

pub type Names = BTreeMap<&'static str, u64>;

/// A formula of the page, evaluated. `u128`, so that no intermediate value overflows.
struct Formula<'a> {
    tokens: Vec<&'a str>,
    at: usize,
    names: &'a Names,
}

pub fn evaluate(text: &str, names: &Names) -> u64 {
    let mut tokens = Vec::new();
    let mut rest = text.trim().trim_matches('`');
    while !rest.is_empty() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let length = rest.find(|c| !word(c)).unwrap_or(rest.len()).max(1);
        let (token, after) = rest.split_at(length);
        if !token.trim().is_empty() {
            tokens.push(token);
        }
        rest = after;
    }
    let mut formula = Formula {
        tokens,
        at: 0,
        names,
    };
    let value = formula.level(0);
    assert_eq!(formula.peek(), "", "left over in {text:?}");
    u64::try_from(value).unwrap_or_else(|_| panic!("{text:?} does not fit 64 bits"))
}

impl<'a> Formula<'a> {
    fn peek(&self) -> &'a str {
        self.tokens.get(self.at).copied().unwrap_or_default()
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Operators of one level and above; the first level binds least.
    fn level(&mut self, level: usize) -> u128 {
        let levels = [["+", "-", ""], ["*", "/", "%"], ["^", "", ""]];
        let Some(operators) = levels.get(level) else {
            return self.atom();
        };
        let mut value = self.level(level + 1);
        while !self.peek().is_empty() && operators.contains(&self.peek()) {
            let operator = self.next();
            let right = self.level(level + 1);
            value = match operator {
                "+" => value + right,
                "-" => value - right,
                "*" => value * right,
                "/" => value / right,
                "%" => value % right,
                _ => value.pow(u32::try_from(right).unwrap()),
            };
        }
        value
    }

    fn atom(&mut self) -> u128 {
        let token = self.next();
        if let Some(digits) = token.strip_prefix("0x") {
            return u128::from_str_radix(digits, 16).unwrap();
        }
        if let Ok(number) = token.parse() {
            return number;
        }
        if self.peek() == "(" {
            return self.call(token);
        }
        let value = self.names.get(token);
        let value = value.unwrap_or_else(|| panic!("no number is called {token:?}"));
        u128::from(*value)
    }

    fn call(&mut self, function: &str) -> u128 {
        let mut arguments = Vec::new();
        while self.next() != ")" {
            arguments.push(self.level(0));
        }
        match (function, arguments.as_slice()) {
            ("max", all) => *all.iter().max().unwrap(),
            ("align_up", [value, step]) => value.div_ceil(*step) * step,
            ("align_down", [value, step]) => value / step * step,
            _ => panic!("the page uses {function} with {} numbers", arguments.len()),
        }
    }
}

pub fn number(text: &str) -> u64 {
    evaluate(text, &Names::new())
}

// --- The source: names of constants, fields and states. ---

pub fn after<'a>(source: &'a str, start: &str) -> &'a str {
    let at = source.find(start);
    let at = at.unwrap_or_else(|| panic!("the source has no {start:?}"));
    &source[at + start.len()..]
}

/// The body of a braced item at the top level of a file.
pub fn body(source: &'static str, start: &str) -> &'static str {
    let rest = after(source, start);
    &rest[..rest.find("\n}").unwrap()]
}

/// Constants of a module, each with its last line of documentation.
pub fn constants(text: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut documentation = "";
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(line) = line.strip_prefix("/// ") {
            documentation = line;
        } else if let Some(rest) = line.strip_prefix("pub const ") {
            found.push((rest.split(':').next().unwrap(), documentation));
        }
    }
    found
}

/// Public constants at the top level of a file.
pub fn top_level_constants(source: &'static str) -> BTreeSet<&'static str> {
    source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "))
        .filter(|rest| !rest.starts_with("fn "))
        .filter_map(|rest| rest.split_once(':').map(|(name, _)| name))
        .collect()
}

/// Fields of a struct, each with its type.
pub fn fields(name: &str) -> Vec<(&'static str, &'static str)> {
    body(HEADER_SOURCE, &format!("pub struct {name} {{"))
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.strip_suffix(','))
        .map(|field| field.split_once(": ").unwrap())
        .collect()
}

/// States of an enum, each with its number.
pub fn states(source: &'static str, name: &str) -> BTreeMap<u64, &'static str> {
    body(source, &format!("pub enum {name} {{"))
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "))
        .map(|(state, number)| (number.parse().unwrap(), state))
        .collect()
}
