//! Where the running kernel keeps what the tracer reads of a socket, and what the tracer is attached to, from the
//! kernel's BTF (Documentation/bpf/btf.rst). aya reads BTF too, but keeps members of structures to itself, and makes
//! tens of megabytes of it.

use std::collections::HashMap;

use vrfgate_abi::SocketOffsets;

/// Magic number at the beginning of BTF.
const MAGIC: u16 = 0xeb9f;
/// Bytes of the record that begins each type.
const TYPE_SIZE: usize = 12;
/// Bytes of a member of a structure.
const MEMBER_SIZE: usize = 12;
/// How many members are looked at for one. `struct net` and `struct sock` have about a hundred; structures that hold themselves
/// have no end.
const MEMBERS: u32 = 1000;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;
/// Kinds that hold members.
const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// A place in a structure, in bits.
#[derive(Clone, Copy)]
struct Place {
    bits: u32,
    type_id: u32,
}

impl Place {
    fn bytes(self) -> u32 {
        self.bits / 8
    }
}

/// The types of the kernel, as its BTF has them.
pub(super) struct Kernel<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins, by number; the first is that of type 1.
    starts: Vec<usize>,
    /// Numbers of named structures.
    structs: HashMap<&'a [u8], u32>,
}

impl<'a> Kernel<'a> {
    /// The content of `/sys/kernel/btf/vmlinux`; `None` when it is something else.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        let header = |at: usize| word(bytes, at).and_then(|word| usize::try_from(word).ok());
        let body = bytes.get(header(4)?..)?;
        let types = body.get(header(8)?..)?.get(..header(12)?)?;
        let strings = body.get(header(16)?..)?.get(..header(20)?)?;
        let mut kernel = Self {
            types,
            strings,
            starts: Vec::new(),
            structs: HashMap::new(),
        };
        let mut at = 0;
        while at < types.len() {
            let info = word(types, at + 4)?;
            kernel.starts.push(at);
            if kind(info) == STRUCT {
                let number = u32::try_from(kernel.starts.len()).ok()?;
                kernel
                    .structs
                    .insert(kernel.name(word(types, at)?)?, number);
            }
            at += TYPE_SIZE + trailing(info)?;
        }
        Some(kernel)
    }

    /// Number of a function.
    pub(super) fn function(&self, name: &str) -> Option<u32> {
        self.find(FUNC, &format!("{name}\0"))
    }

    /// Number of the type of what is called at a tracepoint (`typedef_name` in the kernel's `check_attach_btf_id`).
    pub(super) fn tracepoint(&self, name: &str) -> Option<u32> {
        self.find(TYPEDEF, &format!("btf_trace_{name}\0"))
    }

    /// Number of a type by its kind and its name with the zero at its end.
    fn find(&self, wanted: u32, name: &str) -> Option<u32> {
        let is_it = |&start: &usize| {
            let is_kind = word(self.types, start + 4).is_some_and(|info| kind(info) == wanted);
            let at = || usize::try_from(word(self.types, start)?).ok();
            is_kind
                && at()
                    .and_then(|at| self.strings.get(at..))
                    .is_some_and(|strings| strings.starts_with(name.as_bytes()))
        };
        let place = self.starts.iter().position(is_it)?;
        u32::try_from(place + 1).ok()
    }

    /// Whether a structure has a member; `None` when there is no such structure.
    pub(super) fn has_member(&self, structure: &[u8], member: &[u8]) -> Option<bool> {
        let structure = self.structure(structure)?;
        Some(self.member(structure, member).is_some())
    }

    /// The offsets; `None` when the types lack one of them.
    pub(super) fn socket_offsets(&self) -> Option<SocketOffsets> {
        let common = self.structure(b"sock_common")?;
        // The first member of `struct sock`, so offsets from the one are offsets from the other.
        let of_common = |name: &[u8]| Some(self.member(common, name)?.bytes());
        let ipv6_only = self.member(common, b"skc_ipv6only")?;
        let sock = self.structure(b"sock")?;
        let namespace = self.member(self.structure(b"net")?, b"ns")?;
        let inode = self.member(namespace.type_id, b"inum")?;
        Some(SocketOffsets {
            family: of_common(b"skc_family")?,
            port: of_common(b"skc_num")?,
            device: of_common(b"skc_bound_dev_if")?,
            ipv4: of_common(b"skc_rcv_saddr")?,
            ipv6: of_common(b"skc_v6_rcv_saddr")?,
            ipv6_only: ipv6_only.bytes(),
            ipv6_only_mask: bit_mask(ipv6_only.bits % 8),
            protocol: self.member(sock, b"sk_protocol")?.bytes(),
            net: of_common(b"skc_net")?,
            inode: namespace.bytes() + inode.bytes(),
        })
    }

    fn structure(&self, name: &[u8]) -> Option<u32> {
        self.structs.get(name).copied()
    }

    /// A member by name, looked for in unnamed structures and unions within, too.
    fn member(&self, structure: u32, name: &[u8]) -> Option<Place> {
        self.member_within(structure, name, &mut { MEMBERS })
    }

    /// `left`: how many members to look at, at most.
    fn member_within(&self, structure: u32, name: &[u8], left: &mut u32) -> Option<Place> {
        let start = *self
            .starts
            .get(usize::try_from(structure).ok()?.checked_sub(1)?)?;
        let info = word(self.types, start + 4)?;
        if !matches!(kind(info), STRUCT | UNION) {
            return None;
        }
        (0..count(info)).find_map(|index| {
            *left = left.checked_sub(1)?;
            let at = start + TYPE_SIZE + index * MEMBER_SIZE;
            let type_id = word(self.types, at + 4)?;
            let offset = word(self.types, at + 8)?;
            // With the flag, the upper 8 bits are the size of a bit field.
            let bits = if has_bit_fields(info) {
                offset & 0x00ff_ffff
            } else {
                offset
            };
            let found = self.name(word(self.types, at)?)?;
            if found == name {
                return Some(Place { bits, type_id });
            }
            if !found.is_empty() {
                return None;
            }
            let inner = self.member_within(type_id, name, left)?;
            Some(Place {
                bits: bits.checked_add(inner.bits)?,
                ..inner
            })
        })
    }

    fn name(&self, offset: u32) -> Option<&'a [u8]> {
        self.strings
            .get(usize::try_from(offset).ok()?..)?
            .split(|byte| *byte == 0)
            .next()
    }
}

