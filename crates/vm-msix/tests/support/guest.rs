//! Register accesses as a guest makes them, with the offsets of PCIe Base 7.7.2 written out.

use vm_msix::{IntoBackend, MsiBackend, MsiMessage, MsixConfig, MsixObserver, MsixStatus, Route};

/// The numbers of vectors at which something changes: PBA QWORDs, Table Size, the last entry.
pub(crate) const COUNTS: [u16; 7] = [1, 63, 64, 65, 1024, 2047, 2048];

pub(crate) const PCI_ID: u32 = 0x1042_1af4;
pub(crate) const NAME: &str = "disk0";

/// No vector.
pub(crate) const NONE: [u16; 0] = [];

/// Offsets in a table entry.
pub(crate) const ADDRESS: u64 = 0;
pub(crate) const UPPER_ADDRESS: u64 = 4;
pub(crate) const DATA: u64 = 8;
pub(crate) const VECTOR_CONTROL: u64 = 12;

/// Message Control.
pub(crate) const OFF: u16 = 0;
pub(crate) const ENABLE: u16 = 0x8000;
pub(crate) const FUNCTION_MASK: u16 = 0x4000;

pub(crate) fn function<S: IntoBackend>(vectors: u16, source: S) -> MsixConfig<S::Backend> {
    MsixConfig::new(vectors, source, PCI_ID, NAME).expect("a legal function")
}

/// The message that a test gives to a vector: every vector's is another one.
pub(crate) fn message(vector: u16) -> MsiMessage {
    MsiMessage::new(0xfee0_0000 + 0x1000 * u64::from(vector % 256), 0x4000 + u32::from(vector))
}

pub(crate) fn open(vector: u16) -> (u16, Route) {
    (vector, Route::Open(message(vector)))
}

pub(crate) fn closed(vector: u16) -> (u16, Route) {
    (vector, Route::Closed)
}

pub(crate) fn write_dword<B: MsiBackend, O: MsixObserver>(
    msix: &mut MsixConfig<B, O>,
    vector: u16,
    register: u64,
    value: u32,
) -> MsixStatus {
    msix.write_msix_table(16 * u64::from(vector) + register, &value.to_le_bytes())
}

/// Writes two registers at once, the lower one first.
pub(crate) fn write_qword<B: MsiBackend, O: MsixObserver>(
    msix: &mut MsixConfig<B, O>,
    vector: u16,
    register: u64,
    low: u32,
    high: u32,
) -> MsixStatus {
    let value = u64::from(low) | u64::from(high) << 32;
    msix.write_msix_table(16 * u64::from(vector) + register, &value.to_le_bytes())
}

pub(crate) fn read_dword<B: MsiBackend, O: MsixObserver>(
    msix: &MsixConfig<B, O>,
    vector: u16,
    register: u64,
) -> u32 {
    let mut data = [0xa5; 4];
    msix.read_msix_table(16 * u64::from(vector) + register, &mut data);
    u32::from_le_bytes(data)
}

/// Writes Message Control as Linux does: the word at offset 2.
pub(crate) fn control<B: MsiBackend, O: MsixObserver>(
    msix: &mut MsixConfig<B, O>,
    word: u16,
) -> MsixStatus {
    msix.write_msix_capability(2, &word.to_le_bytes())
}

pub(crate) fn mask<B: MsiBackend, O: MsixObserver>(
    msix: &mut MsixConfig<B, O>,
    vector: u16,
) -> MsixStatus {
    write_dword(msix, vector, VECTOR_CONTROL, 1)
}

pub(crate) fn unmask<B: MsiBackend, O: MsixObserver>(
    msix: &mut MsixConfig<B, O>,
    vector: u16,
) -> MsixStatus {
    write_dword(msix, vector, VECTOR_CONTROL, 0)
}

/// Programs a message by three DWORDs.
pub(crate) fn program<B: MsiBackend, O: MsixObserver>(
    msix: &mut MsixConfig<B, O>,
    vector: u16,
    message: MsiMessage,
) {
    write_dword(msix, vector, ADDRESS, (message.address & 0xffff_ffff).try_into().unwrap());
    write_dword(msix, vector, UPPER_ADDRESS, (message.address >> 32).try_into().unwrap());
    write_dword(msix, vector, DATA, message.data);
}

/// Gives every vector its message and unmasks it, MSI-X still off.
pub(crate) fn program_all<B: MsiBackend, O: MsixObserver>(msix: &mut MsixConfig<B, O>) {
    for vector in 0..msix.num_vectors() {
        program(msix, vector, message(vector));
        unmask(msix, vector);
    }
}

/// Opens every vector.
pub(crate) fn bring_up<B: MsiBackend, O: MsixObserver>(msix: &mut MsixConfig<B, O>) {
    program_all(msix);
    control(msix, ENABLE);
}

/// All QWORDs of the PBA.
pub(crate) fn pba<B: MsiBackend, O: MsixObserver>(msix: &MsixConfig<B, O>) -> Vec<u64> {
    (0..u64::from(msix.num_vectors().div_ceil(64)))
        .map(|qword| {
            let mut data = [0xa5; 8];
            msix.read_pba_entries(8 * qword, &mut data);
            u64::from_le_bytes(data)
        })
        .collect()
}

pub(crate) fn pending<B: MsiBackend, O: MsixObserver>(
    msix: &MsixConfig<B, O>,
    vector: u16,
) -> bool {
    pba(msix)[usize::from(vector / 64)] >> (vector % 64) & 1 != 0
}

/// All DWORDs of the table.
pub(crate) fn table<B: MsiBackend, O: MsixObserver>(msix: &MsixConfig<B, O>) -> Vec<u32> {
    (0..msix.num_vectors())
        .flat_map(|vector| [0, 4, 8, 12].map(|register| read_dword(msix, vector, register)))
        .collect()
}

/// The numbers of the vectors that are not as the registers ask.
pub(crate) fn unsynced<B: MsiBackend, O: MsixObserver>(msix: &MsixConfig<B, O>) -> Vec<u16> {
    msix.unsynced().map(|vector| vector.get()).collect()
}
