//! Texts and frames of the page's data, each of them once.

use std::collections::HashMap;

use serde::Serialize;

use crate::capture::{Frame, FrameKind};
use crate::report::{caller, clean};

/// What a frame is, as the page colours and calls it; a place in [`WORDS`].
const MARK: u8 = 10;
pub(super) const WORDS: [&str; 11] = [
    "native",
    "native",
    "native method",
    "C1",
    "C2",
    "interpreted",
    "inlined",
    "inlined",
    "stub",
    "unknown",
    "mark",
];

/// Distinct texts in the order in which they came.
#[derive(Default)]
pub(super) struct Names {
    known: HashMap<String, i32>,
    pub(super) all: Vec<String>,
}

impl Names {
    /// The index of a text that is ours or was cleaned.
    pub(super) fn text(&mut self, text: &str) -> i32 {
        if let Some(index) = self.known.get(text) {
            return *index;
        }
        let index = i32::try_from(self.all.len()).unwrap_or(i32::MAX);
        self.all.push(text.to_owned());
        self.known.insert(text.to_owned(), index);
        index
    }

    /// The index of a text of the target's; −1 for none.
    pub(super) fn name(&mut self, raw: Option<&str>) -> i32 {
        raw.map_or(-1, |raw| self.text(&clean::name(raw)))
    }
}

/// A frame as the page has it: indices of names, −1 for none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Row {
    name: i32,
    kind: u8,
    module: i32,
    file: i32,
    line: i64,
}

/// Distinct frames, a column per property.
#[derive(Default, Serialize)]
pub(super) struct FrameColumns {
    name: Vec<i32>,
    kind: Vec<u8>,
    module: Vec<i32>,
    file: Vec<i32>,
    line: Vec<i64>,
}

/// Frames by what the page shows of them.
#[derive(Default)]
pub(super) struct Frames<'a> {
    seen: HashMap<&'a Frame, u32>,
    rows: HashMap<Row, u32>,
    all: Vec<Row>,
}

impl<'a> Frames<'a> {
    pub(super) fn index(&mut self, frame: &'a Frame, names: &mut Names) -> u32 {
        if let Some(index) = self.seen.get(frame) {
            return *index;
        }
        let index = self.row(Row {
            name: names.name(Some(&frame.name)),
            kind: kind(frame),
            module: names.name(frame.module.as_deref()),
            file: names.name(frame.file.as_deref()),
            line: frame.line.map_or(0, i64::from),
        });
        self.seen.insert(frame, index);
        index
    }

    /// A word in the place of a frame: where a stack broke off, what a stream is.
    pub(super) fn mark(&mut self, word: &str, names: &mut Names) -> u32 {
        self.row(Row {
            name: names.text(word),
            kind: MARK,
            module: -1,
            file: -1,
            line: 0,
        })
    }

    fn row(&mut self, row: Row) -> u32 {
        let all = &mut self.all;
        *self.rows.entry(row).or_insert_with(|| {
            all.push(row);
            (all.len() - 1) as u32
        })
    }

    /// The columns in alphabetical order, so that a frame stands at one place in every picture, and the new index of
    /// each frame.
    pub(super) fn sorted(self, names: &Names) -> (FrameColumns, Vec<u32>) {
        let name = |row: &Row| {
            usize::try_from(row.name)
                .ok()
                .and_then(|at| names.all.get(at))
        };
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        order.sort_by_key(|at| {
            let row = self.all[*at];
            (name(&row), row)
        });
        let mut columns = FrameColumns::default();
        let mut places = vec![0; order.len()];
        for (place, at) in order.into_iter().enumerate() {
            let row = self.all[at];
            places[at] = place as u32;
            columns.name.push(row.name);
            columns.kind.push(row.kind);
            columns.module.push(row.module);
            columns.file.push(row.file);
            columns.line.push(row.line);
        }
        (columns, places)
    }
}

/// The colours of `flame.svg` by number.
fn kind(frame: &Frame) -> u8 {
    match frame.kind {
        FrameKind::Native if caller::is_java(frame) => 2,
        FrameKind::Native if frame.name.contains("::") => 1,
        FrameKind::Native => 0,
        FrameKind::C1 => 3,
        FrameKind::C2 => 4,
        FrameKind::Interpreted => 5,
        FrameKind::Inlined if caller::is_java(frame) => 6,
        FrameKind::Inlined => 7,
        FrameKind::Stub => 8,
        FrameKind::Unknown => 9,
    }
}
