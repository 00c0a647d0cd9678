//! The window in configuration space (virtio 1.2, 4.1.4.9).

use super::rig::{Guest, Slow};

fn guest() -> Guest<Slow> {
    Guest::new(Slow::new().0, 3)
}

fn look(guest: &Guest<Slow>, bar: u8, offset: u32, length: u32) {
    guest.write_config(guest.window + 4, bar);
    guest.write_config(guest.window + 8, offset);
    guest.write_config(guest.window + 12, length);
}

#[test]
fn the_window_reads_and_writes_registers() {
    let guest = guest();
    let status = (guest.common & 0xffff) as u32 + 20;
    look(&guest, 0, status, 1);
    guest.write_config(guest.window + 16, 3_u32);
    assert_eq!(guest.status(), 3);
    assert_eq!(guest.read_config::<4>(guest.window + 16), 3);
    assert_eq!(guest.read_config::<1>(guest.window + 16), 3);
}

#[test]
fn the_window_reaches_the_table() {
    let guest = guest();
    look(&guest, 2, 16 + 8, 4);
    guest.write_config(guest.window + 16, 0x1234_5678_u32);
    assert_eq!(guest.read_config::<4>(guest.window + 16), 0x1234_5678);
}

#[test]
fn a_crooked_window_reads_zero_and_writes_nothing() {
    let guest = guest();
    guest.set_status(3);
    let status = (guest.common & 0xffff) as u32 + 20;
    for (bar, offset, length) in [
        (0, status, 0),
        (0, status, 3),
        (0, status - 1, 2),
        (0, status, 0x8000_0000),
        (1, status, 1),
        (5, status, 1),
        (6, status, 1),
        (255, status, 1),
        (0, 0xffff_fffc, 4),
        (2, 0xffff_fff0, 4),
    ] {
        look(&guest, bar, offset, length);
        guest.write_config(guest.window + 16, 0_u32);
        assert_eq!(guest.read_config::<4>(guest.window + 16), 0);
        assert_eq!(guest.status(), 3);
    }
}
