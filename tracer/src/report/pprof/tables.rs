//! The tables of a profile: every string, file, function and place is in them once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::proto::{Function, Line, Location, Mapping};
use crate::capture::{Capture, Frame, FrameKind, Module};
use crate::report::clean;

/// Tables that are filled while samples are written.
pub(super) struct Tables<'a> {
    strings: Interned<String>,
    /// By file name, as frames have it.
    modules: HashMap<&'a str, &'a Module>,
    mapped: HashMap<&'a str, u64>,
    mappings: Vec<Mapping>,
    functions: Interned<(i64, i64)>,
    locations: Interned<(u64, Vec<Line>)>,
    frames: HashMap<&'a Frame, (u64, Line)>,
}

/// The tables as the profile has them.
pub(super) struct Finished {
    pub strings: Vec<String>,
    pub mappings: Vec<Mapping>,
    pub functions: Vec<Function>,
    pub locations: Vec<Location>,
}

impl<'a> Tables<'a> {
    /// The first mapping is the program, as readers expect it.
    pub(super) fn new(capture: &'a Capture) -> Self {
        let mut tables = Tables {
            strings: Interned::default(),
            modules: HashMap::new(),
            mapped: HashMap::new(),
            mappings: Vec::new(),
            functions: Interned::default(),
            locations: Interned::default(),
            frames: HashMap::new(),
        };
        tables.strings.index(String::new());
        for module in &capture.modules {
            tables.modules.entry(&module.name).or_insert(module);
        }
        let target = &capture.target;
        let program = target.cmdline.first().unwrap_or(&target.comm);
        tables.mapping(program.rsplit('/').next().unwrap_or(program));
        tables
    }

    /// The index of a text that is ours, or that was cleaned.
    pub(super) fn text(&mut self, text: &str) -> i64 {
        match self.strings.known.get(text) {
            Some(index) => *index as i64,
            None => self.strings.index(text.to_owned()) as i64,
        }
    }

    /// The index of a text of the target's.
    pub(super) fn name(&mut self, raw: &str) -> i64 {
        let clean = clean::name(raw);
        self.text(&clean)
    }

    /// The places of a stack, leaf first: what was inlined is in one place with the function that has the code.
    pub(super) fn locations(&mut self, frames: &'a [Arc<Frame>]) -> Vec<u64> {
        let mut ids = Vec::with_capacity(frames.len());
        let mut inlined = Vec::new();
        for (at, frame) in frames.iter().enumerate() {
            let (mapping, line) = self.frame(frame);
            inlined.push(line);
            let goes_on = frame.kind == FrameKind::Inlined
                && frames
                    .get(at + 1)
                    .is_some_and(|next| next.module == frame.module);
            if !goes_on {
                ids.push(self.location(mapping, std::mem::take(&mut inlined)));
            }
        }
        ids
    }

    /// A place for a mark: a word and no code.
    pub(super) fn mark(&mut self, word: &str) -> u64 {
        let name = self.name(word);
        let function_id = self.functions.index((name, 0)) + 1;
        self.location(
            0,
            vec![Line {
                function_id,
                line: 0,
            }],
        )
    }

    fn location(&mut self, mapping: u64, lines: Vec<Line>) -> u64 {
        self.locations.index((mapping, lines)) + 1
    }

    fn frame(&mut self, frame: &'a Frame) -> (u64, Line) {
        if let Some(known) = self.frames.get(frame) {
            return *known;
        }
        let mapping = match &frame.module {
            Some(module) => self.mapping(module),
            None => 0,
        };
        let name = self.name(&frame.name);
        let file = frame.file.as_ref().map_or(0, |file| self.name(file));
        let line = Line {
            function_id: self.functions.index((name, file)) + 1,
            line: frame.line.unwrap_or(0).into(),
        };
        self.frames.insert(frame, (mapping, line));
        (mapping, line)
    }

    /// Everything has its name already: without the marks that say so readers look for the files.
    fn mapping(&mut self, module: &'a str) -> u64 {
        if let Some(id) = self.mapped.get(module) {
            return *id;
        }
        let known = self.modules.get(module).copied();
        let filename = self.name(known.map_or(module, |known| &known.path));
        let build_id = known
            .and_then(|known| known.build_id.as_ref())
            .map_or(0, |id| self.name(id));
        let id = self.mappings.len() as u64 + 1;
        self.mappings.push(Mapping {
            id,
            filename,
            build_id,
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        });
        self.mapped.insert(module, id);
        id
    }

    pub(super) fn finish(self) -> Finished {
        let functions = self.functions.values.iter().zip(1..);
        let locations = self.locations.values.into_iter().zip(1..);
        Finished {
            strings: self.strings.values,
            mappings: self.mappings,
            functions: functions
                .map(|(&(name, filename), id)| Function {
                    id,
                    name,
                    system_name: name,
                    filename,
                })
                .collect(),
            locations: locations
                .map(|((mapping_id, line), id)| Location {
                    id,
                    mapping_id,
                    line,
                })
                .collect(),
        }
    }
}

/// Distinct values in the order in which they came.
struct Interned<T> {
    known: HashMap<T, u64>,
    values: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Interned {
            known: HashMap::new(),
            values: Vec::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    fn index(&mut self, value: T) -> u64 {
        if let Some(index) = self.known.get(&value) {
            return *index;
        }
        let index = self.values.len() as u64;
        self.values.push(value.clone());
        self.known.insert(value, index);
        index
    }
}
