//! Where table and PBA lie: checked once, when a function is put together (C9).

use crate::access::Region;
use crate::error::MsixError;
use crate::spec;
use crate::vector::VectorCount;

/// The place of the MSI-X Table and of the PBA in a function's BARs.
///
/// ```
/// use vm_msix::{MsixLayout, Region};
///
/// let layout = MsixLayout::propose(33, 4)?;
/// assert_eq!(layout.min_bar_size(4), 8192);
/// // The BAR's handler asks where an access belongs:
/// assert_eq!(layout.locate(4, 0x20), Some((Region::Table, 0x20)));
/// assert_eq!(layout.locate(4, 0x1000), Some((Region::Pba, 0)));
/// assert_eq!(layout.locate(4, 0x800), None);
/// # Ok::<(), vm_msix::MsixError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixLayout {
    vectors: VectorCount,
    table: Span,
    pba: Span,
}

/// Some bytes of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    bar: u8,
    offset: u32,
    size: u32,
}

impl Span {
    /// Checks what can be checked without the other span and without the BAR's size.
    fn new(region: Region, bar: u8, offset: u32, size: u32) -> Result<Self, MsixError> {
        if bar >= spec::BAR_COUNT {
            return Err(MsixError::Bir { region, bar });
        }
        if !offset.is_multiple_of(spec::OFFSET_ALIGNMENT) {
            return Err(MsixError::Misaligned { region, offset });
        }
        Ok(Self { bar, offset, size })
    }

    fn start(&self) -> u64 {
        self.offset.into()
    }

    /// The first byte after it.
    fn end(&self) -> u64 {
        self.start().saturating_add(self.size.into())
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.bar == other.bar && self.start() < other.end() && other.start() < self.end()
    }

    /// The register of the capability that says where it is: the offset, with the BIR in the low bits.
    fn register(&self) -> u32 {
        self.offset | u32::from(self.bar)
    }
}

impl MsixLayout {
    /// Checks a layout: BARs 0 to 5, offsets that are multiples of 8, no byte used twice, no end past
    /// the 4 GiB that the registers reach. Whether it fits the BARs is for [`check_bar`](Self::check_bar).
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorCount`], [`Bir`](MsixError::Bir), [`Misaligned`](MsixError::Misaligned),
    /// [`DoesNotFit`](MsixError::DoesNotFit) or [`Overlap`](MsixError::Overlap).
    pub fn new(
        vectors: u16,
        table_bar: u8,
        table_offset: u32,
        pba_bar: u8,
        pba_offset: u32,
    ) -> Result<Self, MsixError> {
        let vectors = VectorCount::new(vectors)?;
        let layout = Self {
            vectors,
            table: Span::new(Region::Table, table_bar, table_offset, table_size(vectors))?,
            pba: Span::new(Region::Pba, pba_bar, pba_offset, pba_size(vectors))?,
        };
        for bar in 0..spec::BAR_COUNT {
            layout.check_bar(bar, 1 << 32)?;
        }
        layout.check_overlap()?;
        Ok(layout)
    }

    /// A layout for a BAR of its own: the table at 0, the PBA behind it, each in 4 KiB pages that hold
    /// nothing else, so that a VMM or guest may map the rest of a BAR without them (7.7.2).
    ///
    /// # Errors
    ///
    /// [`MsixError::VectorCount`] or [`MsixError::Bir`].
    pub fn propose(vectors: u16, bar: u8) -> Result<Self, MsixError> {
        let table = table_size(VectorCount::new(vectors)?);
        Self::new(vectors, bar, 0, bar, table.next_multiple_of(spec::ISOLATION))
    }

    /// Checks that what lies in this BAR fits its size in bytes.
    ///
    /// # Errors
    ///
    /// [`MsixError::DoesNotFit`].
    pub fn check_bar(&self, bar: u8, bar_size: u64) -> Result<(), MsixError> {
        let spans = [(Region::Table, &self.table), (Region::Pba, &self.pba)];
        match spans.into_iter().find(|(_, span)| span.bar == bar && span.end() > bar_size) {
            Some((region, span)) => {
                Err(MsixError::DoesNotFit { region, bar, end: span.end(), bar_size })
            }
            None => Ok(()),
        }
    }

    /// Bytes that this BAR needs at least: a power of two, whole 4 KiB pages; 0 if nothing lies in it.
    pub fn min_bar_size(&self, bar: u8) -> u64 {
        [&self.table, &self.pba]
            .into_iter()
            .filter(|span| span.bar == bar)
            .map(|span| span.end().next_power_of_two().max(spec::ISOLATION.into()))
            .max()
            .unwrap_or(0)
    }

    /// How many vectors it is for.
    pub fn vectors(&self) -> VectorCount {
        self.vectors
    }

    /// Where an offset of a BAR belongs: to table or PBA, and the offset in it. An access that begins inside
    /// and runs past the end is theirs too, and illegal there.
    pub fn locate(&self, bar: u8, offset: u64) -> Option<(Region, u64)> {
        [(Region::Table, &self.table), (Region::Pba, &self.pba)].into_iter().find_map(
            |(region, span)| {
                let inside = offset.checked_sub(span.start())?;
                (span.bar == bar && offset < span.end()).then_some((region, inside))
            },
        )
    }

    /// The Table Offset/Table BIR register (7.7.2.3).
    pub(crate) fn table_register(&self) -> u32 {
        self.table.register()
    }

    /// The PBA Offset/PBA BIR register (7.7.2.4).
    pub(crate) fn pba_register(&self) -> u32 {
        self.pba.register()
    }

    fn check_overlap(&self) -> Result<(), MsixError> {
        let Self { table, pba, .. } = self;
        if !table.overlaps(pba) {
            return Ok(());
        }
        Err(MsixError::Overlap {
            bar: table.bar,
            table: table.offset,
            table_size: table.size,
            pba: pba.offset,
            pba_size: pba.size,
        })
    }
}

/// Bytes of the table: 16 a vector.
fn table_size(vectors: VectorCount) -> u32 {
    u32::from(vectors.get()).saturating_mul(16)
}

/// Bytes of the PBA: 8 for every 64 vectors.
fn pba_size(vectors: VectorCount) -> u32 {
    u32::from(vectors.pba_qwords()).saturating_mul(8)
}
