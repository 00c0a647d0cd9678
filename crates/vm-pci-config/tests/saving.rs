//! What a guest wrote survives a snapshot and a restore, and nothing else gets in.

use vm_pci_config::{
    Bar, BarIndex, CapabilityId, Identity, PciConfigError, PciConfigSpace, PciConfigStateV1,
    PlainCapability, Prefetchable, StatusError,
};

const PCI_ID: u32 = 0x1041_1af4;

/// A function with a BAR of each width and a capability with some writable bits.
fn space() -> PciConfigSpace {
    let mut space = PciConfigSpace::new(Identity::new(0x1af4, 0x1041)).unwrap();
    space.add_bar(BarIndex::Bar0, Bar::memory32(0x1000, Prefetchable::No)).unwrap();
    space.add_bar(BarIndex::Bar2, Bar::memory64(0x4000, Prefetchable::No)).unwrap();
    let power = PlainCapability::new(CapabilityId::POWER_MANAGEMENT, &[0x03, 0, 0, 0, 0, 0]);
    space.add_capability(&power.writable(&[0, 0x0003])).unwrap();
    space
}

/// The same after a guest has used it: BARs placed, decoding and bus mastering on, a power state, a line, an error.
fn used() -> PciConfigSpace {
    let mut space = space();
    let writes =
        [(0x10, 0xe000_0000), (0x18, 0x8000_0000), (0x1c, 1), (0x04, 6), (0x44, 3), (0x3c, 11)];
    for (offset, value) in writes {
        let _ = space.write(offset, &u32::to_le_bytes(value));
    }
    space.set_status_error(StatusError::ReceivedMasterAbort);
    space
}

fn registers(space: &PciConfigSpace) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    for (offset, dword) in (0..).step_by(4).zip(bytes.chunks_mut(4)) {
        space.read(offset, dword);
    }
    bytes
}

#[test]
fn a_restored_space_reads_and_decodes_like_the_one_that_was_saved() {
    let saved = used();
    let mut restored = space();
    let outcome = restored.restore(&saved.snapshot()).unwrap();
    assert_eq!(registers(&restored), registers(&saved));
    assert_eq!(outcome.command.and_then(|change| change.bus_master()), Some(true));
    assert_eq!(outcome.bars.len(), 2);
    let hit = restored.decode_memory(0x1_8000_3ffc, 4).unwrap();
    assert_eq!((hit.index, hit.offset), (BarIndex::Bar2, 0x3ffc));
}

#[test]
fn what_came_after_the_snapshot_is_undone() {
    let before = space();
    let mut after = used();
    let outcome = after.restore(&before.snapshot()).unwrap();
    assert_eq!(registers(&after), registers(&before));
    assert!(outcome.bars.iter().all(|change| change.before.is_some() && change.after.is_none()));
}

/// Each single bit of each register: taken where a guest can write it, refused everywhere else, and then nothing changes.
#[test]
fn a_state_holds_nothing_that_a_guest_cannot_write() {
    let original = registers(&space());
    for bit in 0..64 * 32 {
        let (register, mask) = (bit / 32, 1_u32 << (bit % 32));
        let mut state = PciConfigStateV1 { pci_id: PCI_ID, registers: [[0; 16]; 4] };
        state.registers[register / 16][register % 16] = mask;
        let mut space = space();
        match space.restore(&state) {
            Ok(_) => assert_eq!(space.snapshot(), state, "bit {bit}"),
            Err(error) => {
                assert_eq!(error, PciConfigError::StateNotWritable { register, bits: mask });
                assert_eq!(registers(&space), original, "bit {bit}");
            }
        }
    }
}

#[test]
fn the_state_of_another_function_is_refused() {
    let mut state = used().snapshot();
    assert_eq!(state.pci_id, PCI_ID);
    state.pci_id ^= 1;
    let mut space = space();
    let refused = PciConfigError::StateOfAnother { saved: PCI_ID ^ 1, pci_id: PCI_ID };
    assert_eq!(space.restore(&state).unwrap_err(), refused);
    assert_eq!(space.snapshot(), crate::space().snapshot());
}

#[test]
fn the_state_passes_through_serde() {
    let state = used().snapshot();
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<PciConfigStateV1>(&text).unwrap(), state);
    let unknown = text.replacen('{', "{\"more\":1,", 1);
    assert!(serde_json::from_str::<PciConfigStateV1>(&unknown).is_err());
}
