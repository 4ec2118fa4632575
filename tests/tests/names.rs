//! Names of native functions: from wherever debug information can be, of the file that was really mapped, and the same
//! when the target is gone.

use std::cell::Cell;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use offheap::capture::Capture;
use offheap_tests::debug_info::{self, Split, assert_in_full, assert_named_only, copy, split};
use offheap_tests::process::in_own_mounts;
use offheap_tests::session::lacks_program;
use offheap_tests::tool::{Tool, binary};
use offheap_tests::{CFlags, Target, c_program, session};
use tempfile::TempDir;

const EXACT: [&str; 4] = ["--hooks", "malloc", "--sample-bytes", "0"];
const AT: &str = "at_inlined";
const DEBUG: &str = "/usr/lib/debug";

/// What every test here needs, beyond a session.
fn lacks_toolchain() -> bool {
    ["objcopy", "strip", "readelf", "unshare", "mount"]
        .into_iter()
        .any(lacks_program)
}

fn folder() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

fn host(library: &Path) -> Command {
    let mut host = Command::new(c_program("host", CFlags::default()));
    host.arg(library);
    host
}

/// What a capture sees while the host of `library` works.
fn captured(library: &Path) -> Capture {
    Target::start(&mut host(library)).captured(&EXACT).0
}

fn fresh(folder: &TempDir) -> Split {
    split(&debug_info::library(AT, &[], folder.path()), "--strip-all")
}

/// A command in a mount namespace of its own, in which `/usr/lib/debug` has what `source` has.
fn with_debug_folder(source: &Path) -> Command {
    fs::create_dir_all(DEBUG).expect("root may make folders");
    let script = "mount --bind \"$1\" /usr/lib/debug && shift && exec \"$@\"";
    let mut command = in_own_mounts(script);
    command.arg(source);
    command
}

/// A capture by a tool that has `debug` as its `/usr/lib/debug`; the target has none.
fn captured_with(debug: &Path, library: &Path) -> Capture {
    let mut target = Target::start(&mut host(library));
    let out = folder();
    let mut command = with_debug_folder(debug);
    command.arg(binary().expect("a session was begun"));
    command.args(["capture", &target.pid().to_string(), "-d", "600s", "-o"]);
    command.arg(out.path().join("bundle")).args(EXACT);
    let tool = Tool::spawn(&mut command, out);
    tool.await_live();
    target.work();
    tool.finish()
}

/// Each level of inlining is a frame with its file and line, by debug information in the file itself: of both versions
/// in use, and compressed in each way that there is.
#[test]
fn debug_information_in_the_file() {
    let Some(_session) = session() else { return };
    for flags in [&[][..], &["-gdwarf-4"], &["-gdwarf-5", "-O1"]] {
        let folder = folder();
        let library = debug_info::library(AT, flags, folder.path());
        assert_in_full(&captured(&library), AT);
    }
    if lacks_toolchain() {
        return;
    }
    for format in ["zlib", "zlib-gnu", "zstd"] {
        let folder = folder();
        let library = debug_info::library(AT, &[], folder.path());
        let option = format!("--compress-debug-sections={format}");
        debug_info::run("objcopy", [option.as_ref(), library.as_os_str()]);
        assert_in_full(&captured(&library), AT);
    }
}

/// Debug information that was split off is found by the debug link: beside the file, in `.debug`, and in the folder of
/// all debug files.
#[test]
fn debug_links_are_followed() {
    let Some(_session) = session() else { return };
    if lacks_toolchain() {
        return;
    }
    let beside = folder();
    let library = fresh(&beside);
    library.link();
    assert_in_full(&captured(&library.library), AT);

    let below = folder();
    let library = fresh(&below);
    library.link();
    library.to(&below.path().join(".debug/libinlined.so.debug"));
    assert_in_full(&captured(&library.library), AT);

    let (central, debug) = (folder(), folder());
    let library = fresh(&central);
    library.link();
    let path = central.path().strip_prefix("/").expect("an absolute path");
    library.to(&debug.path().join(path).join("libinlined.so.debug"));
    assert_in_full(&captured_with(debug.path(), &library.library), AT);
}

/// A file without a link is enough where the build id leads to its debug information: on our side, or on the target's,
/// as in a container that has debug symbols installed.
#[test]
fn build_ids_are_looked_up_on_both_sides() {
    let Some(_session) = session() else { return };
    if lacks_toolchain() {
        return;
    }
    let (ours, debug) = (folder(), folder());
    let library = fresh(&ours);
    library.to_build_id(debug.path());
    assert_in_full(&captured_with(debug.path(), &library.library), AT);

    let host = host(&library.library);
    let mut command = with_debug_folder(debug.path());
    command.arg(host.get_program()).args(host.get_args());
    let mut target = Target::start(&mut command);
    assert_in_full(&target.captured(&EXACT).0, AT);

    let nowhere = captured(&library.library);
    assert!(
        !nowhere
            .sites
            .iter()
            .flat_map(|site| &site.frames)
            .any(|frame| frame.name == AT),
        "without debug information nothing knows the site"
    );
}

