//! Tables for people: columns as wide as they need to be.

/// A table with one row for each item, built column by column.
pub struct Table<'a, T> {
    items: &'a [T],
    lines: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

impl<'a, T> Table<'a, T> {
    /// Without columns yet.
    pub fn of(items: &'a [T]) -> Self {
        Self {
            items,
            lines: vec![String::new(); items.len() + 1],
        }
    }

    /// A column of words.
    pub fn left(self, title: &str, cell: impl Fn(&T) -> String) -> Self {
        self.column(title, Align::Left, cell)
    }

    /// A column of numbers.
    pub fn right(self, title: &str, cell: impl Fn(&T) -> String) -> Self {
        self.column(title, Align::Right, cell)
    }

    /// A column of counts that is left out if it would say nothing.
    pub fn right_unless_zero(self, title: &str, count: impl Fn(&T) -> u64) -> Self {
        if self.items.iter().all(|item| count(item) == 0) {
            return self;
        }
        self.right(title, |item| crate::units::count(count(item)))
    }

    fn column(mut self, title: &str, align: Align, cell: impl Fn(&T) -> String) -> Self {
        let cells = std::iter::once(title.to_owned()).chain(self.items.iter().map(cell));
        let cells: Vec<_> = cells.collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max();
        let width = width.unwrap_or(0);
        for (line, cell) in self.lines.iter_mut().zip(cells) {
            let gap = if line.is_empty() { "" } else { "  " };
            line.push_str(&match align {
                Align::Left => format!("{gap}{cell:<width$}"),
                Align::Right => format!("{gap}{cell:>width$}"),
            });
        }
        self
    }

    /// Its lines, or `none` if it has no rows.
    pub fn text(&self) -> String {
        if self.items.is_empty() {
            return "none".to_owned();
        }
        let lines: Vec<_> = self.lines.iter().map(|line| line.trim_end()).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(items: &[(&str, u64)]) -> String {
        let table = Table::of(items)
            .left("name", |item| item.0.to_owned())
            .left("k", |_| "x".to_owned())
            .right_unless_zero("n", |item| item.1);
        table.text()
    }

    #[test]
    fn columns_line_up() {
        let expected = "name  k      n\na     x      1\nlong  x  1_000";
        assert_eq!(table(&[("a", 1), ("long", 1000)]), expected);
        assert_eq!(table(&[]), "none");
    }

    #[test]
    fn a_column_of_zeros_is_left_out() {
        assert_eq!(table(&[("a", 0)]), "name  k\na     x");
    }
}
