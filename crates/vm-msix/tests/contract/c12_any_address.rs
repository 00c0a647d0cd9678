//! C12, as far as the core goes: any message address is legal, and what it means is the backend's knowledge.

use crate::support::guest::{ENABLE, NONE, bring_up, control, message, program, unmask, unsynced};
use crate::support::host::on_each_host;
use vm_msix::{MsiMessage, Signal};

#[test]
fn c12_a_vector_opens_to_any_address_and_sends_what_was_programmed() {
    on_each_host(1, |msix, host| {
        bring_up(msix);
        for address in [
            0,                     // Linux, first of all
            4,                     // not aligned to anything larger
            0x7f00_0000,           // iPXE: ordinary memory
            0xfee0_0000,           // a doorbell on x86
            0xfee0_000c,           // with redirection hints
            0xffff_fffc,           // the last DWORD below 4 GiB
            0x1_0000_0000,         // above
            0x8080_0000_0802_0040, // a doorbell elsewhere
            0xffff_ffff_ffff_fffc, // the last one of all
        ] {
            for data in [0, 0x41, u32::MAX] {
                let any = MsiMessage::new(address, data);
                program(msix, 0, any);
                assert_eq!(unsynced(msix), NONE);
                assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
                assert_eq!(host.take_sent(), [(0, any)]);
            }
        }
    });
}

#[test]
fn c12_an_entry_that_was_never_programmed_may_be_opened() {
    on_each_host(1, |msix, host| {
        unmask(msix, 0);
        control(msix, ENABLE);
        assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
        assert_eq!(host.take_sent(), [(0, MsiMessage::new(0, 0))]);
    });
}

#[test]
fn c12_surplus_entries_may_alias_a_message() {
    on_each_host(4, |msix, host| {
        for vector in 0..4 {
            program(msix, vector, message(0));
            unmask(msix, vector);
        }
        control(msix, ENABLE);
        (0..4).for_each(|vector| {
            msix.trigger(vector).unwrap();
        });
        assert_eq!(host.take_sent(), [0, 1, 2, 3].map(|vector| (vector, message(0))));
    });
}
