//! The differences that are allowed: what the specification leaves open, and what QEMU's device decides by itself.

use std::fmt;

/// A difference that is no mistake of either side. Whatever is not here is a failure.
///
/// Each is applied at one place, in `compare.rs`, and counted there when it made a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Allowed {
    /// The second byte of the capability.
    NextPointer,
    /// Bits 31:1 of Vector Control.
    ReservedVectorControl,
    /// Bits 1:0 of Message Address.
    LowAddressBits,
    /// A QWORD that is not QWORD-aligned.
    CrookedQword,
    /// A signal while MSI-X Enable is 0.
    SignalWhileDisabled,
    /// A signal that only Bus Master Enable keeps back.
    BusMasterOff,
}

impl Allowed {
    pub(super) const ALL: [Self; 6] = [
        Self::NextPointer,
        Self::ReservedVectorControl,
        Self::LowAddressBits,
        Self::CrookedQword,
        Self::SignalWhileDisabled,
        Self::BusMasterOff,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NextPointer => "next-pointer",
            Self::ReservedVectorControl => "reserved-vector-control",
            Self::LowAddressBits => "low-address-bits",
            Self::CrookedQword => "crooked-qword",
            Self::SignalWhileDisabled => "signal-while-disabled",
            Self::BusMasterOff => "bus-master-off",
        }
    }

    /// What both sides do, and what allows it.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NextPointer => {
                "The Next Capability Pointer says where the function's other capabilities are (PCIe Base 7.7.2.1). \
                 They are not the same ones, and not MSI-X's."
            }
            Self::ReservedVectorControl => {
                "QEMU stores bits 31:1 of Vector Control, here they are read-only 0. They are reserved, or a Steering \
                 Tag of which this function has none, and software preserves what it reads (PCIe Base 7.7.2.9): both \
                 are allowed, and neither has an effect."
            }
            Self::LowAddressBits => {
                "QEMU stores bits 1:0 of Message Address and sends to the address with them, here they are read-only \
                 0. Software must write zeros there, anything else is undefined (PCIe Base 7.7.2.6)."
            }
            Self::CrookedQword => {
                "An 8-byte access that is not 8-byte-aligned is split by QEMU's memory system, and every aligned DWORD \
                 in it takes effect; here it does nothing, and reads as zeros. Software must use aligned DWORDs and \
                 QWORDs, anything else is undefined (PCIe Base 7.7.2)."
            }
            Self::SignalWhileDisabled => {
                "QEMU's ivshmem device drops the signal if MSI-X Enable is 0, and would use INTx if it had that. While \
                 MSI-X is disabled the function sends by other means (PCIe Base 6.1.4.3, 7.7.2.2), so that what becomes \
                 of the signal is the device's decision. Here it is latched, and a device that decides like that one \
                 retracts it."
            }
            Self::BusMasterOff => {
                "With Bus Master Enable 0 the function sends no message (PCIe Base 7.5.1.1.3). When it is set again \
                 QEMU has lost those that would have been sent, and their Pending Bits; here they stay pending, and \
                 are sent then. The specification asks for neither; losing one can hang a driver."
            }
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How often each of them made a difference.
#[derive(Clone, Debug, Default)]
pub(super) struct Met([u64; Allowed::ALL.len()]);

impl Met {
    pub(super) fn note(&mut self, allowed: Allowed) {
        self.0[allowed as usize] += 1;
    }

    pub(super) fn count(&self, allowed: Allowed) -> u64 {
        self.0[allowed as usize]
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

/// The list, for `--list` and for the documentation.
pub(super) fn list() -> String {
    let entries = Allowed::ALL.map(|allowed| format!("{allowed}\n{}\n", wrapped(allowed.reason())));
    entries.join("\n")
}

/// Lines of at most 100 characters, indented.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::from("   ")];
    for word in text.split_whitespace() {
        if lines.last().is_some_and(|line| line.len() + 1 + word.len() > 100) {
            lines.push(String::from("   "));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_list_as_it_is() {
        let documentation = include_str!("../../../docs/qemu.md");
        assert!(documentation.contains(list().trim_end()), "{}", list());
    }

    #[test]
    fn each_has_its_own_place_and_name() {
        for (index, allowed) in Allowed::ALL.into_iter().enumerate() {
            assert_eq!(allowed as usize, index);
            assert!(allowed.reason().contains("PCIe Base"), "{allowed}");
        }
    }
}
