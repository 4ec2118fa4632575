//! `offheap list`: the JVMs on this host.

use std::fmt;
use std::io;

use procfs::process::StatFlags;

use crate::exit::{self, Exit};
use crate::target::container::{self, Container};
use crate::target::jvm::{self, Release};
use crate::target::{Pid, launcher, process, text, user};

/// Prints the JVMs, largest first.
///
/// # Errors
/// When `/proc` or stdout fails.
pub fn run() -> anyhow::Result<Exit> {
    let listing = find()?;
    exit::print(&listing)?;
    if let Some(hint) = listing.hint() {
        exit::hint(&hint);
    }
    Ok(Exit::Done)
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub jvms: Vec<Row>,
    /// Processes whose mappings we may not read: they may be JVMs too.
    pub unreadable: usize,
    /// Who was looking.
    pub as_root: bool,
}

/// One JVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub pid: Pid,
    pub user: String,
    /// Main class or jar, or the program in brackets that embeds the JVM.
    pub main: String,
    pub release: Release,
    /// Resident bytes.
    pub rss: u64,
    pub container: Option<Container>,
}

/// Looks through all processes. Those that end meanwhile are left out.
///
/// # Errors
/// When `/proc` itself can't be read.
pub fn find() -> anyhow::Result<Listing> {
    let mut listing = Listing {
        as_root: user::effective() == 0,
        ..Listing::default()
    };
    for directory in procfs::process::all_processes()?.flatten() {
        match row(&directory) {
            Ok(found) => listing.jvms.extend(found),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                listing.unreadable += 1
            }
            Err(_ended) => {}
        }
    }
    listing
        .jvms
        .sort_by_key(|row| (std::cmp::Reverse(row.rss), row.pid));
    Ok(listing)
}

fn row(directory: &procfs::process::Process) -> io::Result<Option<Row>> {
    let stat = directory.stat().map_err(process::into_io)?;
    if StatFlags::from_bits_truncate(stat.flags).contains(StatFlags::PF_KTHREAD) {
        return Ok(None);
    }
    let Some(jvm) = jvm::find(directory)? else {
        return Ok(None);
    };
    let main = launcher::main_class(&process::read_cmdline(directory)?)
        .unwrap_or_else(|| format!("[{}]", stat.comm));
    let uid = directory.uid().map_err(process::into_io)?;
    Ok(Some(Row {
        pid: Pid(stat.pid.unsigned_abs()),
        user: user::name(uid).unwrap_or_else(|| uid.to_string()),
        main: text::printable(main.as_bytes()),
        release: jvm.release,
        rss: process::rss(directory)?,
        container: container::of(directory),
    }))
}

impl Listing {
    /// What the table does not say, and what to do about it.
    fn hint(&self) -> Option<String> {
        let none = self.jvms.is_empty().then_some("no JVM found");
        let way = if self.as_root {
            "not even root may (security module?)"
        } else {
            "sudo may"
        };
        let unseen = match self.unreadable {
            0 => None,
            1 => Some(format!("1 process can't be looked into: {way}")),
            n => Some(format!("{n} processes can't be looked into: {way}")),
        };
        let parts: Vec<String> = none.map(str::to_owned).into_iter().chain(unseen).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// The table; nothing at all without a JVM.
impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.jvms.is_empty() {
            return Ok(());
        }
        let cells: Vec<[String; 6]> = self.jvms.iter().map(cells).collect();
        let titles = ["PID", "USER", "RSS", "JDK", "CONTAINER", "MAIN"].map(str::to_owned);
        let width = |column: usize| {
            cells
                .iter()
                .chain([&titles])
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: [usize; 6] = std::array::from_fn(width);
        for [pid, user, rss, jdk, container, main] in [&titles].into_iter().chain(&cells) {
            let [w_pid, w_user, w_rss, w_jdk, w_container, _] = widths;
            writeln!(
                f,
                "{pid:>w_pid$}  {user:<w_user$}  {rss:>w_rss$}  {jdk:<w_jdk$}  {container:<w_container$}  {main}"
            )?;
        }
        Ok(())
    }
}

fn cells(row: &Row) -> [String; 6] {
    let jdk = match &row.release {
        Release::Known {
            version,
            implementor: Some(implementor),
        } => format!("{version} {implementor}"),
        Release::Known {
            version,
            implementor: None,
        } => version.clone(),
        Release::Replaced => "(replaced on disk)".to_owned(),
        Release::Unknown => "-".to_owned(),
    };
    let container = row
        .container
        .as_ref()
        .map_or("-".to_owned(), |c| format!("{}:{}", c.runtime, c.id));
    [
        row.pid.to_string(),
        row.user.clone(),
        mebibytes(row.rss),
        jdk,
        container,
        row.main.clone(),
    ]
}

/// `812 MiB`, `81.6 GiB`.
fn mebibytes(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    match bytes {
        0..GIB => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / GIB as f64),
    }
}

#[cfg(test)]
mod tests;
