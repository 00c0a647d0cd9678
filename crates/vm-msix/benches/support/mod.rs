//! A function whose messages go nowhere, and a guest that programs it.
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::convert::Infallible;
use std::time::{Duration, Instant};

use vm_msix::{MsiMessage, MsixConfig, SignalBackend, SignalMode, VectorIndex};

/// A sender that does nothing.
type Sink = fn(VectorIndex, MsiMessage) -> Result<(), Infallible>;
pub(crate) type Msix = MsixConfig<SignalBackend<Sink>>;

/// Numbers of vectors: one, a full QWORD of the PBA, and all there can be.
pub(crate) const SIZES: [u16; 3] = [1, 64, 2048];

pub(crate) const ENABLE: u16 = 1 << 15;
pub(crate) const FUNCTION_MASK: u16 = 1 << 14;

/// Offsets in an entry.
pub(crate) const ADDRESS: u64 = 0;
pub(crate) const UPPER_ADDRESS: u64 = 4;
pub(crate) const DATA: u64 = 8;
pub(crate) const VECTOR_CONTROL: u64 = 12;

/// As after reset.
pub(crate) fn function(vectors: u16) -> Msix {
    let sink: Sink = |_, _| Ok(());
    MsixConfig::new(vectors, SignalMode::new(sink), 0x1041_1af4, "bench").unwrap()
}

/// With every vector open.
pub(crate) fn open(vectors: u16) -> Msix {
    let mut msix = function(vectors);
    bring_up(&mut msix);
    msix
}

pub(crate) fn bring_up(msix: &mut Msix) {
    control(msix, ENABLE);
    program(msix);
    unmask(msix);
}

pub(crate) fn control(msix: &mut Msix, value: u16) {
    msix.write_msix_capability(2, &value.to_le_bytes());
}

pub(crate) fn write(msix: &mut Msix, vector: u16, register: u64, value: u32) {
    msix.write_msix_table(u64::from(vector) * 16 + register, &value.to_le_bytes());
}

/// The message of every vector, a DWORD at a time.
pub(crate) fn program(msix: &mut Msix) {
    for vector in 0..msix.num_vectors() {
        write(msix, vector, ADDRESS, 0xfee0_1000);
        write(msix, vector, UPPER_ADDRESS, 0);
        write(msix, vector, DATA, 0x4000 | u32::from(vector));
    }
}

pub(crate) fn unmask(msix: &mut Msix) {
    for vector in 0..msix.num_vectors() {
        write(msix, vector, VECTOR_CONTROL, 0);
    }
}

/// Masked, with no messages, and enabled.
pub(crate) fn mask_all(msix: &mut Msix) {
    msix.reset();
    control(msix, ENABLE);
}

/// The time that the action takes, without that of what makes it ready.
pub(crate) fn timed<T>(
    rounds: u64,
    subject: &mut T,
    ready: impl Fn(&mut T),
    act: impl Fn(&mut T),
) -> Duration {
    let mut sum = Duration::ZERO;
    for _ in 0..rounds {
        ready(subject);
        let start = Instant::now();
        act(subject);
        sum += start.elapsed();
    }
    sum
}
