//! Any access in any order, against a model of 256 bytes.

#[path = "../common/mod.rs"]
mod common;
mod model;

use common::device::{Device, Heard};
use common::image;
use model::{Decoded, Model};
use proptest::prelude::*;
use vm_pci_config::{
    Bar, BarIndex, CapabilityId, ClassCode, Identity, InterruptPin, PciConfigSpace,
    PlainCapability, Prefetchable, StatusError,
};

fn function() -> PciConfigSpace {
    let identity = Identity::new(0x1234, 0x5678)
        .class(ClassCode { class: 0x02, subclass: 0x01, prog_if: 0x03 })
        .revision(4)
        .subsystem(0x9abc, 0xdef0)
        .interrupt_pin(InterruptPin::IntA)
        .interrupt_line(10);
    let mut space = PciConfigSpace::new(identity).unwrap();
    let bars = [
        (BarIndex::Bar0, Bar::memory64(0x2000, Prefetchable::Yes)),
        (BarIndex::Bar2, Bar::memory32(0x1000, Prefetchable::No).at(0xfebf_0000)),
        (BarIndex::Bar3, Bar::io(32).at(0xc020)),
        (BarIndex::Bar4, Bar::memory32(16, Prefetchable::No)),
    ];
    for (index, bar) in bars {
        space.add_bar(index, bar).unwrap();
    }
    let power = PlainCapability::new(CapabilityId::POWER_MANAGEMENT, &[3, 0, 0, 0, 0, 0])
        .writable(&[0, 0x0103]);
    let vendor = PlainCapability::new(CapabilityId::VENDOR_SPECIFIC, &[7, 1, 2, 3, 4]);
    let live = PlainCapability::new(CapabilityId::MSIX, &[0x3f, 0x40, 0, 0, 0, 0, 9, 9, 9, 9])
        .writable(&[0, 0xffff_0000, 0]);
    assert_eq!(space.add_capability(&power), Ok(0x40));
    assert_eq!(space.add_capability(&vendor), Ok(0x48));
    let device = Device::new(&[0xc000_0000, 0, 0xffff_ffff], |register| {
        [0x8000_0000, 0, 0x1122_3344][register]
    });
    assert_eq!(space.add_capability_with_config(&live, Box::new(device)), Ok(0x50));
    space
}

/// One write to both, and everything that the outcome says compared with what the model sees.
fn write_both(space: &mut PciConfigSpace, model: &mut Model, offset: u16, data: &[u8]) {
    let before = model.clone();
    model.write(offset, data);
    let outcome = space.write(offset, data);
    let context = format!("{offset:#x} {data:02x?}");

    let word = |model: &Model| u16::from_le_bytes([model.bytes[4], model.bytes[5]]);
    let told = outcome.command.map(|change| (change.before.bits(), change.after.bits()));
    let changed = (word(&before) != word(model)).then(|| (word(&before), word(model)));
    assert_eq!(told, changed, "{context}");
    compare_moves(&before.decoded(), &model.decoded(), &outcome.bars, &context);

    let results: Vec<Heard> =
        outcome.capabilities.into_iter().map(|write| *write.result.downcast().unwrap()).collect();
    assert_eq!(results, Model::heard(offset, data), "{context}");
}

fn compare_moves(
    before: &[Decoded],
    after: &[Decoded],
    told: &[vm_pci_config::BarChange],
    context: &str,
) {
    let of = |list: &[Decoded], number| {
        list.iter().find(|bar| bar.0 == number).map(|bar| (bar.1, bar.2))
    };
    let expected: Vec<_> = (0..6)
        .map(|number| (number, of(before, number), of(after, number)))
        .filter(|(_, before, after)| before != after)
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|change| {
            let range = |bar: vm_pci_config::BarAddress| (bar.start(), bar.last());
            (change.index.number(), change.before.map(range), change.after.map(range))
        })
        .collect();
    assert_eq!(told, expected, "{context}");
}

fn read_both(space: &PciConfigSpace, model: &Model, offset: u16, len: usize) {
    let mut data = vec![0xaa; len];
    space.read(offset, &mut data);
    assert_eq!(data, model.read(offset, len), "{offset:#x} {len}");
}

