//! What a gate reports of its decisions, unread.

use aya::maps::{Map, MapData, MapError, RingBuf};
use vrfgate_abi::Event;

use crate::{layout::EVENTS, pins::Pins};

/// The refusals not yet read from a gate's ring buffer. Each is handed to one reader only.
pub struct Events {
    buffer: RingBuf<MapData>,
    /// Kernel-wide number of the map.
    id: u32,
}

impl Events {
    pub(crate) fn open(pins: &Pins) -> Result<Self, MapError> {
        let map = MapData::from_pin(pins.map(EVENTS))?;
        Ok(Self {
            id: map.info()?.id(),
            buffer: Map::from_map_data(map)?.try_into()?,
        })
    }

    /// Whether both read one buffer.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let record = self.buffer.next()?;
            if let Some(event) = Event::from_bytes(&record) {
                return Some(event);
            }
        }
    }
}
