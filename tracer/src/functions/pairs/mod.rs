//! Pairs of functions that open and close something: declared by the user, or shipped as presets.
//!
//! See `docs/PAIRS.md`. A pair is looked for in every file that the target has mapped; one that is nowhere costs nothing.

mod file;
mod presets;
mod syntax;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use regex::Regex;
use tracer_common::config::MAX_PAIRS;
use tracer_common::cookie::{NO_ARGUMENT, pair as flag};

use super::{Function, Group, ROW, Shape};

pub use presets::{COMMON, DEFAULT, PRESETS, Preset};
pub use syntax::parse;

/// Number of a pair in a run, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairId(pub u8);

/// Functions that open and close one kind of object.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What one object is called.
    pub name: String,
    pub roles: Vec<Role>,
    /// Matched against the path of a file, as the target sees it; none looks in all of them.
    pub library: Option<Regex>,
    pub reopening: Reopening,
    pub origin: Origin,
}

/// Who wants a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Shipped, under this name.
    Preset(&'static str),
    /// The user: what can't be right about it is said.
    Declared,
}

/// What an opening call means that gives an object which is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reopening {
    /// The older object has ended unseen, or was overwritten: the name is another object's now.
    Another,
    /// One more reference to it (`dlopen`).
    Reference,
}

/// One function of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub symbol: String,
    pub part: Part,
    pub object: Object,
    /// Only in a file that also defines this: an older version has another function under the name.
    pub beside: Option<&'static str>,
}

/// What a function does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Open(Success),
    Close,
    /// Takes one more reference: the object has to be closed once more.
    Refer,
}

/// When an opening call has opened something, besides giving an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    Always,
    /// It returns 0.
    Zero,
    /// It returns something else.
    NotZero,
}

/// Where a function has the name of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    pub place: Place,
    pub width: Width,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// What it returns.
    Result,
    /// Argument, numbered from 0.
    Argument(u32),
    /// Where that argument points to: when an opening call has returned, when a closing one is entered.
    Behind(u32),
}

/// How much of a register is the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// A pointer: 0 and −1 are failures.
    Whole,
    /// A 32-bit number: negative ones are failures.
    Number,
}

/// What the probes have to know of a pair's function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    pub pair: PairId,
    /// The first pair of the same preset: they are given up together. A declared pair is on its own.
    pub preset: PairId,
    /// Of [`tracer_common::cookie::pair`].
    pub flags: u32,
    pub leaving: Leaving,
}

/// How the return of a call is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    ReturnProbe,
    /// A return probe would replace the return address that the function looks at: probes at its `ret`s.
    Exits,
}

/// glibc's take their own return address to find whose library search path counts (dlfcn/dlopen.c, `RETURN_ADDRESS (0)`).
const LOOK_AT_THEIR_RETURN_ADDRESS: [&str; 2] = ["dlopen", "dlmopen"];

/// The pairs of a run.
#[derive(Clone, Debug, Default)]
pub struct Pairs(Arc<[Pair]>);

impl Pairs {
    /// # Errors
    /// When two have one name, or there are too many.
    pub fn new(pairs: Vec<Pair>) -> Result<Pairs, String> {
        let most = MAX_PAIRS as usize - 1;
        if pairs.len() > most {
            return Err(format!(
                "{} pairs are too many: at most {most}",
                pairs.len()
            ));
        }
        let mut names = HashSet::new();
        match pairs.iter().find(|pair| !names.insert(pair.name.as_str())) {
            Some(twice) => Err(format!(
                "two pairs are called `{}`: give one another name, or leave the preset out (--pairs none)",
                twice.name
            )),
            None => Ok(Pairs(pairs.into())),
        }
    }

    /// What `--pairs` (presets, files) and `--pair` ask for. Presets that are on by default count where `defaults` says
    /// so and none are named.
    ///
    /// # Errors
    /// A sentence for the user, in lower case.
    pub fn select(
        words: &[String],
        declared: &[String],
        defaults: &[&str],
    ) -> Result<Pairs, String> {
        let mut named: Option<Vec<&str>> = None;
        let mut pairs = Vec::new();
        for word in words {
            match presets::named(word) {
                Some(names) => named.get_or_insert_default().extend(names),
                None if file::is_path(word) => pairs.extend(file::read(Path::new(word))?),
                None => return Err(presets::unknown(word)),
            }
        }
        for text in declared {
            pairs.push(parse(text).map_err(|error| format!("--pair `{text}`: {error}"))?);
        }
        let mut chosen = named.unwrap_or_else(|| defaults.to_vec());
        chosen.sort_unstable();
        chosen.dedup();
        for preset in PRESETS.iter().filter(|p| chosen.contains(&p.name)) {
            pairs.extend(preset.pairs());
        }
        Pairs::new(pairs)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, id: PairId) -> Option<&Pair> {
        self.0.get(usize::from(id.0).checked_sub(1)?)
    }

    pub fn iter(&self) -> impl Iterator<Item = (PairId, &Pair)> {
        // There are fewer than 256.
        (1u8..=u8::MAX).map(PairId).zip(self.0.iter())
    }

