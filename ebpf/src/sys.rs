//! System calls that no library we use wraps: of bpf(2), link information with the namespace's inode, the
//! programs of a namespace, a test run, and pins as plain descriptors; and a namespace's cookie.
//!
//! All unsafe code of the loader is here.

#[cfg(feature = "test-run")]
mod test_run;

use std::{
    ffi::{CStr, CString, c_char},
    io, mem,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

#[cfg(feature = "test-run")]
pub use self::test_run::{TestPacket, TestRun, test_run};

use aya_obj::{
    Function,
    generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_prog_info, bpf_prog_type},
};

/// The most `sk_lookup` programs a namespace can hold (`netns_bpf_max_progs` in the kernel's
/// `kernel/bpf/net_namespace.c`).
const MAX_PROGRAMS: u32 = 64;

/// What the kernel reports of a link to a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    pub(crate) id: u32,
    pub(crate) program: u32,
    /// Inode of the namespace; 0 when it is gone, or the link was detached (`bpf_netns_link_fill_info`).
    pub(crate) netns: u32,
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: `attr` is valid for reads and writes of its size, and every pointer a caller stored in it
    // refers to memory that outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            &raw mut *attr,
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn blank() -> bpf_attr {
    // SAFETY: a union of integers and structures of integers, for which all zeroes is a valid value.
    unsafe { mem::zeroed() }
}

/// Opens whatever is pinned at `path`.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = blank();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    new_fd(bpf_cmd::BPF_OBJ_GET, &mut attr)
}

/// For commands that return a new descriptor, and for no other.
fn new_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = i32::try_from(bpf(command, attr)?).map_err(io::Error::other)?;
    // SAFETY: the command returned a new descriptor that has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Brings types into the kernel.
pub(crate) fn load_btf(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = blank();
    attr.__bindgen_anon_7.btf = types.as_ptr() as u64;
    attr.__bindgen_anon_7.btf_size = u32::try_from(types.len()).map_err(io::Error::other)?;
    new_fd(bpf_cmd::BPF_BTF_LOAD, &mut attr)
}

/// What a program is to the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    SkLookup,
    /// Called by what has this number in the kernel's BTF: a function, or the type of a tracepoint.
    Tracing(bpf_attach_type, u32),
}

/// A program as the kernel gets it.
pub(crate) struct Image<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    pub(crate) license: &'a CStr,
    /// Its instructions, with every reference resolved.
    pub(crate) function: &'a Function,
    /// The types that it speaks of.
    pub(crate) btf: BorrowedFd<'a>,
}

/// Bytes of the verifier's log on a program that it refuses.
const LOG: usize = 1 << 20;

/// Loads a program into the kernel. When the kernel refuses it, the error has the verifier's log.
pub(crate) fn load_program(image: &Image<'_>) -> Result<OwnedFd, (io::Error, String)> {
    // The log is written, and costs time, only when it is asked for.
    try_load_program(image, &mut []).or_else(|refused| {
        let mut log = vec![0; LOG];
        try_load_program(image, &mut log).map_err(|_| {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            (refused, String::from_utf8_lossy(&log[..end]).into_owned())
        })
    })
}

