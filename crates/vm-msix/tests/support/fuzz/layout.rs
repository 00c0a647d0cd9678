//! Table and PBA anywhere, against the rules of PCIe Base 7.7.2 in numbers that cannot overflow.

use serde::{Deserialize, Serialize};
use vm_msix::{MsixCap, MsixError, MsixLayout, Region};

use super::next;

/// Each is judged by itself: more of them are for the next input.
const CASES: usize = 10;

/// A layout that is asked for, and an offset of its BARs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) vectors: u16,
    pub(crate) table: (u8, u32),
    pub(crate) pba: (u8, u32),
    pub(crate) offset: u64,
}

/// Some bytes of a BAR.
struct Place {
    region: Region,
    bar: u8,
    first: u128,
    /// The first byte behind it.
    end: u128,
}

impl Case {
    /// The table and the PBA: 16 bytes for each vector, and a bit for each in whole QWORDs.
    fn places(&self) -> [Place; 2] {
        let vectors = u128::from(self.vectors);
        let place = |region, (bar, first): (u8, u32), size| {
            let first = u128::from(first);
            Place { region, bar, first, end: first + size }
        };
        [
            place(Region::Table, self.table, 16 * vectors),
            place(Region::Pba, self.pba, vectors.div_ceil(64) * 8),
        ]
    }

    /// Whether a refusal is right, whichever of several reasons it names.
    fn deserves(&self, error: &MsixError) -> bool {
        let [table, pba] = self.places();
        let of = |region| if region == Region::Table { &table } else { &pba };
        match *error {
            MsixError::VectorCount { vectors } => {
                vectors == usize::from(self.vectors) && !(1..=2048).contains(&vectors)
            }
            MsixError::Bir { region, bar } => bar > 5 && of(region).bar == bar,
            MsixError::Misaligned { region, offset } => {
                !offset.is_multiple_of(8) && of(region).first == u128::from(offset)
            }
            MsixError::DoesNotFit { region, bar, end, bar_size } => {
                let place = of(region);
                (place.bar, place.end) == (bar, end.into()) && end > bar_size && bar_size == 1 << 32
            }
            MsixError::Overlap { bar, .. } => bar == table.bar && self.overlaps(),
            _ => false,
        }
    }

    fn overlaps(&self) -> bool {
        let [table, pba] = self.places();
        table.bar == pba.bar && table.first.max(pba.first) < table.end.min(pba.end)
    }

    fn is_legal(&self) -> bool {
        let ends =
            |place: &Place| place.bar < 6 && place.first.is_multiple_of(8) && place.end <= 1 << 32;
        (1..=2048).contains(&self.vectors) && self.places().iter().all(ends) && !self.overlaps()
    }

    /// What an access at this offset of a BAR is of.
    fn expected(&self, bar: u8, offset: u64) -> Option<(Region, u64)> {
        let inside =
            |place: &&Place| place.bar == bar && (place.first..place.end).contains(&offset.into());
        let within = |place: &Place| offset - u64::try_from(place.first).unwrap();
        self.places().iter().find(inside).map(|place| (place.region, within(place)))
    }

    /// The smallest power of two from 4 KiB on that holds what lies in the BAR; nothing for nothing.
    fn bar_size(&self, bar: u8) -> u128 {
        let end =
            self.places().iter().filter(|place| place.bar == bar).map(|place| place.end).max();
        let holds = |end: u128| (12..).map(|bit| 1 << bit).find(|size| *size >= end).unwrap();
        end.map_or(0, holds)
    }

    /// Offsets around everything that begins or ends, and the one that was asked for.
    fn offsets(&self) -> impl Iterator<Item = u64> {
        let edges = self.places().map(|place| [place.first, place.end]);
        let more = [0, 1 << 32, 1 << 63, u128::from(self.offset)];
        let edges = edges.into_iter().flatten().chain(more);
        let around = |edge: u128| [0, 1, 8, 9, 16, 17].map(|step| u64::try_from(edge + step));
        edges.flat_map(around).flatten().flat_map(|offset| [offset, offset.wrapping_sub(9)])
    }

    fn check(&self, layout: &MsixLayout) {
        let [table, pba] = self.places();
        for bar in 0..=7 {
            for offset in self.offsets() {
                let expected = self.expected(bar, offset);
                assert_eq!(layout.locate(bar, offset), expected, "{self:?} BAR {bar} {offset:#x}");
            }
            let size = self.bar_size(bar);
            assert_eq!(u128::from(layout.min_bar_size(bar)), size, "{self:?} BAR {bar}");
            for end in [table.end, pba.end, size, self.offset.into()] {
                for size in [end.saturating_sub(1), end, end + 1] {
                    let Ok(bar_size) = u64::try_from(size) else { continue };
                    let places = [&table, &pba];
                    let fits = places.iter().all(|place| place.bar != bar || place.end <= size);
                    assert_eq!(layout.check_bar(bar, bar_size).is_ok(), fits, "{self:?} {size:#x}");
                }
            }
        }
        let registers = [table, pba].map(|place| place.first + u128::from(place.bar));
        let capability = MsixCap::of(*layout);
        let [control, shown @ ..] = [0, 4, 8].map(|at| {
            let dword = capability.bytes()[at..at + 4].try_into().unwrap();
            u128::from(u32::from_le_bytes(dword))
        });
        assert_eq!(shown, registers);
        assert_eq!(control, (u128::from(self.vectors) - 1) * 0x1_0000 + 0x11);
    }

    /// The same number of vectors in a BAR of their own.
    fn check_proposal(&self) {
        let bar = self.table.0;
        let Ok(layout) = MsixLayout::propose(self.vectors, bar) else {
            assert!(self.vectors == 0 || self.vectors > 2048 || bar > 5);
            return;
        };
        let pages = (16 * u32::from(self.vectors)).div_ceil(4096);
        let proposed = Self { table: (bar, 0), pba: (bar, 4096 * pages), ..*self };
        assert!(proposed.is_legal(), "{proposed:?}");
        proposed.check(&layout);
    }
}

/// A layout is taken exactly if it is legal, and then names the right register for every offset.
pub(crate) fn layout(mut data: &[u8]) {
    for _ in 0..CASES {
        let Some(case) = next::<Case>(&mut data) else { break };
        let Case { vectors, table, pba, .. } = case;
        match MsixLayout::new(vectors, table.0, table.1, pba.0, pba.1) {
            Ok(layout) => {
                assert!(case.is_legal(), "{case:?}");
                case.check(&layout);
            }
            Err(error) => {
                assert!(!case.is_legal(), "{case:?}: {error}");
                assert!(case.deserves(&error), "{case:?}: {error}");
            }
        }
        case.check_proposal();
    }
}
