//! Libraries whose debug information is where distributions put it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use offheap::capture::{Capture, Frame, FrameKind, SiteKind};

use crate::sources::{CFlags, c_library};
use crate::{checks, sites_through};

/// A library `libinlined.so` of its own folder, and its debug information apart.
pub struct Split {
    /// Without `.symtab` and debug information.
    pub library: PathBuf,
    pub debug: PathBuf,
    pub build_id: String,
}

/// The library of `tests/c/inlined.c` with the site called `at`, copied into `folder`.
pub fn library(at: &str, compile: &[&str], folder: &Path) -> PathBuf {
    let define = format!("-DAT={at}");
    let compile = [&[define.as_str()], compile].concat();
    let flags = CFlags {
        compile: &compile,
        ..CFlags::default()
    };
    let built = c_library("inlined", flags);
    let library = folder.join("libinlined.so");
    copy(&built, &library);
    library
}

/// Takes the debug information out of `library`, as distributions do, and puts no link in its place. `strip` says what
/// else goes.
pub fn split(library: &Path, strip: &str) -> Split {
    let debug = library.with_extension("so.debug");
    run(
        "objcopy",
        [
            OsStr::new("--only-keep-debug"),
            library.as_ref(),
            debug.as_ref(),
        ],
    );
    run("strip", [OsStr::new(strip), library.as_ref()]);
    Split {
        build_id: build_id(library),
        library: library.to_owned(),
        debug,
    }
}

impl Split {
    /// Adds `.gnu_debuglink`, with the checksum that the debug file has now.
    pub fn link(&self) {
        let mut add = std::ffi::OsString::from("--add-gnu-debuglink=");
        add.push(&self.debug);
        run("objcopy", [add.as_os_str(), self.library.as_ref()]);
    }

    /// Moves the debug file to where the build id leads to, below `root`.
    pub fn to_build_id(&self, root: &Path) -> PathBuf {
        let (first, rest) = self.build_id.split_at(2);
        let folder = root.join(".build-id").join(first);
        self.to(&folder.join(format!("{rest}.debug")))
    }

    pub fn to(&self, path: &Path) -> PathBuf {
        fs::create_dir_all(path.parent().expect("a folder")).expect("an own folder");
        copy(&self.debug, path);
        fs::remove_file(&self.debug).expect("an own file");
        path.to_owned()
    }

    /// Puts the symbols into the library itself, compressed, as Fedora does.
    pub fn pack(&self) {
        let mini = self.library.with_extension("mini");
        run(
            "objcopy",
            [
                OsStr::new("--strip-debug"),
                self.debug.as_ref(),
                mini.as_ref(),
            ],
        );
        run("xz", [OsStr::new("--force"), mini.as_ref()]);
        let mut add = std::ffi::OsString::from(".gnu_debugdata=");
        add.push(mini.with_extension("mini.xz"));
        run(
            "objcopy",
            [
                OsStr::new("--add-section"),
                add.as_os_str(),
                self.library.as_ref(),
            ],
        );
    }
}

/// Runs a program of the toolchain.
pub fn run<'a>(program: &str, arguments: impl IntoIterator<Item = &'a OsStr>) {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("can't run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| {
        panic!("can't copy {} to {}: {error}", from.display(), to.display())
    });
}

fn build_id(library: &Path) -> String {
    let output = Command::new("readelf")
        .arg("-n")
        .arg(library)
        .output()
        .expect("readelf runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let id = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Build ID: "));
    id.unwrap_or_else(|| panic!("no build id in {text}"))
        .to_owned()
}

/// The line of `tests/c/inlined.c` that is marked as that of `what`.
pub fn line_of(what: &str) -> u32 {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/inlined.c");
    let text = fs::read_to_string(source).expect("a source of the targets");
    let mark = format!("// line of {what}");
    let at = text.lines().position(|line| line.ends_with(&mark));
    at.unwrap_or_else(|| panic!("no line is marked {mark:?}")) as u32 + 1
}

/// The frames of the only site through `name`, the leaf first.
pub fn frames<'a>(capture: &'a Capture, name: &str) -> &'a [Arc<Frame>] {
    let sites = sites_through(capture, SiteKind::Malloc, name);
    let all = || {
        capture
            .sites
            .iter()
            .map(checks::stack)
            .collect::<Vec<_>>()
            .join("\n\n")
    };
    assert_eq!(sites.len(), 1, "sites through {name} of\n{}", all());
    &sites[0].frames
}

/// From the allocation up to `plugin_work` each level of inlining is a frame, in its file and line.
pub fn assert_in_full(capture: &Capture, at: &str) {
    use FrameKind::{Inlined, Native};
    let frames = frames(capture, at);
    let levels = [
        ("innermost", Inlined, "innermost"),
        ("middle", Inlined, "middle"),
        ("outermost", Inlined, "outermost"),
        (at, Native, "the site"),
        ("plugin_work", Native, "plugin_work"),
    ];
    let from = frames.iter().position(|frame| frame.name == "innermost");
    let from =
        from.unwrap_or_else(|| panic!("nothing is inlined in {frames:#?}\n{:#?}", capture.notes));
    for ((name, kind, line), frame) in levels.iter().zip(&frames[from..]) {
        let file = frame.file.as_deref().unwrap_or_default();
        assert_eq!(
            (frame.name.as_str(), frame.kind),
            (*name, *kind),
            "in {frames:#?}"
        );
        assert!(file.ends_with("/c/inlined.c"), "{frame:?}");
        assert_eq!(frame.line, Some(line_of(line)), "{frame:?}");
        assert_eq!(frame.module.as_deref(), Some("libinlined.so"));
    }
    assert!(
        from >= 1,
        "the allocation function is the leaf: {frames:#?}"
    );
    checks::assert_conserved(capture);
}

/// The site has its name, from a symbol table, and no more.
pub fn assert_named_only(capture: &Capture, at: &str) {
    let frames = frames(capture, at);
    let site = frames
        .iter()
        .find(|frame| frame.name == at)
        .expect("the site");
    assert_eq!((site.file.as_deref(), site.line), (None, None), "{site:?}");
    assert!(
        frames.iter().all(|frame| frame.name != "innermost"),
        "{frames:#?}"
    );
}
