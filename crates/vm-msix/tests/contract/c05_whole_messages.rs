//! C5: a message is never torn.

use std::sync::Arc;
use std::thread;

use crate::support::guest::{
    ADDRESS, DATA, UPPER_ADDRESS, bring_up, function, mask, program, unmask, write_dword,
    write_qword,
};
use crate::support::host::{Wire, on_each_host};
use vm_msix::{MsiMessage, MsixConfig};

/// Two programmings that differ in every byte.
const ONE: MsiMessage = MsiMessage::new(0x1111_1110_1111_1110, 0x1111_1111);
const TWO: MsiMessage = MsiMessage::new(0x2222_2220_2222_2220, 0x2222_2222);

fn move_to<B: vm_msix::MsiBackend>(msix: &mut MsixConfig<B>, message: MsiMessage) {
    mask(msix, 0);
    program(msix, 0, message);
    unmask(msix, 0);
}

#[test]
fn c05_address_and_data_come_from_the_same_programming_while_producers_run() {
    let wire = Arc::<Wire>::default();
    let mut msix = function(1, wire.signal_mode());
    bring_up(&mut msix);
    move_to(&mut msix, ONE);
    wire.take_sent();
    let triggers = [(); 3].map(|()| msix.trigger_handle(0).unwrap());
    thread::scope(|scope| {
        let producers = triggers.map(|trigger| {
            scope.spawn(move || {
                for _ in 0..1000 {
                    trigger.trigger().unwrap();
                }
            })
        });
        while producers.iter().any(|producer| !producer.is_finished()) {
            move_to(&mut msix, TWO);
            move_to(&mut msix, ONE);
        }
    });
    let torn = wire.take_sent().into_iter().find(|&(_, message)| message != ONE && message != TWO);
    assert_eq!(torn, None);
}

#[test]
fn c05_a_qword_address_takes_effect_as_one_write_while_producers_run() {
    let wire = Arc::<Wire>::default();
    let mut msix = function(1, wire.signal_mode());
    bring_up(&mut msix);
    move_to(&mut msix, ONE);
    wire.take_sent();
    let trigger = msix.trigger_handle(0).unwrap();
    thread::scope(|scope| {
        let producer = scope.spawn(move || {
            for _ in 0..1000 {
                trigger.trigger().unwrap();
            }
        });
        while !producer.is_finished() {
            write_qword(&mut msix, 0, ADDRESS, 0x2222_2220, 0x2222_2220);
            write_qword(&mut msix, 0, ADDRESS, 0x1111_1110, 0x1111_1110);
        }
    });
    let whole = [ONE.address, TWO.address];
    let torn = wire.take_sent().into_iter().find(|(_, message)| !whole.contains(&message.address));
    assert_eq!(torn, None);
}

#[test]
fn c05_of_a_guest_that_rewrites_an_open_vector_each_write_takes_effect_when_it_is_made() {
    on_each_host(1, |msix, host| {
        bring_up(msix);
        move_to(msix, ONE);
        write_dword(msix, 0, UPPER_ADDRESS, 0x2222_2220);
        msix.trigger(0).unwrap();
        write_dword(msix, 0, ADDRESS, 0x2222_2220);
        msix.trigger(0).unwrap();
        write_dword(msix, 0, DATA, 0x2222_2222);
        msix.trigger(0).unwrap();
        assert_eq!(
            host.take_sent(),
            [
                (0, MsiMessage::new(0x2222_2220_1111_1110, 0x1111_1111)),
                (0, MsiMessage::new(0x2222_2220_2222_2220, 0x1111_1111)),
                (0, TWO),
            ]
        );
    });
}
