//! A function's life without std, from reset to restore, on nothing but the C library.
//!
//! The exit code is 0, or the [`Step`] that went wrong.
#![no_std]
#![no_main]

extern crate alloc;

mod c;

use alloc::boxed::Box;
use core::convert::Infallible;
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use vm_msix::{
    MsiBackend, MsiMessage, MsixCap, MsixConfig, MsixStatus, Signal, SignalMode, Trigger,
    VectorIndex,
};
use vm_pci_config::{CapabilityId, Identity, PciConfigSpace};

const VECTORS: u16 = 65;
/// In the second QWORD of the PBA.
const VECTOR: u16 = 64;
const ENTRY: u64 = 16 * 64;
const PENDING: u64 = 8;

const ADDRESS: u64 = 0xfee0_1000;
const DATA: u32 = 0x41;
const ENABLE: [u8; 2] = 0x8000_u16.to_le_bytes();

/// What goes wrong first is the exit code.
#[derive(Clone, Copy)]
enum Step {
    Create = 1,
    Program,
    LatchWhileMasked,
    ReadPendingBit,
    DeliverOnUnmask,
    SendWhileUnmasked,
    Save,
    Restore,
    RefuseForeignState,
    Retract,
    ConfigurationSpace,
}

/// Messages that left, and the data of the last one.
static SENT: AtomicU32 = AtomicU32::new(0);
static LAST: AtomicU32 = AtomicU32::new(0);

/// Called by the C runtime.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    match run() {
        Ok(()) => {
            c::print(c"vm-msix without std: ok");
            0
        }
        Err(step) => {
            c::print(c"vm-msix without std: failed, the exit code is the step");
            step as c_int
        }
    }
}

fn run() -> Result<(), Step> {
    let mut msix = function(VECTORS).ok_or(Step::Create)?;
    let trigger = msix.trigger_handle(VECTOR).map_err(|_| Step::Create)?;

    program(&mut msix)?;
    latch_and_deliver(&mut msix, &trigger)?;
    save_and_restore(&mut msix, &trigger)?;
    through_configuration_space()
}

/// The MSI-X of a function whose messages are counted.
fn function(vectors: u16) -> Option<MsixConfig<impl MsiBackend + 'static>> {
    let sender = SignalMode::new(|_: VectorIndex, message: MsiMessage| {
        SENT.fetch_add(1, Relaxed);
        LAST.store(message.data, Relaxed);
        Ok::<(), Infallible>(())
    });
    MsixConfig::new(vectors, sender, 0x1041_1af4, "no-std").ok()
}

/// The guest writes the message of a vector that is masked, and enables MSI-X.
fn program(msix: &mut MsixConfig<impl MsiBackend>) -> Result<(), Step> {
    let entry = MsixStatus::EntryChanged(VECTOR.into());
    check(Step::Program, msix.write_msix_table(ENTRY, &ADDRESS.to_le_bytes()) == entry)?;
    check(Step::Program, msix.write_msix_table(ENTRY + 8, &DATA.to_le_bytes()) == entry)?;
    check(Step::Program, msix.write_msix_capability(2, &ENABLE) == MsixStatus::Changed)?;
    check(Step::Program, msix.enabled() && msix.table_masked(VECTOR.into()))
}

/// Two signals while masked are one interrupt on unmasking; a third is another.
fn latch_and_deliver<B: MsiBackend>(
    msix: &mut MsixConfig<B>,
    trigger: &Trigger<B>,
) -> Result<(), Step> {
    check(Step::LatchWhileMasked, matches!(trigger.trigger(), Ok(Signal::Latched)))?;
    check(Step::LatchWhileMasked, matches!(trigger.trigger(), Ok(Signal::Collapsed)))?;
    check(Step::LatchWhileMasked, sent() == (0, 0))?;
    check(Step::ReadPendingBit, pending(msix) == 1)?;

    set_mask_bit(msix, 0);
    check(Step::DeliverOnUnmask, sent() == (1, DATA))?;
    check(Step::DeliverOnUnmask, pending(msix) == 0)?;

    check(Step::SendWhileUnmasked, matches!(msix.trigger(VECTOR), Ok(Signal::Sent)))?;
    check(Step::SendWhileUnmasked, sent() == (2, DATA))
}

/// A signal that is pending when the function is saved is delivered where it is restored.
fn save_and_restore<B: MsiBackend>(
    msix: &mut MsixConfig<B>,
    trigger: &Trigger<B>,
) -> Result<(), Step> {
    set_mask_bit(msix, 1);
    check(Step::Save, matches!(trigger.trigger(), Ok(Signal::Latched)))?;
    let state = msix.snapshot();
    check(Step::Save, state.enabled && state.vectors.len() == usize::from(VECTORS))?;
    check(Step::Save, state.vectors.last().is_some_and(|vector| vector.pending))?;

    check(Step::Retract, matches!(msix.retract(VECTOR), Ok(true)) && pending(msix) == 0)?;

    let mut other = function(VECTORS).ok_or(Step::Create)?;
    check(Step::Restore, other.restore(&state).is_ok() && pending(&other) == 1)?;
    set_mask_bit(&mut other, 0);
    check(Step::Restore, sent() == (3, DATA) && other.flush().is_ok())?;

    let mut smaller = function(1).ok_or(Step::Create)?;
    check(Step::RefuseForeignState, smaller.restore(&state).is_err() && !smaller.enabled())
}

/// Message Control, as a guest reaches it.
fn through_configuration_space() -> Result<(), Step> {
    let step = Step::ConfigurationSpace;
    let capability = MsixCap::new(0, VECTORS, 0, 0, 0x1000).map_err(|_| step)?;
    let msix = function(VECTORS).ok_or(Step::Create)?;
    let mut space = PciConfigSpace::new(Identity::new(0x1af4, 0x1041)).map_err(|_| step)?;
    let at = space.add_capability_with_config(&capability, Box::new(msix)).map_err(|_| step)?;
    check(step, space.find_capability(CapabilityId::MSIX) == Some(at))?;

    let outcome = space.write(at + 2, &ENABLE);
    let status = outcome.capabilities.first().and_then(|write| write.result.downcast_ref());
    check(step, status == Some(&MsixStatus::Changed))?;
    let mut control = [0; 2];
    space.read(at + 2, &mut control);
    check(step, u16::from_le_bytes(control) == 0x8000 | (VECTORS - 1))
}

fn check(step: Step, ok: bool) -> Result<(), Step> {
    if ok { Ok(()) } else { Err(step) }
}

fn set_mask_bit(msix: &mut MsixConfig<impl MsiBackend>, mask: u32) {
    msix.write_msix_table(ENTRY + 12, &mask.to_le_bytes());
}

fn pending(msix: &MsixConfig<impl MsiBackend>) -> u64 {
    let mut bits = [0; 8];
    msix.read_pba_entries(PENDING, &mut bits);
    u64::from_le_bytes(bits)
}

fn sent() -> (u32, u32) {
    (SENT.load(Relaxed), LAST.load(Relaxed))
}