fn decode_both(space: &PciConfigSpace, model: &Model) {
    let found: Vec<Decoded> = BarIndex::ALL
        .into_iter()
        .filter_map(|index| space.bar(index).map(|bar| (index.number(), bar.start(), bar.last())))
        .collect();
    assert_eq!(found, model.decoded());
    for (number, first, last) in found {
        let hit = match u32::try_from(last) {
            Ok(port) if number == 3 => space.decode_io(port, 1),
            _ => space.decode_memory(last, 1),
        };
        // An overlapping BAR with a lower number may take it.
        assert!(hit.is_some_and(|hit| hit.index.number() < number || hit.offset == last - first));
    }
}

#[test]
fn every_offset_and_length_in_every_state() {
    let states: [&[(u16, u32)]; 3] = [
        &[],
        &[(0x04, 0x0000_0547), (0x10, 0xe000_0000), (0x14, 0x0000_00ff)],
        &[(0x04, 0x0000_0003), (0x10, !0), (0x14, !0), (0x18, !0), (0x1c, !0), (0x20, !0)],
    ];
    for state in states {
        let (mut space, mut model) = (function(), Model::new());
        assert_eq!(image(&space), model.bytes);
        for (offset, value) in state {
            write_both(&mut space, &mut model, *offset, &value.to_le_bytes());
        }
        for offset in (0..0x1010).chain([0xfffd, 0xfffe, 0xffff]) {
            for len in 0..=9 {
                read_both(&space, &model, offset, len);
                for pattern in [0xff, 0x00, 0xa5] {
                    write_both(&mut space, &mut model, offset, &vec![pattern; len]);
                    read_both(&space, &model, offset, len);
                }
            }
        }
        assert_eq!(image(&space), model.bytes);
        decode_both(&space, &model);
    }
}

#[derive(Debug, Clone)]
enum Op {
    Write(u16, Vec<u8>),
    Read(u16, usize),
    Fail(StatusError, u8),
    Reset,
}

fn ops() -> impl Strategy<Value = Op> {
    let offset = prop_oneof![8 => 0..0x60_u16, 1 => 0..0x110_u16, 1 => any::<u16>()];
    let data = prop_oneof![
        6 => prop::sample::select(vec![1_usize, 2, 4])
            .prop_flat_map(|len| prop::collection::vec(any::<u8>(), len)),
        1 => prop::collection::vec(any::<u8>(), 0..10),
        1 => Just(vec![0xff; 4]),
    ];
    let error = prop::sample::select(vec![
        (StatusError::MasterDataParity, 0x01),
        (StatusError::SignaledTargetAbort, 0x08),
        (StatusError::ReceivedTargetAbort, 0x10),
        (StatusError::ReceivedMasterAbort, 0x20),
        (StatusError::SignaledSystemError, 0x40),
        (StatusError::DetectedParity, 0x80),
    ]);
    prop_oneof![
        12 => (offset.clone(), data).prop_map(|(offset, data)| Op::Write(offset, data)),
        4 => (offset, 0..10_usize).prop_map(|(offset, len)| Op::Read(offset, len)),
        2 => error.prop_map(|(error, bit)| Op::Fail(error, bit)),
        1 => Just(Op::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_sequence_matches_the_model(ops in prop::collection::vec(ops(), 1..80)) {
        let (mut space, mut model) = (function(), Model::new());
        for op in ops {
            match op {
                Op::Write(offset, data) => write_both(&mut space, &mut model, offset, &data),
                Op::Read(offset, len) => read_both(&space, &model, offset, len),
                Op::Fail(error, bit) => {
                    space.set_status_error(error);
                    model.bytes[7] |= bit;
                }
                Op::Reset => {
                    let before = model.decoded();
                    model = Model::new();
                    compare_moves(&before, &model.decoded(), &space.reset().bars, "reset");
                }
            }
            decode_both(&space, &model);
        }
        prop_assert_eq!(image(&space), model.bytes);
    }
}
