//! What crosvm saved, for a VM that goes on here.

use alloc::string::String;
use alloc::vec::Vec;

use crate::bounded;
use crate::error::StateError;
use crate::message::join;
use crate::spec;
use crate::state::{MsixStateV1, VectorStateV1};
use crate::vector::VectorCount;

/// The state of a function as crosvm's own MSI-X saves it: to be read, converted, and restored.
///
/// It is read from any format that names its fields, as JSON and CBOR do. Fields that are not known here are read past and
/// take no memory, because crosvm adds some from time to time; one that is known must be there, but for the GSIs.
///
/// The conversion checks that the state is one of a function at all; that it is one of *this* function,
/// [`restore`](crate::MsixConfig::restore) checks as always.
///
/// - Its registers may hold bits that ours have as read-only zero: those of Vector Control beside the Mask Bit, and the
///   two lowest of Message Address. A guest may have written them, so they are no error, and they are dropped.
/// - It does not say whether the function may write to memory, so `bus_master` is true: the VMM, which restores the Command
///   register too, says otherwise by [`set_bus_master`](crate::MsixConfig::set_bus_master). Before the restore it would be
///   in vain, so [pause](crate::MsixConfig::pause) the function over both.
/// - A signal that waits in an eventfd is not in it: crosvm does not look there.
///
/// ```
/// use std::convert::Infallible;
/// use vm_msix::{CrosvmMsixState, MsiMessage, MsixConfig, SignalMode, VectorIndex};
///
/// let saved: CrosvmMsixState = serde_json::from_str(
///     r#"{
///         "table_entries": [
///             { "msg_addr_lo": 4276092928, "msg_addr_hi": 0, "msg_data": 65, "vector_ctl": 0 },
///             { "msg_addr_lo": 4276092928, "msg_addr_hi": 0, "msg_data": 66, "vector_ctl": 1 }
///         ],
///         "pba_entries": [2],
///         "irq_gsi_vec": [24, null],
///         "masked": false,
///         "enabled": true,
///         "msix_num": 2,
///         "pci_id": 272767732,
///         "device_name": "disk0"
///     }"#,
/// )?;
///
/// let sender = SignalMode::new(|_: VectorIndex, _: MsiMessage| Ok::<(), Infallible>(()));
/// let mut config = MsixConfig::new(2, sender, 0x1042_1af4, "disk0")?;
/// config.restore(&saved.try_into()?)?;
///
/// assert!(config.enabled() && config.table_masked(1));
/// let mut pending = [0; 8];
/// config.read_pba_entries(0, &mut pending);
/// assert_eq!(pending, [2, 0, 0, 0, 0, 0, 0, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct CrosvmMsixState {
    /// The table, as DWORDs.
    #[serde(deserialize_with = "bounded::vectors")]
    pub table_entries: Vec<CrosvmTableEntry>,
    /// The PBA, as QWORDs.
    #[serde(deserialize_with = "bounded::qwords")]
    pub pba_entries: Vec<u64>,
    /// The GSIs of the host that saved. They mean nothing on another, so whatever is in it is read past.
    #[serde(default, deserialize_with = "bounded::ignored_vectors")]
    pub irq_gsi_vec: (),
    /// Function Mask.
    pub masked: bool,
    /// MSI-X Enable.
    pub enabled: bool,
    /// How many vectors the function has.
    pub msix_num: u16,
    /// Device ID and Vendor ID.
    pub pci_id: u32,
    /// Name of the device.
    pub device_name: String,
}

/// One table entry in a [`CrosvmMsixState`]: its registers as software wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct CrosvmTableEntry {
    /// Message Address.
    pub msg_addr_lo: u32,
    /// Message Upper Address.
    pub msg_addr_hi: u32,
    /// Message Data.
    pub msg_data: u32,
    /// Vector Control.
    pub vector_ctl: u32,
}

impl CrosvmTableEntry {
    fn vector(&self, pending: bool) -> VectorStateV1 {
        let Self { msg_addr_lo, msg_addr_hi, msg_data, vector_ctl } = *self;
        VectorStateV1 {
            address: join(msg_addr_lo & spec::ADDRESS_LOW_WRITABLE, msg_addr_hi),
            data: msg_data,
            masked: vector_ctl & spec::VECTOR_CONTROL_MASK != 0,
            pending,
        }
    }
}

impl TryFrom<CrosvmMsixState> for MsixStateV1 {
    type Error = StateError;

    fn try_from(state: CrosvmMsixState) -> Result<Self, StateError> {
        let CrosvmMsixState {
            table_entries,
            pba_entries,
            irq_gsi_vec: (),
            masked,
            enabled,
            msix_num,
            pci_id,
            device_name,
        } = state;
        let count = VectorCount::new(msix_num)
            .map_err(|_| StateError::NoSuchCount { vectors: msix_num })?;
        if table_entries.len() != count.as_usize() {
            let entries = table_entries.len();
            return Err(StateError::TableLength { entries, vectors: msix_num });
        }
        if pba_entries.len() != usize::from(count.pba_qwords()) {
            let qwords = pba_entries.len();
            return Err(StateError::PbaLength { qwords, vectors: msix_num });
        }
        for (qword, bits) in pba_entries.iter().enumerate() {
            let surplus = bits & !count.pending_mask(qword);
            if surplus != 0 {
                return Err(StateError::PendingBits { qword, surplus, vectors: msix_num });
            }
        }
        let pending = pba_entries
            .iter()
            .flat_map(|bits| (0..u64::BITS).map(|bit| bits.unbounded_shr(bit) & 1 != 0));
        Ok(Self {
            pci_id,
            device_name,
            enabled,
            function_masked: masked,
            bus_master: true,
            vectors: table_entries
                .iter()
                .zip(pending)
                .map(|(entry, pending)| entry.vector(pending))
                .collect(),
        })
    }
}
