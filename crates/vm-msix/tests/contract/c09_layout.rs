//! C9: 1 to 2048 vectors, and a layout that is checked when it is made.

use crate::support::guest::{COUNTS, function};
use vm_msix::test_utils::MockBackend;
use vm_msix::{MsixConfig, MsixError, MsixLayout, Region, VectorCount, VectorIndex};

#[test]
fn c09_a_function_has_1_to_2048_vectors() {
    for count in COUNTS {
        let backend = MockBackend::new(count).unwrap();
        assert_eq!(function(count, &backend).num_vectors(), count);
        assert_eq!(VectorCount::new(count).unwrap().get(), count);
        assert_eq!(VectorCount::new(count).unwrap().indices().len(), usize::from(count));
        MsixLayout::propose(count, 0).unwrap();
    }
    for count in [0, 2049, 4096, u16::MAX] {
        let refused = |error: Option<MsixError>| match error {
            Some(MsixError::VectorCount { vectors }) => assert_eq!(vectors, usize::from(count)),
            other => panic!("{other:?}"),
        };
        refused(MsixConfig::new(count, MockBackend::new(1).unwrap(), 0, "nic").err());
        refused(VectorCount::new(count).err());
        refused(MsixLayout::propose(count, 0).err());
        refused(MsixLayout::new(count, 0, 0, 1, 0).err());
    }
}

#[test]
fn c09_vector_indices_are_0_to_2047() {
    assert_eq!(VectorIndex::new(2047).map(VectorIndex::get), Some(2047));
    assert_eq!(VectorIndex::new(2048), None);
    assert_eq!(VectorIndex::new(u16::MAX), None);
}

#[test]
fn c09_the_bir_is_0_to_5() {
    for bar in 0..6 {
        MsixLayout::new(1, bar, 0, 5 - bar, 0x1000).unwrap();
    }
    for bar in [6, 7, 8, 255] {
        let table = MsixLayout::new(1, bar, 0, 0, 0).unwrap_err();
        assert!(matches!(table, MsixError::Bir { region: Region::Table, bar: b } if b == bar));
        let pba = MsixLayout::new(1, 0, 0, bar, 0).unwrap_err();
        assert!(matches!(pba, MsixError::Bir { region: Region::Pba, bar: b } if b == bar));
        assert!(matches!(MsixLayout::propose(1, bar), Err(MsixError::Bir { .. })));
    }
}

#[test]
fn c09_a_refusal_says_which_region_is_wrong() {
    let table = MsixLayout::new(1, 6, 0, 0, 0).unwrap_err();
    assert_eq!(table.to_string(), "MSI-X Table in BAR 6: a function has BARs 0 to 5");
    let pba = MsixLayout::new(1, 0, 0, 0, 0x1004).unwrap_err();
    assert_eq!(pba.to_string(), "PBA at offset 0x1004: it must be a multiple of 8");
}

#[test]
fn c09_offsets_are_multiples_of_8() {
    for offset in (1..8).chain([0x1001, 0x1004, 0xffff_ffff]) {
        let table = MsixLayout::new(1, 0, offset, 1, 0).unwrap_err();
        assert!(
            matches!(table, MsixError::Misaligned { region: Region::Table, offset: o } if o == offset)
        );
        let pba = MsixLayout::new(1, 1, 0, 0, offset).unwrap_err();
        assert!(
            matches!(pba, MsixError::Misaligned { region: Region::Pba, offset: o } if o == offset)
        );
    }
    MsixLayout::new(1, 0, 8, 0, 0).unwrap();
}

#[test]
fn c09_table_and_pba_end_where_their_registers_can_reach() {
    MsixLayout::new(1, 0, 0xffff_fff0, 1, 0xffff_fff8).unwrap();
    let table = MsixLayout::new(1, 0, 0xffff_fff8, 1, 0).unwrap_err();
    assert!(matches!(
        table,
        MsixError::DoesNotFit { region: Region::Table, bar: 0, end: 0x1_0000_0008, .. }
    ));
    let pba = MsixLayout::new(65, 0, 0, 1, 0xffff_fff8).unwrap_err();
    assert!(matches!(
        pba,
        MsixError::DoesNotFit { region: Region::Pba, bar: 1, end: 0x1_0000_0008, .. }
    ));
}

