//! Port blocks: how a range of ports becomes a few exact keys of a hash map.
//!
//! A range is cut into aligned blocks of `2^k` ports, as a range of addresses is cut into prefixes. The
//! program then asks the hash map once for each block size in use in a VRF (nearly always one: single
//! ports), and a rule for all ports costs one key instead of 65,535.

/// Binary logarithm of the largest block: every port.
pub const LARGEST_BLOCK: u8 = 16;

/// `2^size` ports from `first` on; `first` is a multiple of the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBlock {
    /// First port of the block.
    pub first: u16,
    /// Binary logarithm of the number of ports.
    pub size: u8,
}

impl PortBlock {
    /// The block of `2^size` ports that holds `port`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low 16 bits of the mask are what is wanted"
    )]
    #[inline(always)]
    #[must_use]
    pub const fn holding(port: u16, size: u8) -> Self {
        // Shifted as u32: the block of every port would shift all bits out of a u16, which is undefined.
        let mask = (u32::MAX << size) as u16;
        Self {
            first: port & mask,
            size,
        }
    }
}

/// The fewest aligned blocks that hold exactly the ports `first..=last`.
///
/// Port 0 is on no wire, so `1..=65535` and `0..=65535` mean the same: one block of every port.
#[derive(Clone, Debug)]
pub struct PortBlocks {
    next: u32,
    end: u32,
}

impl PortBlocks {
    /// Blocks of `first..=last`; none when `last < first`.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Self {
        let next = if first == 1 && last == u16::MAX {
            0
        } else {
            first as u32
        };
        Self {
            next,
            end: last as u32 + 1,
        }
    }
}

impl Iterator for PortBlocks {
    type Item = PortBlock;

    fn next(&mut self) -> Option<PortBlock> {
        if self.next >= self.end {
            return None;
        }
        let first = u16::try_from(self.next).ok()?;
        let aligned = self.next.trailing_zeros();
        let fitting = (self.end - self.next).ilog2();
        let size = u8::try_from(aligned.min(fitting)).ok()?;
        self.next += 1 << size;
        Some(PortBlock { first, size })
    }
}
