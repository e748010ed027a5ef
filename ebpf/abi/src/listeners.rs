//! The tracker's maps, one set for all namespaces of a machine: which sockets could take a packet that no rule
//! lists.
//!
//! Kept by tracing programs and by the loader; asked by every gate. Only namespaces that have a gate are in
//! it.

/// [`ListenerKey::scope`]: bound to [`ListenerKey::device`] itself.
pub const ON_DEVICE: u8 = 0;
/// [`ListenerKey::scope`]: bound to a slave of the VRF that [`ListenerKey::device`] is.
///
/// The kernel doesn't show an `sk_lookup` program the slave that a packet came by, so slaves are kept under their VRF.
pub const ON_SLAVE: u8 = 1;
/// [`ListenerKey::scope`]: bound to no device; the device is 0.
pub const UNBOUND: u8 = 2;

/// [`TrackedSocket::flags`]: an IPv6 wildcard that takes IPv4 packets, too.
pub const SOCKET_DUAL_STACK: u32 = 1 << 0;

/// The unspecified address of IPv4, as keys have it.
pub const ANY_IPV4: [u8; 16] = crate::map_ipv4([0; 4]);
/// The unspecified address of IPv6.
pub const ANY_IPV6: [u8; 16] = [0; 16];

/// Key of the `listeners` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct ListenerKey {
    /// Inode of the network namespace.
    pub netns: u32,
    /// Ifindex of a device; 0 with [`UNBOUND`].
    pub device: u32,
    /// Local port, host byte order.
    pub port: u16,
    /// [`TCP`](crate::TCP) or [`UDP`](crate::UDP).
    pub protocol: u8,
    /// [`ON_DEVICE`], [`ON_SLAVE`] or [`UNBOUND`].
    pub scope: u8,
    /// Local address; IPv4 as `::ffff:a.b.c.d`. Unspecified for a wildcard.
    pub address: [u8; 16],
}

/// Value of the `listeners` map. Zero means none, and stays, so that counting needs no lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Listeners {
    /// How many sockets there are. Of 64 bits, because BPF counts atomically in no less.
    pub sockets: u64,
}

/// Value of the `sockets` map, keyed by the socket's cookie (`u64`): what it was counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TrackedSocket {
    /// Where it is counted. With [`SOCKET_DUAL_STACK`], under [`ANY_IPV4`] as well.
    pub key: ListenerKey,
    /// `SOCKET_*` bits.
    pub flags: u32,
}

/// Key of the `slaves` map, whose value is the ifindex of the VRF device (`u32`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct SlaveKey {
    /// Inode of the network namespace.
    pub netns: u32,
    /// Ifindex of the slave.
    pub device: u32,
}

/// Where the running kernel keeps what the tracer reads of a socket: offsets in bytes from the beginning of
/// `struct sock`, but where said otherwise.
///
/// Read from the kernel's BTF when the tracer is loaded: there is no relocation for Rust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SocketOffsets {
    /// `skc_family`, 2 bytes.
    pub family: u32,
    /// `skc_num`, 2 bytes: the local port.
    pub port: u32,
    /// `skc_bound_dev_if`, 4 bytes.
    pub device: u32,
    /// `skc_rcv_saddr`, 4 bytes.
    pub ipv4: u32,
    /// `skc_v6_rcv_saddr`, 16 bytes.
    pub ipv6: u32,
    /// The byte that holds the bit `skc_ipv6only`.
    pub ipv6_only: u32,
    /// That bit's place in the byte.
    pub ipv6_only_mask: u32,
    /// `sk_protocol`, 2 bytes.
    pub protocol: u32,
    /// `skc_net`, a pointer to `struct net`.
    pub net: u32,
    /// The inode number, 4 bytes, from the beginning of `struct net`.
    pub inode: u32,
}

#[cfg(feature = "user")]
impl SocketOffsets {
    /// The bytes that a program reads as this.
    #[must_use]
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        let Self {
            family,
            port,
            device,
            ipv4,
            ipv6,
            ipv6_only,
            ipv6_only_mask,
            protocol,
            net,
            inode,
        } = self;
        // In the order of the fields.
        let words = [
            family,
            port,
            device,
            ipv4,
            ipv6,
            ipv6_only,
            ipv6_only_mask,
            protocol,
            net,
            inode,
        ];
        let mut bytes = [0; size_of::<Self>()];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

const _: () = {
    assert!(size_of::<ListenerKey>() == 28);
    assert!(size_of::<Listeners>() == 8);
    assert!(size_of::<TrackedSocket>() == 32);
    assert!(size_of::<SlaveKey>() == 8);
    assert!(size_of::<SocketOffsets>() == 40);
};
