//! Everything that can go wrong, in one place.

use alloc::boxed::Box;
use alloc::string::String;
use core::error::Error;

use crate::access::Region;
use crate::vector::VectorIndex;

/// Why something was refused. What was refused changed nothing.
///
/// A guest causes none of these: what a guest does has a defined result and is told to the observer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MsixError {
    /// A function has at least one vector and at most 2048.
    #[error("{vectors} MSI-X vectors: a function has 1 to 2048")]
    VectorCount {
        /// The number asked for.
        vectors: usize,
    },
    /// There is no such vector.
    #[error("vector {vector} does not exist: the function has {vectors}, counted from 0")]
    VectorOutOfRange {
        /// The vector asked for.
        vector: usize,
        /// How many there are.
        vectors: u16,
    },
    /// A BIR names one of six BARs.
    #[error("{region} in BAR {bar}: a function has BARs 0 to 5")]
    Bir {
        /// Table or PBA.
        region: Region,
        /// The BIR asked for.
        bar: u8,
    },
    /// Table and PBA start at multiples of 8.
    #[error("{region} at offset {offset:#x}: it must be a multiple of 8")]
    Misaligned {
        /// Table or PBA.
        region: Region,
        /// The offset asked for.
        offset: u32,
    },
    /// Table or PBA does not end inside its BAR.
    #[error(
        "{region} ends at {end:#x} of BAR {bar}, which has {bar_size:#x} bytes: enlarge the BAR or move it"
    )]
    DoesNotFit {
        /// Table or PBA.
        region: Region,
        /// Its BAR.
        bar: u8,
        /// The first byte after it.
        end: u64,
        /// Bytes in the BAR.
        bar_size: u64,
    },
    /// Table and PBA share bytes.
    #[error(
        "MSI-X Table ({table:#x}, {table_size:#x} bytes) and PBA ({pba:#x}, {pba_size:#x} bytes) overlap in BAR {bar}"
    )]
    Overlap {
        /// The BAR of both.
        bar: u8,
        /// Offset of the table.
        table: u32,
        /// Bytes of the table.
        table_size: u32,
        /// Offset of the PBA.
        pba: u32,
        /// Bytes of the PBA.
        pba_size: u32,
    },
    /// The backend delivers for another number of vectors.
    #[error("the backend delivers {backend} vectors, the function has {vectors}")]
    BackendVectors {
        /// Of the backend.
        backend: u16,
        /// Of the function.
        vectors: u16,
    },
    /// The backend could not be made.
    #[error("no interrupt delivery for {device_name}: {source}")]
    Source {
        /// The device that asked.
        device_name: String,
        /// What the source said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The message of an open vector could not be sent.
    #[error("vector {vector} could not send its message: {source}")]
    Trigger {
        /// The vector.
        vector: VectorIndex,
        /// What the backend said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The vector could not be put on a descriptor.
    #[error("vector {vector} could not be put on a descriptor: {source}")]
    Irqfd {
        /// The vector.
        vector: VectorIndex,
        /// What the backend said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The backend is not what the registers ask for; `unsynced()` lists the vectors.
    #[error("{vectors} vectors are not routed as the registers ask, the first is {first}")]
    Unsynced {
        /// How many.
        vectors: usize,
        /// The lowest of them.
        first: VectorIndex,
    },
    /// The saved state is not one of this function, or of any.
    #[error("saved state refused: {0}")]
    State(#[from] StateError),
}

/// What is wrong with a saved state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It was saved from a function with another number of vectors.
    #[error("it has {saved} vectors, this function {vectors}")]
    VectorCount {
        /// In the state.
        saved: usize,
        /// Of this function.
        vectors: u16,
    },
    /// It was saved from another kind of device.
    #[error("it is of PCI ID {saved:#010x}, this function {pci_id:#010x}")]
    PciId {
        /// In the state.
        saved: u32,
        /// Of this function.
        pci_id: u32,
    },
    /// It was saved from another device.
    #[error("it is of device {saved:?}, this is {device_name:?}")]
    DeviceName {
        /// In the state, shortened to 64 characters.
        saved: String,
        /// Of this function.
        device_name: String,
    },
    /// A message address that the registers cannot hold.
    #[error("vector {vector} has message address {address:#x}, whose two lowest bits must be zero")]
    Address {
        /// The vector.
        vector: u16,
        /// The address.
        address: u64,
    },
    /// No function has so many vectors.
    #[error("it is of a function with {vectors} vectors: a function has 1 to 2048")]
    NoSuchCount {
        /// In the state.
        vectors: u16,
    },
    /// The table has not one entry for each vector.
    #[error("its table has {entries} entries, for {vectors} vectors")]
    TableLength {
        /// In the table.
        entries: usize,
        /// That the state says it has.
        vectors: u16,
    },
    /// The PBA has not one bit for each vector, rounded up to QWORDs.
    #[error("its PBA has {qwords} QWORDs, for {vectors} vectors")]
    PbaLength {
        /// In the PBA.
        qwords: usize,
        /// That the state says it has.
        vectors: u16,
    },
    /// Pending Bits that belong to no vector.
    #[error("QWORD {qword} of its PBA has bits {surplus:#x} set, which no vector of {vectors} has")]
    PendingBits {
        /// The first that has such bits.
        qword: usize,
        /// Those bits.
        surplus: u64,
        /// That the state says it has.
        vectors: u16,
    },
}

impl MsixError {
    pub(crate) fn trigger(vector: VectorIndex, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Trigger { vector, source: Box::new(source) }
    }
}
