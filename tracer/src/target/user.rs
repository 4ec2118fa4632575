//! Names of users.

use std::ffi::CStr;

/// The user's name, from whatever the host takes users from. None when it has none, as for ids used in containers.
pub fn name(uid: u32) -> Option<String> {
    let mut buffer = [0u8; 4096];
    // SAFETY: passwd is plain data, for which zeroes (null pointers) are a valid value.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live, writable objects of the right type, and the length is that of `buffer`.
    let failed = unsafe {
        libc::getpwuid_r(
            uid,
            &mut entry,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            &mut found,
        )
    };
    if failed != 0 || found.is_null() || entry.pw_name.is_null() {
        return None;
    }
    // SAFETY: on success pw_name is a terminated string inside `buffer`, which is still alive.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    Some(super::text::printable(name.to_bytes()))
}

/// Our own effective user id.
pub fn effective() -> u32 {
    // SAFETY: geteuid has no preconditions and can't fail.
    unsafe { libc::geteuid() }
}

/// `alice (uid 1000)`, or `uid 1000` when there is no name.
pub fn describe(uid: u32) -> String {
    name(uid).map_or_else(
        || format!("uid {uid}"),
        |name| format!("{name} (uid {uid})"),
    )
}
