//! The targets' sources, compiled once for each content into `target/test-targets`.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::session;

/// How a C source is compiled, beyond what all of them get.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub struct CFlags<'a> {
    pub compile: &'a [&'a str],
    /// After the source: libraries.
    pub link: &'a [&'a str],
}

/// What keeps every call and every frame of a target as its source says: the compiler must not pair malloc with free,
/// nor turn the last call of a function into a jump.
const ALL: [&str; 6] = [
    "-O2",
    "-g",
    "-Wall",
    "-fno-builtin",
    "-fno-optimize-sibling-calls",
    "-D_GNU_SOURCE",
];

static BUILDING: Mutex<()> = Mutex::new(());

/// The folder that everything is compiled into. It belongs to whoever owns the build directory, also when the tests
/// run as root.
pub fn directory() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this program");
    // Cargo marks its folder so that backups leave it out.
    let build = test
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .expect("tests run from below cargo's target folder");
    let folder = build.join("test-targets");
    fs::create_dir_all(&folder)
        .unwrap_or_else(|error| panic!("can't create {}: {error}", folder.display()));
    give_to_owner_of(build, &folder);
    folder
}

fn give_to_owner_of(model: &Path, path: &Path) {
    if let (true, Ok(owner)) = (session::is_root(), fs::metadata(model)) {
        let _ = std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()));
    }
}

/// A program made of `tests/c/NAME.c`.
pub fn c_program(name: &str, flags: CFlags) -> PathBuf {
    compile_c(name, flags, name, &["-pthread"])
}

/// A shared library made of `tests/c/NAME.c`.
pub fn c_library(name: &str, flags: CFlags) -> PathBuf {
    compile_c(name, flags, &format!("lib{name}.so"), &["-shared", "-fPIC"])
}

fn compile_c(name: &str, flags: CFlags, output: &str, kind: &[&str]) -> PathBuf {
    let source = source_folder("c").join(format!("{name}.c"));
    let headers = ["target.h", "zabi.h"].map(|header| source_folder("c").join(header));
    let key = hash(
        &[&source, &headers[0], &headers[1]],
        &format!("{flags:?}{kind:?}"),
    );
    once(&key, |folder| {
        let mut cc = Command::new("cc");
        cc.args(ALL)
            .args(kind)
            .args(flags.compile)
            .arg("-o")
            .arg(folder.join(output))
            .arg(&source)
            .args(flags.link);
        cc
    })
    .join(output)
}

/// The file that makes a C compiler link with musl, in the folder of its library; None, with the reason printed, where musl
/// is not installed.
pub fn musl_specs() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let mut specs = folders.map(|folder| folder.path().join("musl-gcc.specs"));
    let found = specs.find(|specs| specs.is_file());
    if found.is_none() {
        session::skip("musl-tools");
    }
    found
}

/// All Java targets, compiled; None, with the reason printed, where there is no javac.
pub fn classpath() -> Option<PathBuf> {
    compiled("javac", &["--release", "11"])
}

/// The same for JDK 8. The language is that of 8, and the library the compiler's own: what is there on 8 is the targets'
/// affair.
pub fn classpath_8() -> Option<PathBuf> {
    compiled(
        "javac for 8",
        &["-source", "8", "-target", "8", "-Xlint:-options"],
    )
}

fn compiled(key: &str, flags: &[&str]) -> Option<PathBuf> {
    if session::lacks_program("javac") {
        return None;
    }
    let mut sources: Vec<PathBuf> = fs::read_dir(source_folder("java/targets"))
        .expect("the folder of the Java targets")
        .map(|entry| entry.expect("an entry of the Java targets").path())
        .collect();
    sources.sort();
    let key = hash(
        &sources.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
        key,
    );
    Some(once(&key, |folder| {
        let mut javac = Command::new("javac");
        javac
            .args(flags)
            .args(["-g", "-nowarn", "-d"])
            .arg(folder)
            .args(&sources);
        javac
    }))
}

/// The Java target that `source` of `java/libraries` is, compiled against `jar`: the class path with both, and with all
/// other targets. None, with the reason printed, where there is no javac.
pub fn classpath_with(source: &str, jar: &Path) -> Option<String> {
    let targets = classpath()?;
    let source = source_folder("java/libraries").join(source);
    let key = hash(&[&source, jar], &format!("javac {}", targets.display()));
    let all = format!("{}:{}", jar.display(), targets.display());
    let compiled = once(&key, |folder| {
        let mut javac = Command::new("javac");
        javac.args(["--release", "11", "-g", "-nowarn", "-cp", &all, "-d"]);
        javac.arg(folder).arg(&source);
        javac
    });
    Some(format!("{}:{all}", compiled.display()))
}

/// A command that runs the Java target `class` with JVM `flags`.
pub fn java(classpath: &Path, flags: &[&str], class: &str) -> Command {
    let mut java = Command::new("java");
    // A small heap keeps the tests light; it is no setting that tracing needs.
    java.arg("-Xmx64m")
        .args(flags)
        .arg("-cp")
        .arg(classpath)
        .arg(format!("targets.{class}"));
    java
}

/// The flag that finds `jni.h` of the installed JDK.
pub fn jni_includes() -> Option<[String; 2]> {
    let javac = fs::canonicalize(session::program("javac")?).ok()?;
    let include = javac.parent()?.parent()?.join("include");
    include.join("jni.h").is_file().then(|| {
        [
            format!("-I{}", include.display()),
            format!("-I{}", include.join("linux").display()),
        ]
    })
}

/// Whether the C compiler finds the header `name`.
pub fn has_header(name: &str) -> bool {
    let mut cc = Command::new("cc");
    cc.args(["-E", "-x", "c", "-include", name, "/dev/null"]);
    cc.output().is_ok_and(|output| output.status.success())
}

fn source_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn hash(files: &[impl AsRef<Path>], how: &str) -> String {
    let mut hasher = DefaultHasher::new();
    how.hash(&mut hasher);
    for file in files {
        let file = file.as_ref();
        let text =
            fs::read(file).unwrap_or_else(|error| panic!("can't read {}: {error}", file.display()));
        (file.file_name(), text).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// The folder `key`, filled by the command that `build` makes; the name appears only when the command has succeeded.
fn once(key: &str, build: impl FnOnce(&Path) -> Command) -> PathBuf {
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let all = directory();
    let done = all.join(key);
    if done.is_dir() {
        return done;
    }
    let scratch = tempfile::Builder::new()
        .prefix("building-")
        .tempdir_in(&all)
        .expect("a folder to build in");
    let mut command = build(scratch.path());
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("can't run {command:?}: {error}"));
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{says}");
    let scratch = scratch.keep();
    // Readable to others: some targets run as another user.
    fs::set_permissions(&scratch, fs::Permissions::from_mode(0o755))
        .expect("the mode of an own folder");
    give_to_owner_of(&all, &scratch);
    for entry in fs::read_dir(&scratch).into_iter().flatten().flatten() {
        give_to_owner_of(&all, &entry.path());
    }
    // Another test process may have been faster; both made the same.
    if fs::rename(&scratch, &done).is_err() {
        let _ = fs::remove_dir_all(&scratch);
    }
    done
}
