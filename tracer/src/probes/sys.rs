//! The calls of `bpf(2)` that multi-uprobes need and aya 0.14 does not make.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use aya_obj::generated::{
    __BindgenBitfieldUnit, BPF_ALU64, BPF_EXIT, BPF_F_UPROBE_MULTI_RETURN, BPF_JMP, BPF_MOV,
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type,
};

/// How a program is attached to functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Entry,
    Return,
    /// At entries, and at the returns that it asks for there.
    Session,
}

impl Mode {
    /// What the kernel wants to know when it loads the program.
    fn attach_type(self) -> u32 {
        match self {
            Mode::Entry | Mode::Return => bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32,
            Mode::Session => UPROBE_SESSION,
        }
    }
}

/// `BPF_TRACE_UPROBE_SESSION` (include/uapi/linux/bpf.h, Linux 6.13), which aya-obj 0.3 does not know.
const UPROBE_SESSION: u32 = 57;

/// A place in a file, and what the program is told when it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// File offset of the instruction.
    pub offset: u64,
    pub cookie: u64,
}

/// Debug information of a program, as `BPF_PROG_LOAD` takes it.
pub struct Lines<'a> {
    pub btf: BorrowedFd<'a>,
    pub functions: Vec<u8>,
    pub function_size: usize,
    pub lines: Vec<u8>,
    pub line_size: usize,
}

/// A program ready to be loaded: relocated, with the descriptors of its maps in it.
pub struct Program<'a> {
    pub name: &'a str,
    pub mode: Mode,
    pub license: &'a CStr,
    pub instructions: &'a [bpf_insn],
    pub lines: Option<Lines<'a>>,
}

/// The smallest program: `r0 = 0; exit`.
pub static EMPTY: [bpf_insn; 2] = [
    instruction((BPF_ALU64 | BPF_MOV) as u8),
    instruction((BPF_JMP | BPF_EXIT) as u8),
];

const fn instruction(code: u8) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: __BindgenBitfieldUnit::new([0]),
        off: 0,
        imm: 0,
    }
}

/// Loads a uprobe program for multi-uprobe links; the verifier writes to `log` unless that is empty.
pub fn load_program(program: &Program<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    // SAFETY: all fields of this member of the union are integers, and all of it is zero.
    let load = unsafe { &mut attributes.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
    load.expected_attach_type = program.mode.attach_type();
    load.insns = program.instructions.as_ptr() as u64;
    load.insn_cnt = program.instructions.len() as u32;
    load.license = program.license.as_ptr() as u64;
    // One byte stays: the kernel wants the name to end in a zero.
    let room = load.prog_name.len() - 1;
    for (to, from) in load.prog_name[..room].iter_mut().zip(program.name.bytes()) {
        *to = from as _;
    }
    if let Some(lines) = &program.lines {
        load.prog_btf_fd = lines.btf.as_raw_fd() as u32;
        (load.func_info, load.func_info_rec_size, load.func_info_cnt) =
            records(&lines.functions, lines.function_size);
        (load.line_info, load.line_info_rec_size, load.line_info_cnt) =
            records(&lines.lines, lines.line_size);
    }
    if !log.is_empty() {
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = log.len() as u32;
    }
    // SAFETY: the pointers above are to live memory of the sizes given with them.
    unsafe { descriptor(bpf_cmd::BPF_PROG_LOAD, &mut attributes) }
}

/// Address, record size and number of records.
fn records(bytes: &[u8], size: usize) -> (u64, u32, u32) {
    match bytes.len().checked_div(size) {
        Some(count) if count > 0 => (bytes.as_ptr() as u64, size as u32, count as u32),
        _ => (0, 0, 0),
    }
}

pub fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    // SAFETY: all fields of this member of the union are integers, and all of it is zero.
    let load = unsafe { &mut attributes.__bindgen_anon_7 };
    load.btf = btf.as_ptr() as u64;
    load.btf_size = btf.len() as u32;
    // SAFETY: the pointer above is to live memory of the size given with it.
    unsafe { descriptor(bpf_cmd::BPF_BTF_LOAD, &mut attributes) }
}

/// Attaches `program` to all `places` of `file` in the process `pid`; closing the link detaches from all.
pub fn link_uprobes(
    program: BorrowedFd<'_>,
    mode: Mode,
    file: &CStr,
    places: &[Place],
    pid: i32,
) -> io::Result<OwnedFd> {
    let offsets: Vec<u64> = places.iter().map(|place| place.offset).collect();
    let cookies: Vec<u64> = places.iter().map(|place| place.cookie).collect();
    let mut attributes = zeroed();
    // SAFETY: all fields of this member of the union are integers, and all of it is zero.
    let link = unsafe { &mut attributes.link_create };
    link.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    link.attach_type = mode.attach_type();
    // SAFETY: as above.
    let multi = unsafe { &mut link.__bindgen_anon_3.uprobe_multi };
    multi.path = file.as_ptr() as u64;
    multi.offsets = offsets.as_ptr() as u64;
    multi.cookies = cookies.as_ptr() as u64;
    multi.cnt = places.len() as u32;
    multi.flags = match mode {
        Mode::Return => BPF_F_UPROBE_MULTI_RETURN,
        Mode::Entry | Mode::Session => 0,
    };
    multi.pid = pid as u32;
    // SAFETY: the pointers above are to live memory, the arrays as long as `cnt` says.
    unsafe { descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attributes) }
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of structs of integers; the kernel wants every byte that is not used to be zero.
    unsafe { std::mem::zeroed() }
}

/// How often a program is offered again: the verifier says EAGAIN when a signal arrives meanwhile.
const ATTEMPTS: usize = 5;

/// # Safety
///
/// What `attributes` points to must be as `command` wants it, and live.
unsafe fn descriptor(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let mut error = io::Error::from_raw_os_error(libc::EAGAIN);
    for _ in 0..ATTEMPTS {
        // SAFETY: the caller vouches for what `attributes` points to.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command as libc::c_long,
                attributes as *mut bpf_attr,
                size_of::<bpf_attr>(),
            )
        };
        if let Ok(descriptor @ 0..) = i32::try_from(result) {
            // SAFETY: the command has made this descriptor (close-on-exec) for us alone.
            return Ok(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
        error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EAGAIN) {
            break;
        }
    }
    Err(error)
}