#[test]
fn c09_table_and_pba_fit_their_bars() {
    for (count, table, pba) in
        [(1, 16, 8), (64, 1024, 8), (65, 1040, 16), (2047, 32_752, 256), (2048, 32_768, 256)]
    {
        let layout = MsixLayout::new(count, 2, 0x100, 4, 0x200).unwrap();
        layout.check_bar(2, 0x100 + table).unwrap();
        layout.check_bar(4, 0x200 + pba).unwrap();
        layout.check_bar(0, 0).unwrap();
        match layout.check_bar(2, 0x100 + table - 1) {
            Err(MsixError::DoesNotFit { region: Region::Table, bar: 2, end, bar_size }) => {
                assert_eq!((end, bar_size), (0x100 + table, 0x100 + table - 1));
            }
            other => panic!("{other:?}"),
        }
        match layout.check_bar(4, 0x200 + pba - 1) {
            Err(MsixError::DoesNotFit { region: Region::Pba, bar: 4, end, .. }) => {
                assert_eq!(end, 0x200 + pba);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn c09_table_and_pba_share_no_byte() {
    // 65 vectors: a table of 0x410 bytes, a PBA of 0x10.
    for (table, pba) in [(0, 0x410), (0x10, 0), (0x1000, 0xff0), (0x1000, 0x1410)] {
        MsixLayout::new(65, 3, table, 3, pba).unwrap();
    }
    for (table, pba) in [(0, 0), (0, 0x408), (8, 0), (0x1000, 0xff8), (0x1000, 0x1200)] {
        match MsixLayout::new(65, 3, table, 3, pba) {
            Err(MsixError::Overlap {
                bar: 3,
                table: t,
                table_size: 0x410,
                pba: p,
                pba_size: 0x10,
            }) => {
                assert_eq!((t, p), (table, pba));
            }
            other => panic!("{other:?}"),
        }
        MsixLayout::new(65, 3, table, 2, pba).unwrap();
    }
}

#[test]
fn c09_a_helper_proposes_a_layout_in_pages_of_their_own() {
    for (count, pba, size) in [
        (1, 0x1000, 0x2000),
        (256, 0x1000, 0x2000),
        (257, 0x2000, 0x4000),
        (1024, 0x4000, 0x8000),
        (2047, 0x8000, 0x1_0000),
        (2048, 0x8000, 0x1_0000),
    ] {
        let layout = MsixLayout::propose(count, 4).unwrap();
        assert_eq!(layout, MsixLayout::new(count, 4, 0, 4, pba).unwrap(), "{count}");
        assert_eq!(layout.min_bar_size(4), size, "{count}");
        assert_eq!(layout.min_bar_size(3), 0);
        layout.check_bar(4, size).unwrap();
        assert_eq!(layout.vectors().get(), count);
    }
}

#[test]
fn c09_a_bar_of_another_kind_is_at_least_a_page_and_a_power_of_two() {
    let layout = MsixLayout::new(1, 0, 0, 1, 0x3008).unwrap();
    assert_eq!(layout.min_bar_size(0), 0x1000);
    assert_eq!(layout.min_bar_size(1), 0x4000);
    let last = MsixLayout::new(1, 0, 0xffff_fff0, 1, 0).unwrap();
    assert_eq!(last.min_bar_size(0), 1 << 32);
}

#[test]
fn c09_an_offset_of_a_bar_is_located_in_table_or_pba() {
    let layout = MsixLayout::new(2, 2, 0x100, 2, 0x200).unwrap();
    for (offset, place) in [
        (0, None),
        (0xff, None),
        (0x100, Some((Region::Table, 0))),
        (0x11f, Some((Region::Table, 0x1f))),
        (0x120, None),
        (0x1ff, None),
        (0x200, Some((Region::Pba, 0))),
        (0x207, Some((Region::Pba, 7))),
        (0x208, None),
        (u64::MAX, None),
        (0x1_0000_0100, None),
    ] {
        assert_eq!(layout.locate(2, offset), place, "{offset:#x}");
        assert_eq!(layout.locate(0, offset), None);
        assert_eq!(layout.locate(255, offset), None);
    }
}
