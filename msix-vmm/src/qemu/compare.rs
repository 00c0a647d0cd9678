//! The comparison: the same operation on both functions, and what is seen of it afterwards.

use std::collections::BTreeMap;
use std::fmt;

use vm_msix::{Region, Signal};

use super::allowed::{Allowed, Met};
use super::board::Board;
use super::error::QemuError;
use super::op::{Access, Op, Width};
use super::oracle::{Oracle, Seen};
use super::ours::Ours;

/// Why a sequence did not pass.
#[derive(Debug)]
pub(super) enum Failure {
    /// The two differ in a way that is not allowed.
    Differs(Difference),
    /// QEMU could not be asked.
    Broken(QemuError),
}

impl From<QemuError> for Failure {
    fn from(error: QemuError) -> Self {
        Self::Broken(error)
    }
}

/// What differs, after which operation.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    what: &'static str,
    ours: String,
    theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, ours, theirs } = self;
        write!(f, "{what}: {ours} here, {theirs} in QEMU")
    }
}

/// The two functions, and what was seen of them.
pub(super) struct Comparison<'a, O> {
    ours: &'a mut Ours,
    theirs: &'a mut O,
    board: &'a Board,
    /// How often each allowed difference made one.
    pub(super) met: Met,
    /// Messages that were seen on both sides.
    pub(super) messages: u64,
}

impl<'a, O: Oracle> Comparison<'a, O> {
    pub(super) fn new(ours: &'a mut Ours, theirs: &'a mut O, board: &'a Board) -> Self {
        Self { ours, theirs, board, met: Met::default(), messages: 0 }
    }

    /// A whole sequence, from a reset to a look at the whole table. Ours is a new one, so that what is found does not
    /// depend on what was done before.
    pub(super) fn sequence(&mut self, ops: &[Op]) -> Result<(), Failure> {
        *self.ours = self.ours.anew()?;
        self.step(&Op::Reset)?;
        ops.iter().try_for_each(|op| self.step(op))?;
        let theirs = self.theirs.table()?;
        let theirs = self.without_stored_bits(theirs, 0);
        let ours = self.ours.table();
        let dwords = |table: &[u8]| table.chunks(4).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (ours, theirs) = (dwords(&ours), dwords(&theirs));
        let differing =
            ours.iter().zip(&theirs).enumerate().find(|(_, (ours, theirs))| ours != theirs);
        if let Some((index, (ours, theirs))) = differing {
            let show = |dword: &[u8]| format!("bytes {dword:02x?} at {:#x}", index * 4);
            return Err(differs("the table at the end", show(ours), show(theirs)));
        }
        same("the size of the table", &ours.len(), &theirs.len(), |dwords| {
            format!("{dwords} DWORDs")
        })
    }

    fn step(&mut self, op: &Op) -> Result<(), Failure> {
        let seen = self.theirs.apply(op)?;
        let ours = self.ours_after(op)?;
        let theirs = self.as_allowed(op, seen, &ours);
        same("what was read", &ours.answer, &theirs.answer, |value| format!("{value:#x}"))?;
        same("Message Control", &ours.control, &theirs.control, |word| format!("{word:#06x}"))?;
        same("the PBA", &ours.pending, &theirs.pending, |qwords| format!("{qwords:x?}"))?;
        self.messages += ours.delivered.count();
        let (ours, theirs) = (ours.delivered, theirs.delivered);
        same("how often messages rang which bell", &ours.rung, &theirs.rung, show_map)?;
        same("messages in memory", &ours.written, &theirs.written, show_map)
    }

    /// What our function shows, having done the same; where QEMU's device does something else that is allowed, ours
    /// must do what is promised here, and is then brought to where QEMU's is.
    fn ours_after(&mut self, op: &Op) -> Result<Seen, Failure> {
        let pending = self.ours.pending();
        let answer = match op {
            Op::Read(access) if is_crooked_qword(access) => self.crooked_read(access)?,
            Op::Write(access, value) if is_crooked_qword(access) => {
                self.crooked_write(access, *value)?
            }
            Op::Trigger(vector) if !self.ours.is_enabled() => {
                self.signal_while_disabled(*vector)?
            }
            Op::Trigger(vector) if self.ours.wait_for_the_bus().contains(vector) => {
                self.signal_without_the_bus(*vector)?
            }
            _ => self.ours.apply(op)?,
        };
        self.drop_what_waits_for_the_bus(&pending)?;
        let delivered = self.board.seen(&self.ours.take_messages());
        let (control, pending) = (self.ours.control(), self.ours.pending());
        Ok(Seen { answer, control, pending, delivered })
    }

    /// Zeros here; QEMU gives the DWORDs in it.
    fn crooked_read(&mut self, access: &Access) -> Result<u64, Failure> {
        same("a QWORD that is not aligned", &self.ours.read(*access), &0, |value| {
            format!("{value:#x}")
        })?;
        let pieces = access.whole_dwords().map(|(dword, place)| self.ours.read(dword) << place);
        let answer = pieces.fold(0, |answer, piece| answer | piece);
        if answer != 0 {
            self.met.note(Allowed::CrookedQword);
        }
        Ok(answer)
    }

    /// Ignored here; QEMU writes the DWORDs in it.
    fn crooked_write(&mut self, access: &Access, value: u64) -> Result<u64, Failure> {
        let changed = self.ours.write(*access, value);
        same(
            "whether a QWORD that is not aligned changes something",
            &changed,
            &false,
            |changed| changed.to_string(),
        )?;
        let mut changed = false;
        for (dword, place) in access.whole_dwords() {
            changed |= self.ours.write(dword, value >> place & u64::from(u32::MAX));
        }
        if changed {
            self.met.note(Allowed::CrookedQword);
        }
        Ok(0)
    }

