use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::*;

fn module(id: u32, ranges: Vec<MappedRange>) -> Module {
    Module {
        id: ModuleId(id),
        path: PathBuf::from(format!("/lib/m{id}.so")),
        deleted: false,
        device: (8, 1),
        inode: u64::from(id) + 10,
        build_id: None,
        file: Arc::new(File::open("/dev/null").unwrap()),
        ranges,
    }
}

/// Addresses inside, between and at the borders of ranges find the right module and file offset.
#[test]
fn find() {
    let range = |start, end, file_offset, executable| MappedRange {
        start,
        end,
        file_offset,
        executable,
    };
    let table = ModuleTable::from_modules(vec![
        module(
            0,
            vec![
                range(0x1000, 0x2000, 0, false),
                range(0x2000, 0x3000, 0x5000, true),
            ],
        ),
        module(1, vec![range(0x4000, 0x5000, 0, true)]),
    ]);
    let offset = |address| {
        table
            .find(address)
            .map(|(module, offset)| (module.id.0, offset))
    };
    assert_eq!(offset(0xfff), None);
    assert_eq!(offset(0x1000), Some((0, 0)));
    assert_eq!(offset(0x2fff), Some((0, 0x5fff)));
    assert_eq!(offset(0x3000), None);
    assert_eq!(offset(0x4abc), Some((1, 0xabc)));
    assert_eq!(offset(u64::MAX), None);
    assert!(matches!(table.code(0x1000), Code::None));
    assert!(matches!(table.code(0x2000), Code::Module(_, 0x5000)));
}

/// A refresh on the test itself finds its executable with a readable file, and libc; a second one finds nothing new.
#[test]
fn own_process() {
    let pid = std::process::id();
    let mut table = ModuleTable::default();
    let new = table.refresh(pid).unwrap();
    assert_eq!(new.len(), table.modules.len());
    let here = own_process as *const () as u64;
    let (module, offset) = table.find(here).unwrap();
    let inode = std::fs::metadata("/proc/self/exe").unwrap().ino();
    assert_eq!(module.inode, inode);
    assert_eq!(module.file.metadata().unwrap().ino(), inode);
    assert!(offset < module.file.metadata().unwrap().len());
    let vdso = table
        .modules
        .iter()
        .find(|module| module.path == Path::new("[vdso]"))
        .unwrap();
    assert!(
        elf::visit(&vdso.file, |elf| elf::section(elf, ".eh_frame"))
            .flatten()
            .is_some()
    );
    assert!(table.refresh(pid).unwrap().is_empty());
}

/// A copy of this executable, mapped executable.
struct Mapped {
    address: *mut libc::c_void,
    copy: tempfile::NamedTempFile,
}

impl Mapped {
    fn new() -> Self {
        let copy = tempfile::NamedTempFile::new().unwrap();
        std::fs::copy("/proc/self/exe", copy.path()).unwrap();
        let (prot, fd) = (
            libc::PROT_READ | libc::PROT_EXEC,
            copy.as_file().as_raw_fd(),
        );
        // SAFETY: a fresh private mapping that nothing else refers to.
        let address =
            unsafe { libc::mmap(std::ptr::null_mut(), 4096, prot, libc::MAP_PRIVATE, fd, 0) };
        assert_ne!(address, libc::MAP_FAILED);
        Mapped { address, copy }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made above.
        unsafe { libc::munmap(self.address, 4096) };
    }
}

/// A file that is mapped later is returned as new, keeps its id when it is deleted and unmapped, and is no longer found
/// then, but still readable.
#[test]
fn later_and_gone() {
    let pid = std::process::id();
    let mut table = ModuleTable::default();
    table.refresh(pid).unwrap();
    let mapped = Mapped::new();
    let (address, path) = (mapped.address as u64, mapped.copy.path().to_path_buf());
    let new = table.refresh(pid).unwrap();
    let id = table.find(address).unwrap().0.id;
    assert!(new.contains(&id) && table.get(id).unwrap().path == path);
    std::fs::remove_file(&path).unwrap();
    table.refresh(pid).unwrap();
    assert_eq!(table.find(address).unwrap().0.id, id);
    assert!(table.get(id).unwrap().deleted);
    drop(mapped);
    table.refresh(pid).unwrap();
    assert!(table.find(address).is_none());
    let module = table.get(id).unwrap();
    assert!(module.ranges.is_empty() && open::is_elf(&module.file));
}

/// A file that was deleted before it was seen is read through its mapping, where the kernel allows that.
#[test]
fn deleted_before() {
    let mapped = Mapped::new();
    std::fs::remove_file(mapped.copy.path()).unwrap();
    let mut table = ModuleTable::default();
    table.refresh(std::process::id()).unwrap();
    let (module, _) = table.find(mapped.address as u64).unwrap();
    assert!(module.deleted && module.path == mapped.copy.path());
    let range = module.ranges[0];
    let link = format!("/proc/self/map_files/{:x}-{:x}", range.start, range.end);
    match File::open(link) {
        Ok(_) => assert!(open::is_elf(&module.file)),
        Err(error) => eprintln!("skipped: /proc/self/map_files may not be used here: {error}"),
    }
}

/// A process that has ended is an error and leaves the table as it was.
#[test]
fn ended() {
    let mut table = ModuleTable::default();
    table.refresh(std::process::id()).unwrap();
    let modules = table.modules.len();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    assert!(table.refresh(pid).is_err());
    assert_eq!(table.modules.len(), modules);
    assert!(!table.spans.is_empty());
}
