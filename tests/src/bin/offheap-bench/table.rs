//! Tables in Markdown, aligned, so that they read well in a terminal and go into docs/BENCHMARKS.md as they are.

use std::io::Write;

pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Table {
        Table {
            rows: vec![header.into_iter().map(Into::into).collect()],
        }
    }

    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Prints it to stdout below a heading.
    pub fn print(&self, heading: &str) {
        let mut out = std::io::stdout().lock();
        // A reader that has gone away needs no table.
        let _ = writeln!(out, "\n## {heading}\n\n{}", self.text());
    }

    fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
        let width = |column| {
            let widths = self
                .rows
                .iter()
                .map(|row| cell(row, column).chars().count());
            widths.max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = (0..columns)
                .map(|column| format!("{:<1$}", cell(row, column), widths[column]))
                .collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
        let (header, rows) = self
            .rows
            .split_first()
            .expect("a table begins with its header");
        let body: String = rows.iter().map(line).collect();
        line(header) + &line(&rule) + &body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns line up, also below characters of several bytes, and a short row is filled.
    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["what", "ns"]);
        table.row(["1–2"]);
        table.row(["floor", "1000"]);
        let lines: Vec<usize> = table
            .text()
            .lines()
            .map(|line| line.chars().count())
            .collect();
        assert_eq!(lines, [16, 16, 16, 16]);
    }
}