/// A debug file of another build is not believed: neither with another checksum nor with another build id.
#[test]
fn other_builds_are_not_believed() {
    let Some(_session) = session() else { return };
    if lacks_toolchain() {
        return;
    }
    let (mine, other) = (folder(), folder());
    let foreign = split(
        &debug_info::library("at_another", &[], other.path()),
        "--strip-all",
    );
    let library = fresh(&mine);
    library.link();
    copy(&foreign.debug, &library.debug);
    let by_id = captured(&library.library);
    assert_no_other(&by_id);

    // Without build ids only the checksum can tell.
    let (mine, other) = (folder(), folder());
    let without = ["-Wl,--build-id=none"];
    let foreign = debug_info::library("at_another", &without, other.path());
    let library = debug_info::library(AT, &without, mine.path());
    let debug = mine.path().join("libinlined.so.debug");
    debug_info::run(
        "objcopy",
        [
            "--only-keep-debug".as_ref(),
            foreign.as_os_str(),
            debug.as_os_str(),
        ],
    );
    let mut add = std::ffi::OsString::from("--add-gnu-debuglink=");
    add.push(&debug);
    debug_info::run(
        "objcopy",
        [
            "--strip-debug".as_ref(),
            add.as_os_str(),
            library.as_os_str(),
        ],
    );
    // As a package manager that replaces the debug file before the library.
    let newer = debug_info::library("at_a_third", &without, other.path());
    debug_info::run(
        "objcopy",
        [
            "--only-keep-debug".as_ref(),
            newer.as_os_str(),
            debug.as_os_str(),
        ],
    );
    let by_checksum = captured(&library);
    assert_named_only(&by_checksum, AT);
    assert_no_other(&by_checksum);
    let note = by_checksum
        .notes
        .iter()
        .find(|note| note.contains("libinlined.so.debug"));
    assert!(
        note.is_some_and(|note| note.contains("checksums differ")),
        "{:#?}",
        by_checksum.notes
    );
}

fn assert_no_other(capture: &Capture) {
    let mut frames = capture.sites.iter().flat_map(|site| &site.frames);
    let wrong = ["at_another", "at_a_third", "innermost"];
    assert_eq!(
        frames.find(|frame| wrong.contains(&frame.name.as_str())),
        None
    );
}

/// Symbols that are packed into the file itself, as Fedora does it, give functions that are not exported their names.
#[test]
fn mini_debug_information_is_unpacked() {
    let Some(_session) = session() else { return };
    if lacks_toolchain() || lacks_program("xz") {
        return;
    }
    let folder = folder();
    let library = fresh(&folder);
    library.pack();
    fs::remove_file(&library.debug).expect("an own file");
    assert_named_only(&captured(&library.library), AT);
}

/// Symbols that unpack to more than is taken are left packed, and the report says so.
#[test]
fn bombs_are_not_unpacked() {
    let Some(_session) = session() else { return };
    if lacks_toolchain() || lacks_program("xz") {
        return;
    }
    let folder = folder();
    let library = fresh(&folder);
    let zeros = folder.path().join("zeros");
    let sparse = fs::File::create(&zeros).expect("an own file");
    sparse.set_len(300 << 20).expect("a file with a hole");
    debug_info::run("xz", ["-1".as_ref(), zeros.as_os_str()]);
    let mut add = std::ffi::OsString::from(".gnu_debugdata=");
    add.push(folder.path().join("zeros.xz"));
    debug_info::run(
        "objcopy",
        [
            "--add-section".as_ref(),
            add.as_os_str(),
            library.library.as_os_str(),
        ],
    );
    fs::remove_file(&library.debug).expect("an own file");
    let capture = captured(&library.library);
    assert!(
        capture
            .notes
            .iter()
            .any(|note| note.contains("libinlined.so: its .gnu_debugdata is not used")),
        "{:#?}",
        capture.notes
    );
    assert_named_only(&capture, "plugin_work");
}