    /// Latched here, and retracted; QEMU's device drops it. One that was pending before stays so in both.
    fn signal_while_disabled(&mut self, vector: u16) -> Result<u64, Failure> {
        match self.ours.signal(vector)? {
            Signal::Collapsed => {}
            Signal::Latched => {
                self.met.note(Allowed::SignalWhileDisabled);
                self.ours.retract(vector)?;
            }
            signal @ (Signal::Sent | Signal::HandedOver) => {
                let theirs = "no signal".to_owned();
                return Err(differs("a signal while disabled", format!("{signal:?}"), theirs));
            }
        }
        Ok(0)
    }

    /// Latched here, until the function may write, and retracted; QEMU's device drops it.
    fn signal_without_the_bus(&mut self, vector: u16) -> Result<u64, Failure> {
        same(
            "a signal without Bus Master Enable",
            &self.ours.signal(vector)?,
            &Signal::Latched,
            |signal| format!("{signal:?}"),
        )?;
        let is_pending = is_set(&self.ours.pending(), vector);
        same("its Pending Bit", &is_pending, &true, |bit| bit.to_string())?;
        self.met.note(Allowed::BusMasterOff);
        self.ours.retract(vector)?;
        Ok(0)
    }

    /// What was pending, and is kept by nothing but a missing Bus Master Enable now, is still pending here; QEMU's device drops it.
    fn drop_what_waits_for_the_bus(&mut self, before: &[u64]) -> Result<(), Failure> {
        let vectors = self.ours.wait_for_the_bus();
        let pending = self.ours.pending();
        let among = |qwords: &[u64]| -> Vec<u16> {
            vectors.iter().copied().filter(|vector| is_set(qwords, *vector)).collect()
        };
        let kept = among(&pending);
        same("what waits for Bus Master Enable", &kept, &among(before), |vectors| {
            format!("{vectors:?}")
        })?;
        for vector in kept {
            self.met.note(Allowed::BusMasterOff);
            self.ours.retract(vector)?;
        }
        Ok(())
    }

    /// What QEMU showed, without what it is allowed to show otherwise.
    fn as_allowed(&mut self, op: &Op, mut seen: Seen, ours: &Seen) -> Seen {
        if let Op::Read(access) = op {
            let bytes = access.carried(seen.answer);
            let bytes = match access.region {
                Region::Capability => self.without_next_pointer(bytes, access, ours.answer),
                Region::Table => self.without_stored_bits(bytes, access.offset),
                Region::Pba => bytes,
            };
            seen.answer =
                bytes.into_iter().rev().fold(0, |value, byte| value << 8 | u64::from(byte));
        }
        seen.delivered.written = self.without_low_address_bits(seen.delivered.written);
        seen
    }

    /// Bytes of the capability, with our own next pointer.
    fn without_next_pointer(&mut self, mut bytes: Vec<u8>, access: &Access, ours: u64) -> Vec<u8> {
        let ours = access.carried(ours);
        let Some(at) = 1_usize.checked_sub(access.offset.into()) else { return bytes };
        if let (Some(theirs), Some(ours)) = (bytes.get_mut(at), ours.get(at))
            && theirs != ours
            && *ours == OUR_NEXT_POINTER
        {
            self.met.note(Allowed::NextPointer);
            *theirs = *ours;
        }
        bytes
    }

    /// Bytes of the table from an offset on, with those bits clear that are read-only 0 here.
    fn without_stored_bits(&mut self, mut bytes: Vec<u8>, offset: u16) -> Vec<u8> {
        for (at, byte) in (usize::from(offset)..).zip(&mut bytes) {
            let (allowed, kept) = match at % 16 {
                0 => (Allowed::LowAddressBits, !0b11),
                12 => (Allowed::ReservedVectorControl, 1),
                13..16 => (Allowed::ReservedVectorControl, 0),
                _ => continue,
            };
            if *byte & !kept != 0 {
                self.met.note(allowed);
                *byte &= kept;
            }
        }
        bytes
    }

    /// Messages to memory, at addresses that are DWORD-aligned.
    fn without_low_address_bits(&mut self, written: BTreeMap<u64, u32>) -> BTreeMap<u64, u32> {
        let aligned = written.into_iter().map(|(address, data)| {
            if address & 0b11 != 0 {
                self.met.note(Allowed::LowAddressBits);
            }
            (address & !0b11, data)
        });
        aligned.collect()
    }
}

/// There is no other capability.
const OUR_NEXT_POINTER: u8 = 0;

/// A vector's bit of a PBA.
fn is_set(qwords: &[u64], vector: u16) -> bool {
    qwords.get(usize::from(vector / 64)).is_some_and(|qword| qword >> (vector % 64) & 1 != 0)
}

/// An 8-byte access of the table or the PBA that is not 8-byte-aligned.
fn is_crooked_qword(access: &Access) -> bool {
    access.width == Width::Qword && !access.is_aligned() && access.region != Region::Capability
}

fn show_map<K: fmt::LowerHex, V: fmt::LowerHex>(map: &BTreeMap<K, V>) -> String {
    let entries = map.iter().map(|(key, value)| format!("{key:#x}: {value:#x}"));
    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
}

fn same<T: PartialEq>(
    what: &'static str,
    ours: &T,
    theirs: &T,
    show: impl Fn(&T) -> String,
) -> Result<(), Failure> {
    if ours == theirs { Ok(()) } else { Err(differs(what, show(ours), show(theirs))) }
}

fn differs(what: &'static str, ours: String, theirs: String) -> Failure {
    Failure::Differs(Difference { what, ours, theirs })
}
