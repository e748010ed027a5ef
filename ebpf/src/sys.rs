//! System calls that no library we use wraps: of bpf(2), link information with the namespace's inode, the
//! programs of a namespace, a test run, and pins as plain descriptors; and a namespace's cookie.
//!
//! All unsafe code of the loader is here.

use std::{
    ffi::CString,
    io, mem,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_prog_info};

/// The most `sk_lookup` programs a namespace can hold (`netns_bpf_max_progs` in the kernel's
/// `kernel/bpf/net_namespace.c`).
const MAX_PROGRAMS: u32 = 64;

/// What the kernel says of a link to a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    pub(crate) id: u32,
    pub(crate) program: u32,
    /// Inode of the namespace; 0 when it is gone, or the link was detached (`bpf_netns_link_fill_info`).
    pub(crate) netns: u32,
}

/// Input of a test run: `struct bpf_sk_lookup` as user space fills it (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TestPacket {
    /// Zero: no socket is looked up in a test run.
    pub cookie: u64,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u32,
    /// `IPPROTO_TCP` (6) or `IPPROTO_UDP` (17).
    pub protocol: u32,
    /// Network byte order.
    pub remote_ip4: u32,
    /// Network byte order.
    pub remote_ip6: [u32; 4],
    /// Network byte order.
    pub remote_port: u16,
    /// The kernel wants zeroes wherever no field is.
    pub padding: u16,
    /// Network byte order.
    pub local_ip4: u32,
    /// Network byte order.
    pub local_ip6: [u32; 4],
    /// Host byte order.
    pub local_port: u32,
    /// The kernel takes nothing but 0 here (`bpf_prog_test_run_sk_lookup`).
    pub ingress_ifindex: u32,
    /// As `padding`.
    pub tail: u32,
}

const _: () = assert!(size_of::<TestPacket>() == 72);

/// What a test run returned: the program's verdict and the mean time of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// `SK_DROP` (0) or `SK_PASS` (1).
    pub verdict: u32,
    /// Nanoseconds a run, the kernel's own harness included.
    pub duration_ns: u32,
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
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: BPF_OBJ_GET returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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

/// Runs a program on a made-up packet, `repeat` times.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    packet: &TestPacket,
    repeat: u32,
) -> io::Result<TestRun> {
    let mut attr = blank();
    attr.test.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.test.ctx_in = &raw const *packet as u64;
    attr.test.ctx_size_in = u32::try_from(size_of::<TestPacket>()).map_err(io::Error::other)?;
    attr.test.repeat = repeat;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel wrote the member that the command used.
    let test = unsafe { attr.test };
    Ok(TestRun {
        verdict: test.retval,
        duration_ns: test.duration,
    })
}
