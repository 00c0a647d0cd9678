//! The capability list (PCIe Base 7.5.1.1.11; PCI Local Bus 3.0, 6.7).

mod common;

use common::{image, read8, read16, write32};
use vm_pci_config::{
    CapabilityId, Identity, PciCapability, PciConfigError, PciConfigSpace, PlainCapability,
};

fn space() -> PciConfigSpace {
    PciConfigSpace::new(Identity::new(0x1234, 0x5678)).unwrap()
}

/// Any description, also a wrong one.
struct Raw {
    bytes: Vec<u8>,
    writable: Vec<u32>,
}

impl PciCapability for Raw {
    fn id(&self) -> CapabilityId {
        CapabilityId(0x7e)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn writable_bits(&self) -> &[u32] {
        &self.writable
    }
}

/// The walk of a guest: pointer at 0x34 if Status says so, then ID and next, low two bits ignored, 48 steps at most.
fn walk(space: &PciConfigSpace) -> Vec<(u8, u16)> {
    let mut found = vec![];
    if read16(space, 0x06) & 0x10 == 0 {
        return found;
    }
    let mut at = u16::from(read8(space, 0x34) & 0xfc);
    while at >= 0x40 && found.len() < 48 {
        found.push((read8(space, at), at));
        at = u16::from(read8(space, at + 1) & 0xfc);
    }
    found
}

#[test]
fn base_7_5_1_1_11_no_list_without_a_capability() {
    let space = space();
    assert_eq!((read16(&space, 0x06), read8(&space, 0x34)), (0, 0));
    assert_eq!(walk(&space), []);
}

#[test]
fn local_bus_6_7_list_image_written_by_hand() {
    let mut space = space();
    let power =
        PlainCapability::new(CapabilityId::POWER_MANAGEMENT, &[0x03, 0x00, 0x08, 0x00, 0, 0]);
    let vendor = PlainCapability::new(CapabilityId::VENDOR_SPECIFIC, &[5, 0x11, 0x22]);
    let msix = PlainCapability::new(CapabilityId::MSIX, &[0x0f, 0, 2, 0, 0, 0, 2, 8, 0, 0]);
    assert_eq!(space.add_capability(&power), Ok(0x40));
    assert_eq!(space.add_capability(&vendor), Ok(0x48));
    assert_eq!(space.add_capability(&msix), Ok(0x50));

    #[rustfmt::skip]
    let expected = [
        0x01, 0x48, 0x03, 0x00, 0x08, 0x00, 0x00, 0x00,
        0x09, 0x50, 0x05, 0x11, 0x22, 0x00, 0x00, 0x00,
        0x11, 0x00, 0x0f, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x08, 0x00, 0x00,
    ];
    assert_eq!(image(&space)[0x40..0x5c], expected);
    assert_eq!(read8(&space, 0x34), 0x40);
    assert_eq!(walk(&space), [(0x01, 0x40), (0x09, 0x48), (0x11, 0x50)]);
    assert_eq!(space.find_capability(CapabilityId::MSIX), Some(0x50));
    assert_eq!(space.find_capability(CapabilityId::MSI), None);
}

#[test]
fn an_id_is_the_number_that_a_guest_reads() {
    assert_eq!(CapabilityId::from(0x11), CapabilityId::MSIX);
    assert_eq!(u8::from(CapabilityId::MSIX), 0x11);
    assert_eq!(format!("{:?}", CapabilityId::MSIX), "CapabilityId(0x11)");
}

#[test]
fn header_bytes_in_the_description_do_not_matter() {
    let mut space = space();
    let raw = Raw { bytes: vec![0x55, 0x66, 0x77], writable: vec![] };
    space.add_capability(&raw).unwrap();
    assert_eq!(image(&space)[0x40..0x44], [0x7e, 0x00, 0x77, 0x00]);
}

#[test]
fn only_bits_called_writable_change() {
    let mut space = space();
    let cap = PlainCapability::new(CapabilityId::VENDOR_SPECIFIC, &[0xff; 14]).writable(&[
        0x00f0_0000,
        0,
        0x8000_0001,
    ]);
    space.add_capability(&cap).unwrap();
    for offset in (0x40..0x50).step_by(4) {
        assert!(write32(&mut space, offset, 0).is_empty());
    }
    #[rustfmt::skip]
    let expected = [
        0x09, 0x00, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xfe, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff,
    ];
    assert_eq!(image(&space)[0x40..0x50], expected);
}

#[test]
fn the_list_holds_192_bytes_and_not_one_more() {
    let mut space = space();
    let smallest = PlainCapability::new(CapabilityId::NULL, &[]);
    for place in 0..48 {
        assert_eq!(space.add_capability(&smallest), Ok(0x40 + place * 4));
    }
    let full = image(&space);
    assert_eq!(
        space.add_capability(&smallest),
        Err(PciConfigError::NoRoomForCapability { length: 2, left: 0 })
    );
    assert_eq!(image(&space), full);
    assert_eq!(walk(&space).len(), 48);
    assert_eq!(full[0xfc..], [0x00, 0x00, 0x00, 0x00]);
}

#[test]
fn room_counts_whole_dwords() {
    let sized = |length| Raw { bytes: vec![0; length], writable: vec![] };
    let mut alone = space();
    assert_eq!(
        alone.add_capability(&sized(193)),
        Err(PciConfigError::NoRoomForCapability { length: 193, left: 192 })
    );
    assert_eq!(walk(&alone), [], "a refused capability leaves no list");
    assert_eq!(alone.add_capability(&sized(192)), Ok(0x40));

    let mut space = space();
    space.add_capability(&sized(185)).unwrap();
    assert_eq!(
        space.add_capability(&sized(5)),
        Err(PciConfigError::NoRoomForCapability { length: 5, left: 4 })
    );
    assert_eq!(space.add_capability(&sized(4)), Ok(0xfc));
}

#[test]
fn malformed_descriptions_are_refused() {
    let mut space = space();
    for (length, writable, error) in [
        (0, vec![], PciConfigError::CapabilityTooShort { length: 0 }),
        (1, vec![], PciConfigError::CapabilityTooShort { length: 1 }),
        (5, vec![0; 3], PciConfigError::TooManyWritableMasks { given: 3, registers: 2 }),
        (4, vec![0x0001_0000 | 0x0100], PciConfigError::HeaderWritable { mask: 0x0001_0100 }),
    ] {
        let raw = Raw { bytes: vec![0; length], writable };
        assert_eq!(space.add_capability(&raw), Err(error));
    }
    assert_eq!(walk(&space), []);
}