    /// The first pair of the preset that a pair is of; itself, where it was declared.
    fn preset_of(&self, id: PairId) -> PairId {
        let is_of =
            |preset| move |(_, pair): &(PairId, &Pair)| pair.origin == Origin::Preset(preset);
        match self.get(id).map(|pair| pair.origin) {
            Some(Origin::Preset(preset)) => self
                .iter()
                .find(is_of(preset))
                .map_or(id, |(first, _)| first),
            Some(Origin::Declared) | None => id,
        }
    }

    /// The pairs of a preset, by its first one.
    pub fn of_preset(&self, first: PairId) -> Vec<PairId> {
        let all = self.iter().map(|(id, _)| id);
        all.filter(|id| self.preset_of(*id) == first).collect()
    }

    /// What is to be looked for in the file that the target knows as `path`.
    pub fn in_file(&self, path: &str) -> Wanted<'_> {
        let mut wanted = Wanted::default();
        for (id, pair) in self.iter() {
            if !pair.library.as_ref().is_none_or(|l| l.is_match(path)) {
                continue;
            }
            let preset = self.preset_of(id);
            for role in &pair.roles {
                if let Some(mark) = role.beside {
                    wanted.marks.insert(&role.symbol, mark);
                }
                let of_symbol = wanted.functions.entry(&role.symbol).or_default();
                of_symbol.push(role.function(id, preset, pair.reopening));
            }
        }
        wanted
    }
}

/// Functions of pairs by their symbols.
#[derive(Default)]
pub struct Wanted<'a> {
    functions: HashMap<&'a str, Vec<Function>>,
    /// What has to be in the same file.
    marks: HashMap<&'a str, &'static str>,
}

impl Wanted<'_> {
    /// The functions that `symbol` is. A JNI function's name also stands for its overloads, which have their signature
    /// behind two underscores (JNI specification, "Resolving Native Method Names").
    pub fn of(&self, symbol: &str) -> &[Function] {
        let overloaded = || {
            let (name, _) = symbol
                .starts_with("Java_")
                .then(|| symbol.split_once("__"))??;
            self.functions.get(name)
        };
        self.functions
            .get(symbol)
            .or_else(overloaded)
            .map_or(&[], Vec::as_slice)
    }

    /// Whether other symbols depend on this one being there.
    pub fn is_mark(&self, symbol: &str) -> bool {
        self.marks.values().any(|mark| *mark == symbol)
    }

    /// Whether `symbol` is what it is taken for in a file with these.
    pub fn applies(&self, symbol: &str, defined: impl Fn(&str) -> bool) -> bool {
        self.marks.get(symbol).is_none_or(|mark| defined(mark))
    }
}

impl Role {
    /// The row of the table that it is.
    fn function(&self, pair: PairId, preset: PairId, reopening: Reopening) -> Function {
        let (key, indirect) = match self.object.place {
            Place::Result => (NO_ARGUMENT, 0),
            Place::Argument(n) => (n, 0),
            Place::Behind(n) => (n, flag::INDIRECT),
        };
        let success = match self.part {
            Part::Open(Success::Zero) => flag::IF_ZERO,
            Part::Open(Success::NotZero) => flag::IF_NOT_ZERO,
            _ => 0,
        };
        let narrow = match self.object.width {
            Width::Whole => 0,
            Width::Number => flag::NARROW,
        };
        let counted = match reopening {
            Reopening::Another => 0,
            Reopening::Reference => flag::COUNTED,
        };
        let leaving = match LOOK_AT_THEIR_RETURN_ADDRESS.contains(&self.symbol.as_str()) {
            true => Leaving::Exits,
            false => Leaving::ReturnProbe,
        };
        Function {
            group: Group::Pairs,
            shape: self.shape(),
            key,
            pair: Some(Membership {
                pair,
                preset,
                flags: indirect | success | narrow | counted,
                leaving,
            }),
            ..ROW
        }
    }

    fn shape(&self) -> Shape {
        match (self.part, self.object.place) {
            (Part::Open(Success::Always), Place::Argument(_)) => Shape::ObjectOpen,
            (Part::Open(_), _) => Shape::ObjectOpenReturn,
            (Part::Close, _) => Shape::ObjectClose,
            (Part::Refer, _) => Shape::ObjectRefer,
        }
    }
}

impl Pair {
    /// What is given up with it, for people.
    pub fn title(&self) -> String {
        match self.origin {
            Origin::Preset(name) => format!("preset `{name}`"),
            Origin::Declared => format!("pair `{}`", self.name),
        }
    }

    /// The symbols of the functions that do one thing, for people.
    pub fn symbols(&self, part: impl Fn(Part) -> bool) -> String {
        let roles = self.roles.iter().filter(|role| part(role.part));
        let symbols: Vec<String> = roles.map(|role| format!("`{}`", role.symbol)).collect();
        match symbols.as_slice() {
            [one] => one.clone(),
            [first, .., last] if symbols.len() > 4 => {
                format!("any of {first} to {last} ({} functions)", symbols.len())
            }
            several => several.join(" or "),
        }
    }
}
