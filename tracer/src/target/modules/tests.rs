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

/// A file that is mapped later is returned as new, keeps its id when it is unmapped, and is no longer found then.
#[test]
fn later_and_gone() {
    use std::os::fd::AsRawFd;
    let pid = std::process::id();
    let mut table = ModuleTable::default();
    table.refresh(pid).unwrap();
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy("/proc/self/exe", copy.path()).unwrap();
    let file = File::open(copy.path()).unwrap();
    // SAFETY: a fresh private mapping that nothing else refers to.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(address, libc::MAP_FAILED);
    std::fs::remove_file(copy.path()).unwrap();
    let new = table.refresh(pid).unwrap();
    assert!(new.iter().any(|&id| {
        let module = table.get(id).unwrap();
        module.path == copy.path()
            && module.deleted
            && module.ranges[0].start == address as u64
            && open::is_elf(&module.file)
    }));
    assert!(table.find(address as u64).is_some());
    // SAFETY: the mapping made above.
    unsafe { libc::munmap(address, 4096) };
    table.refresh(pid).unwrap();
    assert!(table.find(address as u64).is_none());
    let module = table
        .modules
        .iter()
        .find(|module| module.path == copy.path())
        .unwrap();
    assert!(module.ranges.is_empty() && open::is_elf(&module.file));
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
