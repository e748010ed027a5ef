//! Runs of a program on made-up packets, for tests and benchmarks.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya_obj::generated::bpf_cmd;

use super::{blank, bpf};

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

/// Runs an `sk_lookup` program, ours or another, on a made-up packet, `repeat` times (`BPF_PROG_TEST_RUN`).
pub fn test_run(program: BorrowedFd<'_>, packet: &TestPacket, repeat: u32) -> io::Result<TestRun> {
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