/// Each stack has the names of the library that it went through, whatever is mapped there now, and whatever stands at
/// the library's path.
#[test]
fn stacks_keep_the_library_that_they_went_through() {
    let Some(_session) = session() else { return };
    let folder = folder();
    let names = ["at_first", "at_second", "at_third"];
    let next = |name: &str| -> PathBuf {
        let scratch = TempDir::new_in(folder.path()).expect("a temporary directory");
        let built = debug_info::library(name, &[], scratch.path());
        let path = folder.path().join("libinlined.so");
        // The new file takes the place of the old one, as in an upgrade.
        fs::rename(built, &path).expect("own files");
        path
    };
    let mut target = Target::start(&mut Command::new(c_program("changing", CFlags::default())));
    let tool = Tool::capture(target.pid(), &EXACT);
    target.say("go");
    let mut places = Vec::new();
    for name in names {
        let path = next(name);
        target.say(path.to_str().expect("a temporary path is text"));
        places.push(target.await_value("at "));
        target.await_word("worked");
        // Its stack has to be taken before the next library takes its place.
        tool.signal(libc::SIGUSR1);
        let (number, seen) = (places.len(), Cell::new(0));
        tool.await_stderr("word of the snapshot", |line| {
            seen.set(seen.get() + usize::from(line.contains("written: ")));
            seen.get() == number
        });
        target.say("unload it");
    }
    target.say("");
    target.await_word("done");
    let capture = tool.finish();
    for name in names {
        assert_in_full(&capture, name);
    }
    assert!(
        places.windows(2).any(|pair| pair[0] == pair[1]),
        "no library took another's place: {places:?}"
    );
}

/// A library that was replaced before the attach is named by what is mapped.
#[test]
fn files_replaced_before_the_attach_are_read_as_mapped() {
    let Some(_session) = session() else { return };
    let (folder, other) = (folder(), folder());
    let library = debug_info::library(AT, &[], folder.path());
    let mut target = Target::start(&mut host(&library));
    fs::remove_file(&library).expect("an own file");
    copy(
        &debug_info::library("at_another", &[], other.path()),
        &library,
    );
    let (capture, _) = target.captured(&EXACT);
    assert_in_full(&capture, AT);
    assert_no_another(&capture);
}

fn assert_no_another(capture: &Capture) {
    assert!(
        capture
            .sites
            .iter()
            .flat_map(|site| &site.frames)
            .all(|frame| frame.name != "at_another")
    );
}

/// Where the target lives in a mount namespace of its own, and its debug files only there, its names are the same
/// after it was killed as they were in its life.
#[test]
fn names_outlive_the_target_and_its_namespace() {
    let Some(_session) = session() else { return };
    if lacks_toolchain() {
        return;
    }
    let (hidden, source) = (folder(), folder());
    let library = fresh(&source);
    library.link();
    library.to(&source.path().join(".debug/libinlined.so.debug"));
    let program = c_program("host", CFlags::default());
    let script = "mount -t tmpfs tmpfs \"$1\" && cp -r \"$2/.\" \"$3\" \"$1\" && exec \"$1/host\" \"$1/libinlined.so\"";
    let mut command = in_own_mounts(script);
    command.args([hidden.path(), source.path(), program.as_path()]);
    let mut start = || {
        let target = Target::start(&mut command);
        assert!(
            !hidden.path().join("host").exists(),
            "the files are the target's alone"
        );
        target
    };

    let mut target = start();
    let (alive, _) = target.captured(&EXACT);
    assert_in_full(&alive, AT);
    drop(target);

    let mut target = start();
    let tool = Tool::capture(target.pid(), &EXACT);
    target.work();
    target.kill();
    let killed = tool.ended().capture();
    assert!(killed.target.ended);
    assert_eq!(
        debug_info::frames(&killed, AT),
        debug_info::frames(&alive, AT)
    );
}

/// A command that runs `program` with another root folder.
fn chrooted(root: &Path, program: &str) -> Command {
    let root = std::ffi::CString::new(root.to_str().expect("a temporary path is text"))
        .expect("no zero byte");
    let mut command = Command::new(program);
    // SAFETY: chroot and chdir are system calls that allocate nothing, as is demanded between fork and exec.
    unsafe {
        command.pre_exec(
            move || match libc::chroot(root.as_ptr()) + libc::chdir(c"/".as_ptr()) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
    command
}

/// A static program below another root, with its debug file below that root only, keeps its names when it is killed.
#[test]
fn names_outlive_another_root() {
    let Some(_session) = session() else { return };
    if lacks_toolchain() {
        return;
    }
    let root = folder();
    let flags = CFlags {
        compile: &["-static"],
        ..CFlags::default()
    };
    let program = root.path().join("reuse");
    copy(&c_program("reuse", flags), &program);
    let program = split(&program, "--strip-debug");
    program.to_build_id(&root.path().join("usr/lib/debug"));
    let mut target = Target::start(&mut chrooted(root.path(), "/reuse"));
    let tool = Tool::capture(target.pid(), &EXACT);
    target.work();
    target.kill();
    let capture = tool.ended().capture();
    let work = capture
        .sites
        .iter()
        .flat_map(|site| &site.frames)
        .find(|frame| frame.name == "work");
    let work = work.unwrap_or_else(|| panic!("no frame is work in {:#?}", capture.sites));
    assert!(
        work.file
            .as_deref()
            .is_some_and(|file| file.ends_with("/c/reuse.c")),
        "{work:?}"
    );
    assert!(work.line.is_some());
}