fn try_load_program(image: &Image<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let Image {
        kind,
        name,
        license,
        function,
        btf,
    } = image;
    let count = |length: usize| u32::try_from(length).map_err(io::Error::other);
    let (functions, lines) = (
        function.func_info.func_info_bytes(),
        function.line_info.line_info_bytes(),
    );
    let mut attr = blank();
    // SAFETY: every member of the union is integers, and all of them are zero.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    // One byte stays zero: the kernel wants an end.
    let room = load.prog_name.len() - 1;
    for (to, from) in load.prog_name[..room].iter_mut().zip(name.bytes()) {
        // Of either sign, by architecture.
        *to = c_char::from_ne_bytes([from]);
    }
    let (program_type, attach_type) = match *kind {
        Kind::SkLookup => (
            bpf_prog_type::BPF_PROG_TYPE_SK_LOOKUP,
            bpf_attach_type::BPF_SK_LOOKUP,
        ),
        Kind::Tracing(attach_type, by) => {
            load.attach_btf_id = by;
            (bpf_prog_type::BPF_PROG_TYPE_TRACING, attach_type)
        }
    };
    load.prog_type = program_type as u32;
    load.expected_attach_type = attach_type as u32;
    load.insns = function.instructions.as_ptr() as u64;
    load.insn_cnt = count(function.instructions.len())?;
    load.license = license.as_ptr() as u64;
    load.prog_btf_fd = btf.as_raw_fd().cast_unsigned();
    load.func_info = functions.as_ptr() as u64;
    load.func_info_cnt = count(function.func_info.len())?;
    load.func_info_rec_size = count(function.func_info_rec_size)?;
    load.line_info = lines.as_ptr() as u64;
    load.line_info_cnt = count(function.line_info.len())?;
    load.line_info_rec_size = count(function.line_info_rec_size)?;
    if !log.is_empty() {
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = count(log.len())?;
    }
    new_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Whether the kernel takes a `sk_lookup` program of these instructions (`struct bpf_insn`). It is gone at once.
pub(crate) fn try_sk_lookup(instructions: &[[u8; 8]]) -> io::Result<()> {
    let mut attr = blank();
    // SAFETY: every member of the union is integers, and all of them are zero.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SK_LOOKUP as u32;
    load.expected_attach_type = bpf_attach_type::BPF_SK_LOOKUP as u32;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    load.license = c"GPL".as_ptr() as u64;
    new_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr).map(drop)
}

/// Attaches a tracing program to what it was loaded for. It is detached when nothing holds the link any more.
pub(crate) fn trace(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = blank();
    attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    new_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// Sets the one value of a map of global data.
pub(crate) fn set_only_value(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    let key = 0_u32;
    let mut attr = blank();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_2.key = &raw const key as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// From now on no process can change the map, and the verifier takes its content for granted.
pub(crate) fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = blank();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// Pins what a descriptor refers to.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = blank();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = object.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Information on a link to a network namespace.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    // SAFETY: as in `blank`.
    let mut info: bpf_link_info = unsafe { mem::zeroed() };
    info_by_fd(link, &mut info)?;
    // SAFETY: the loader opens only links that it pinned itself, all of type netns; for any other type
    // these are still initialised integers.
    let netns = unsafe { info.__bindgen_anon_1.netns.netns_ino };
    Ok(LinkInfo {
        id: info.id,
        program: info.prog_id,
        netns,
    })
}

/// Kernel-wide number of a program.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: as in `blank`.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    info_by_fd(program, &mut info)?;
    Ok(info.id)
}

fn info_by_fd<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = blank();
    attr.info.bpf_fd = fd.as_raw_fd().cast_unsigned();
    attr.info.info = &raw mut *info as u64;
    attr.info.info_len = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// Numbers of the `sk_lookup` programs of a namespace, in the order they run.
pub(crate) fn programs_of(netns: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MAX_PROGRAMS as usize];
    let mut attr = blank();
    attr.query.__bindgen_anon_1.target_fd = netns.as_raw_fd().cast_unsigned();
    attr.query.attach_type = bpf_attach_type::BPF_SK_LOOKUP as u32;
    attr.query.prog_ids = ids.as_mut_ptr() as u64;
    attr.query.__bindgen_anon_2.prog_cnt = MAX_PROGRAMS;
    bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr)?;
    // SAFETY: both members of the union are the same integer, written by the kernel.
    let count = unsafe { attr.query.__bindgen_anon_2.prog_cnt };
    Ok(ids.into_iter().take(count as usize).collect())
}

/// `SO_NETNS_COOKIE` of `<asm-generic/socket.h>`, which the libc crate doesn't have for every libc.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The kernel's number for the network namespace of a socket. Unlike the inode's, it is never given again
/// before the next boot.
pub(crate) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: both pointers are to live variables, and `length` is the size of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(cookie)
    }
}
