//! Finds the ordered accesses of the protocol in its source, and what their comments say.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// One ordering in the source.
#[derive(Clone, Debug)]
pub struct Place {
    /// Path from the top of the tree.
    pub file: String,
    /// Where the access is called, as the compiler counts: from 1.
    pub line: usize,
    /// The same.
    pub column: usize,
    /// The function it stands in.
    pub function: String,
    /// What is called: `load`, `replace`, `fence`.
    pub access: String,
    /// Acquire, Release, AcqRel or SeqCst.
    pub ordering: String,
    /// What the comment above says, from the name of the ordering on.
    pub comment: String,
}

impl Place {
    /// As the compiler names it.
    pub fn at(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }

    /// The orderings that are one step weaker.
    pub fn weaker(&self) -> &'static [&'static str] {
        let reads = self.access == "load";
        let writes = self.access == "store";
        match &*self.ordering {
            "SeqCst" if reads || writes => &["Relaxed"],
            "SeqCst" if self.access == "fence" => &["AcqRel"],
            "SeqCst" | "AcqRel" => &["Acquire", "Release"],
            _ => &["Relaxed"],
        }
    }

    /// What the comment says of models: `; models a, b` or `; models a, b without c's fence`.
    fn named(&self) -> (&str, &str) {
        let Some((_, named)) = self.comment.split_once("; model") else {
            return ("", "");
        };
        let named = named.trim_start_matches('s').split(['.', ';']).next();
        let named = named.unwrap_or_default();
        named.split_once(" without ").unwrap_or((named, ""))
    }

    /// The models it names.
    pub fn models(&self) -> Vec<&str> {
        words(self.named().0)
    }

    /// The functions whose fences would hide the weakening: without them, too, the models pass.
    pub fn without(&self) -> Vec<&str> {
        let functions = words(self.named().1).into_iter();
        functions
            .filter_map(|word| word.strip_suffix("'s"))
            .collect()
    }

    /// Why no model misses it, if the comment says so.
    pub fn excuse(&self) -> Option<&str> {
        let (_, reason) = self.comment.split_once("; no model: ")?;
        Some(reason.trim_end_matches('.'))
    }
}

fn words(list: &str) -> Vec<&str> {
    let words = list.split([',', ' ']);
    words.filter(|word| !word.is_empty()).collect()
}

/// Every ordering but `Relaxed` in the files of a folder.
pub fn in_folder(folder: &Path) -> Result<Vec<Place>> {
    let mut files = fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.sort();
    let mut places = Vec::new();
    for path in files {
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        places.extend(in_text(&path.display().to_string(), &text)?);
    }
    if places.is_empty() {
        bail!("{}: no ordering found there", folder.display());
    }
    Ok(places)
}

fn in_text(file: &str, text: &str) -> Result<Vec<Place>> {
    // The same text with comments blanked, so that lines and columns stay.
    let code: Vec<String> = text.lines().map(without_comment).collect();
    let mut places = Vec::new();
    let mut function = String::new();
    for (at, line) in code.iter().enumerate() {
        if let Some(name) = line.split("fn ").nth(1) {
            function = name.split(['(', '<']).next().unwrap_or_default().to_owned();
        }
        for (column, _) in line.match_indices("Ordering::") {
            let rest = line.get(column + "Ordering::".len()..).unwrap_or_default();
            let ordering: String = rest
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            if ordering == "Relaxed" || line.trim_start().starts_with("use ") {
                continue;
            }
            let (line, column, access) = call(&code, at, column)
                .with_context(|| format!("{file}:{}: {ordering} outside of a call", at + 1))?;
            places.push(Place {
                file: file.to_owned(),
                line,
                column,
                function: function.clone(),
                access,
                ordering,
                comment: comment(text, at),
            });
        }
    }
    Ok(places)
}

fn without_comment(line: &str) -> String {
    line.split("//").next().unwrap_or_default().to_owned()
}

/// The call whose argument stands at a line and column, both from 0.
fn call(code: &[String], at: usize, column: usize) -> Option<(usize, usize, String)> {
    let mut open = 0;
    for line in (0..=at).rev() {
        let text = code.get(line)?;
        let text = if line == at {
            text.get(..column)?
        } else {
            text
        };
        for (place, c) in text.char_indices().rev() {
            match c {
                ')' => open += 1,
                '(' if open == 0 => {
                    let before = text.get(..place)?;
                    let name = before
                        .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
                        .next()?;
                    return Some((line + 1, before.len() - name.len() + 1, name.to_owned()));
                }
                '(' => open -= 1,
                _ => {}
            }
        }
    }
    None
}

/// The ORDERING comment that speaks for a line, in one line.
fn comment(text: &str, at: usize) -> String {
    let lines: Vec<&str> = text.lines().take(at + 1).collect();
    let Some(start) = lines
        .iter()
        .rposition(|line| line.contains("// ORDERING: "))
    else {
        return String::new();
    };
    let block = lines.get(start..).unwrap_or_default().iter();
    let words = block.map_while(|line| line.split_once("//").map(|(_, words)| words.trim()));
    let whole = words.collect::<Vec<_>>().join(" ");
    whole.trim_start_matches("ORDERING: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::in_text;

    const SOURCE: &str = "
fn settle<T>(word: &Word) {
    // ORDERING: AcqRel; pairs with take's Acquire; the
    // attempt; models nack_claim, ack_then_reuse.
    word.replace(
        load(Ordering::Relaxed),
        done(),
        Ordering::AcqRel,
    );
    // ORDERING: SeqCst fence; pairs with itself; no model: for people.
    fence(Ordering::SeqCst);
    // ORDERING: Acquire; the attempt; model two_nacks without settle's, refresh_limit's fence.
    word.load(Ordering::Acquire);
}";

    #[test]
    fn a_place_is_the_call_as_the_compiler_counts_it() {
        let places = in_text("settle.rs", SOURCE).unwrap();
        assert_eq!(places.len(), 3);
        let replace = &places[0];
        assert_eq!((replace.line, replace.column), (5, 10));
        assert_eq!(
            (&*replace.access, &*replace.function),
            ("replace", "settle")
        );
        assert_eq!(replace.models(), ["nack_claim", "ack_then_reuse"]);
        assert_eq!(replace.excuse(), None);
        assert_eq!(replace.weaker(), ["Acquire", "Release"]);
        let fence = &places[1];
        assert_eq!((fence.line, fence.column), (11, 5));
        assert_eq!(fence.excuse(), Some("for people"));
        assert!(fence.models().is_empty());
        let load = &places[2];
        assert_eq!(load.models(), ["two_nacks"]);
        assert_eq!(load.without(), ["settle", "refresh_limit"]);
        assert!(replace.without().is_empty());
    }
}
