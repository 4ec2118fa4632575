//! The one table of hooked functions. A new allocator function is one row here and one test.

use std::fmt;

use tracer_common::config::group;
use tracer_common::cookie::NO_ARGUMENT;

pub mod pairs;
pub mod resolve;

use pairs::Membership;

/// What `--hooks` selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    Zlib,
    Mmap,
    Malloc,
    /// Functions that open and close something, declared or of presets.
    Pairs,
    /// What enlarges the process whoever asks for it: the program break, and page faults, which are no functions.
    Growth,
}

impl Group {
    pub const ALL: [Group; 5] = [
        Group::Zlib,
        Group::Mmap,
        Group::Malloc,
        Group::Pairs,
        Group::Growth,
    ];

    /// The bit that stands for the group in the programs.
    pub fn bit(self) -> u64 {
        match self {
            Group::Zlib => group::ZLIB,
            Group::Mmap => group::MMAP,
            Group::Malloc => group::MALLOC,
            Group::Pairs => group::PAIRS,
            Group::Growth => group::GROWTH,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Group::Zlib => "zlib",
            Group::Mmap => "mmap",
            Group::Malloc => "malloc",
            Group::Pairs => "pairs",
            Group::Growth => "growth",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a function is probed, and with which programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Returns a block, or stores it through `out`.
    Allocate,
    /// Ends the block `key` and returns another.
    Reallocate,
    /// Ends the block `key`.
    Free,
    Map,
    Remap,
    Unmap,
    /// Moves the program break.
    Break,
    /// Opens the stream `key`.
    StreamOpen,
    /// Opens a stream and returns it.
    StreamOpenReturn,
    /// Closes the stream `key`.
    StreamClose,
    /// Opens the object `key` of a pair.
    ObjectOpen,
    /// Opens an object of a pair; which one, or whether, its return tells.
    ObjectOpenReturn,
    /// Closes the object `key` of a pair.
    ObjectClose,
    /// Takes one more reference to the object `key` of a pair.
    ObjectRefer,
}

impl Shape {
    /// Whether the result is needed, which takes a return probe.
    pub fn returns(self) -> bool {
        !matches!(
            self,
            Shape::Free
                | Shape::Unmap
                | Shape::StreamOpen
                | Shape::StreamClose
                | Shape::ObjectOpen
                | Shape::ObjectClose
                | Shape::ObjectRefer
        )
    }
}

/// Which way a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Deflate,
    Inflate,
    /// Inflate with a window that is the caller's (`inflateBackInit_`).
    InflateBack,
}

/// One row. Arguments are numbered from 0; [`NO_ARGUMENT`] where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Empty for functions of pairs, which are found by what was declared.
    pub name: &'static str,
    pub group: Group,
    pub shape: Shape,
    pub key: u32,
    pub size: u32,
    pub count: u32,
    pub out: u32,
    pub window_bits: u32,
    pub mem_level: u32,
    pub direction: Option<Direction>,
    /// For [`Group::Pairs`]: which pair, and what to know of it.
    pub pair: Option<Membership>,
    /// Where the symbol counts.
    pub scope: Scope,
}

/// In which files a symbol of this name is the function that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Wherever it is defined; the malloc family also behind one of [`PREFIXES`].
    Anywhere,
    /// Only in a file that defines `malloc` itself: elsewhere it ends in `malloc`.
    Allocator,
    /// Only in a `libzip.so` without usable symbols of zlib.
    StrippedZip,
}

/// Prefixes that allocators are built with when they are linked into another library: jemalloc's `je_`, the ones of its
/// Rust and Go packages, gperftools' `tc_` and mimalloc's `mi_`.
pub const PREFIXES: [&str; 6] = ["je_", "_rjem_", "_rjem_je_", "jemalloc_", "tc_", "mi_"];

const ROW: Function = Function {
    name: "",
    group: Group::Malloc,
    shape: Shape::Free,
    key: NO_ARGUMENT,
    size: NO_ARGUMENT,
    count: NO_ARGUMENT,
    out: NO_ARGUMENT,
    window_bits: NO_ARGUMENT,
    mem_level: NO_ARGUMENT,
    direction: None,
    pair: None,
    scope: Scope::Anywhere,
};

const fn allocate(name: &'static str, size: u32) -> Function {
    Function {
        name,
        shape: Shape::Allocate,
        size,
        ..ROW
    }
}

const fn free(name: &'static str) -> Function {
    Function {
        name,
        shape: Shape::Free,
        key: 0,
        ..ROW
    }
}

const fn new(name: &'static str) -> Function {
    Function {
        scope: Scope::Allocator,
        ..allocate(name, 0)
    }
}

const fn delete(name: &'static str) -> Function {
    Function {
        scope: Scope::Allocator,
        ..free(name)
    }
}

const fn map(name: &'static str, shape: Shape) -> Function {
    Function {
        name,
        shape,
        group: Group::Mmap,
        ..ROW
    }
}

const fn open(
    name: &'static str,
    direction: Direction,
    window_bits: u32,
    mem_level: u32,
) -> Function {
    let (group, shape, direction) = (Group::Zlib, Shape::StreamOpen, Some(direction));
    Function {
        name,
        group,
        shape,
        key: 0,
        window_bits,
        mem_level,
        direction,
        ..ROW
    }
}

const fn close(name: &'static str, direction: Direction) -> Function {
    Function {
        name,
        group: Group::Zlib,
        shape: Shape::StreamClose,
        key: 0,
        direction: Some(direction),
        ..ROW
    }
}

