//! The ELF files that the target has mapped.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crate::stack::ModuleId;

/// A file mapped by the target, executable at least in part.
#[derive(Clone, Debug)]
pub struct Module {
    pub id: ModuleId,
    /// As the target sees it; ` (deleted)` is cut off and kept in `deleted`.
    pub path: PathBuf,
    pub deleted: bool,
    pub device: (u32, u32),
    pub inode: u64,
    /// Hexadecimal GNU build id.
    pub build_id: Option<String>,
    /// Opened through the target's own mapping, so that it is the right file in any mount namespace, replaced or
    /// deleted, and stays readable after the target has ended.
    pub file: Arc<File>,
    pub ranges: Vec<MappedRange>,
}

/// One executable or data mapping of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRange {
    pub start: u64,
    pub end: u64,
    pub file_offset: u64,
    pub executable: bool,
}

/// All modules ever seen in this run; ids stay valid when a file is unmapped.
#[derive(Clone, Debug, Default)]
pub struct ModuleTable {
    pub modules: Vec<Module>,
}
