//! What no library we use wraps: a device brought up and a BPF link detached without a process. A process would hold a
//! copy of every socket that a test beside this one closes, until it executes its program.

use std::{
    ffi::CString,
    io,
    net::UdpSocket,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::libc;

/// `BPF_OBJ_GET` and `BPF_LINK_DETACH` of `enum bpf_cmd`.
const OBJ_GET: libc::c_long = 7;
const LINK_DETACH: libc::c_long = 34;

/// Detaches a pinned link by force, as `bpftool link detach` does: the pin stays and the program is out.
pub fn detach_link(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = [0; 8];
    attr[0] = path.as_ptr() as u64;
    let fd = i32::try_from(bpf(OBJ_GET, &attr)?).map_err(io::Error::other)?;
    // SAFETY: BPF_OBJ_GET returned a new descriptor that nobody else owns.
    let _link = unsafe { OwnedFd::from_raw_fd(fd) };
    attr[0] = u64::from(fd.cast_unsigned().to_le());
    bpf(LINK_DETACH, &attr).map(drop)
}

fn bpf(command: libc::c_long, attr: &[u64; 8]) -> io::Result<i64> {
    // SAFETY: `attr` is valid for its size, and the path that it may point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// As `ip link set DEVICE up` in this thread's namespace.
pub fn bring_up(device: &str) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: zeroes are a value of this structure of numbers and characters.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP).map_err(io::Error::other)?;
    // SAFETY: the request is valid for the call, and the kernel only reads it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