/// The bit as a mask of its byte: the kernel lays bit fields out from the lowest bit up where bytes do, too.
fn bit_mask(bit: u32) -> u32 {
    if cfg!(target_endian = "little") {
        1 << bit
    } else {
        0x80 >> bit
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

fn has_bit_fields(info: u32) -> bool {
    info >> 31 != 0
}

fn count(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// Bytes that follow the record of a type; `None` for a kind that came after this was written.
fn trailing(info: u32) -> Option<usize> {
    Some(match kind(info) {
        // Integers, variables, tags of declarations.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        STRUCT | UNION => count(info) * MEMBER_SIZE,
        // Enumerations, prototypes of functions.
        6 | 13 => count(info) * 8,
        // Sections of data, enumerations of 64 bits.
        15 | 19 => count(info) * 12,
        // Pointers, forward declarations, names, qualifiers, functions, floats, tags of types.
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use aya_obj::btf::BtfKind;

    use super::*;

    #[test]
    fn the_running_kernel_tells_where_everything_is() {
        let btf = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let kernel = Kernel::parse(&btf).unwrap();
        let offsets = kernel.socket_offsets().unwrap();
        // The head of `struct sock_common` has not moved since 2.6.38: addresses, hash, then the ports.
        assert_eq!((offsets.ipv4, offsets.port), (4, 14));
        assert_eq!(offsets.ipv6_only_mask.count_ones(), 1);
        assert!(offsets.protocol > offsets.ipv6 && offsets.inode > 0);
    }

    #[test]
    fn functions_and_tracepoints_have_the_numbers_that_aya_finds() {
        let btf = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let kernel = Kernel::parse(&btf).unwrap();
        let theirs = aya::Btf::parse(&btf, aya::Endianness::default()).unwrap();
        let number = |name, kind| theirs.id_by_type_name_kind(name, kind).ok();
        for name in ["udp_lib_get_port", "udp_lib_unhash", "no_such_function"] {
            assert_eq!(kernel.function(name), number(name, BtfKind::Func), "{name}");
        }
        let typedef = number("btf_trace_inet_sock_set_state", BtfKind::Typedef);
        assert!(typedef.is_some());
        assert_eq!(kernel.tracepoint("inet_sock_set_state"), typedef);
    }

    #[test]
    fn what_is_no_btf_is_told() {
        for content in [&b""[..], b"\x9f\xeb", &[0; 64]] {
            let offsets = Kernel::parse(content).and_then(|kernel| kernel.socket_offsets());
            assert_eq!(offsets, None, "{content:?}");
        }
    }
}
