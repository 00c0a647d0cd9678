//! C9, the capability that shows a layout: bytes written out by hand.

use vm_msix::{MsixCap, MsixError, MsixLayout};

#[test]
fn c09_table_size_is_encoded_as_n_minus_1() {
    for (count, low, high) in [
        (1, 0x00, 0x00),
        (63, 0x3e, 0x00),
        (64, 0x3f, 0x00),
        (65, 0x40, 0x00),
        (256, 0xff, 0x00),
        (257, 0x00, 0x01),
        (1024, 0xff, 0x03),
        (2047, 0xfe, 0x07),
        (2048, 0xff, 0x07),
    ] {
        let capability = MsixCap::new(0, count, 0, 0, 0x8000).unwrap();
        let expected = [0x11, 0, low, high, 0, 0, 0, 0, 0x00, 0x80, 0, 0];
        assert_eq!(capability.bytes(), &expected, "{count}");
    }
}

#[test]
fn c09_the_bir_is_in_the_low_bits_of_the_offset_registers() {
    let capability = MsixCap::new(4, 3, 0x1234_5678, 5, 0xfedc_ba98).unwrap();
    #[rustfmt::skip]
    let expected = [
        0x11, 0x00, 0x02, 0x00, // ID, next, Message Control
        0x7c, 0x56, 0x34, 0x12, // Table Offset, Table BIR 4
        0x9d, 0xba, 0xdc, 0xfe, // PBA Offset, PBA BIR 5
    ];
    assert_eq!(capability.bytes(), &expected);
}

#[test]
fn c09_the_capability_of_a_layout_is_the_one_of_its_numbers() {
    let layout = MsixLayout::new(65, 1, 0x2000, 2, 0x40).unwrap();
    let capability = MsixCap::of(layout);
    assert_eq!(capability, MsixCap::new(1, 65, 0x2000, 2, 0x40).unwrap());
    assert_eq!(capability.layout(), &layout);
}

#[test]
fn c09_a_capability_of_an_impossible_layout_is_not_made() {
    assert!(matches!(MsixCap::new(0, 0, 0, 1, 0), Err(MsixError::VectorCount { vectors: 0 })));
    assert!(matches!(MsixCap::new(0, 2049, 0, 1, 0), Err(MsixError::VectorCount { .. })));
    assert!(matches!(MsixCap::new(6, 1, 0, 1, 0), Err(MsixError::Bir { .. })));
    assert!(matches!(MsixCap::new(0, 1, 4, 1, 0), Err(MsixError::Misaligned { .. })));
    assert!(matches!(MsixCap::new(0, 1, 0, 0, 8), Err(MsixError::Overlap { .. })));
    assert!(matches!(MsixCap::new(0, 2, 0xffff_fff0, 1, 0), Err(MsixError::DoesNotFit { .. })));
}