/// In the order in which the probes go live: what costs least and tells most comes first.
pub static FUNCTIONS: &[Function] = &[
    // zlib.h; windowBits and memLevel by their position there.
    open("deflateInit_", Direction::Deflate, NO_ARGUMENT, NO_ARGUMENT),
    open("deflateInit2_", Direction::Deflate, 3, 4),
    open("deflateCopy", Direction::Deflate, NO_ARGUMENT, NO_ARGUMENT),
    close("deflateEnd", Direction::Deflate),
    open("inflateInit_", Direction::Inflate, NO_ARGUMENT, NO_ARGUMENT),
    open("inflateInit2_", Direction::Inflate, 1, NO_ARGUMENT),
    open("inflateCopy", Direction::Inflate, NO_ARGUMENT, NO_ARGUMENT),
    close("inflateEnd", Direction::Inflate),
    open("inflateBackInit_", Direction::InflateBack, 1, NO_ARGUMENT),
    close("inflateBackEnd", Direction::InflateBack),
    // java.base's libzip: `init(JNIEnv*, jclass, …)` returns the stream, `end(JNIEnv*, jclass, jlong)` takes it.
    Function {
        shape: Shape::StreamOpenReturn,
        scope: Scope::StrippedZip,
        ..open(
            "Java_java_util_zip_Deflater_init",
            Direction::Deflate,
            NO_ARGUMENT,
            NO_ARGUMENT,
        )
    },
    Function {
        key: 2,
        scope: Scope::StrippedZip,
        ..close("Java_java_util_zip_Deflater_end", Direction::Deflate)
    },
    Function {
        shape: Shape::StreamOpenReturn,
        scope: Scope::StrippedZip,
        ..open(
            "Java_java_util_zip_Inflater_init",
            Direction::Inflate,
            NO_ARGUMENT,
            NO_ARGUMENT,
        )
    },
    Function {
        key: 2,
        scope: Scope::StrippedZip,
        ..close("Java_java_util_zip_Inflater_end", Direction::Inflate)
    },
    map("mmap", Shape::Map),
    map("mmap64", Shape::Map),
    map("mremap", Shape::Remap),
    map("munmap", Shape::Unmap),
    Function {
        group: Group::Growth,
        ..map("sbrk", Shape::Break)
    },
    // The ends come before the beginnings: a block that is recorded is never freed unseen.
    free("free"),
    free("cfree"),
    free("free_sized"),
    free("free_aligned_sized"),
    delete("_ZdlPv"),
    delete("_ZdaPv"),
    delete("_ZdlPvm"),
    delete("_ZdaPvm"),
    delete("_ZdlPvSt11align_val_t"),
    delete("_ZdaPvSt11align_val_t"),
    delete("_ZdlPvmSt11align_val_t"),
    delete("_ZdaPvmSt11align_val_t"),
    delete("_ZdlPvRKSt9nothrow_t"),
    delete("_ZdaPvRKSt9nothrow_t"),
    delete("_ZdlPvSt11align_val_tRKSt9nothrow_t"),
    delete("_ZdaPvSt11align_val_tRKSt9nothrow_t"),
    delete("dallocx"),
    delete("sdallocx"),
    Function {
        shape: Shape::Reallocate,
        key: 0,
        ..allocate("realloc", 1)
    },
    Function {
        shape: Shape::Reallocate,
        key: 0,
        count: 1,
        ..allocate("reallocarray", 2)
    },
    Function {
        shape: Shape::Reallocate,
        key: 0,
        scope: Scope::Allocator,
        ..allocate("rallocx", 1)
    },
    allocate("malloc", 0),
    Function {
        count: 0,
        ..allocate("calloc", 1)
    },
    Function {
        out: 0,
        ..allocate("posix_memalign", 2)
    },
    allocate("aligned_alloc", 1),
    allocate("memalign", 1),
    allocate("valloc", 0),
    allocate("pvalloc", 0),
    new("_Znwm"),
    new("_Znam"),
    new("_ZnwmRKSt9nothrow_t"),
    new("_ZnamRKSt9nothrow_t"),
    new("_ZnwmSt11align_val_t"),
    new("_ZnamSt11align_val_t"),
    new("_ZnwmSt11align_val_tRKSt9nothrow_t"),
    new("_ZnamSt11align_val_tRKSt9nothrow_t"),
    new("mallocx"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// No function has two rows, and each row says where the arguments are that its shape needs.
    #[test]
    fn rows_are_complete_and_unique() {
        let mut names = HashSet::new();
        for row in FUNCTIONS {
            assert!(names.insert(row.name), "{} stands twice", row.name);
            let has_key = row.key != NO_ARGUMENT;
            let has_size = row.size != NO_ARGUMENT;
            match row.shape {
                Shape::Allocate => assert!(has_size && !has_key, "{}", row.name),
                Shape::Reallocate => assert!(has_size && has_key, "{}", row.name),
                Shape::Free | Shape::StreamOpen | Shape::StreamClose => {
                    assert!(has_key && !has_size, "{}", row.name)
                }
                Shape::Map
                | Shape::Remap
                | Shape::Unmap
                | Shape::Break
                | Shape::StreamOpenReturn => {}
                Shape::ObjectOpen
                | Shape::ObjectOpenReturn
                | Shape::ObjectClose
                | Shape::ObjectRefer => panic!("{} is in no pair", row.name),
            }
            assert_eq!(
                row.group == Group::Zlib,
                row.direction.is_some(),
                "{}",
                row.name
            );
        }
    }
}
