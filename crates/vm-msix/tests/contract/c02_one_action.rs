//! C2: every write, reset and restore hands the backend exactly the vectors whose route differs, as one batch.

use crate::support::guest::{
    ADDRESS, COUNTS, DATA, ENABLE, FUNCTION_MASK, NAME, OFF, PCI_ID, bring_up, closed, control,
    function, mask, message, open, program, program_all, unmask, write_dword, write_qword,
};
use vm_msix::test_utils::MockBackend;
use vm_msix::{MsiMessage, MsixConfig, Route};

const NOTHING: [Vec<(u16, Route)>; 0] = [];

#[test]
fn c02_nothing_is_told_before_msix_is_enabled() {
    let backend = MockBackend::new(4).unwrap();
    let mut msix = function(4, &backend);
    bring_up_to_enable(&mut msix);
    assert_eq!(backend.take_batches(), NOTHING);
}

fn bring_up_to_enable(msix: &mut MsixConfig<&MockBackend>) {
    control(msix, FUNCTION_MASK);
    program_all(msix);
    mask(msix, 1);
    unmask(msix, 1);
    control(msix, OFF);
    control(msix, ENABLE | FUNCTION_MASK);
    msix.set_bus_master(false);
    control(msix, ENABLE);
    control(msix, OFF);
    msix.set_bus_master(true);
}

#[test]
fn c02_enabling_tells_exactly_the_unmasked_vectors_in_one_batch() {
    for count in COUNTS {
        let backend = MockBackend::new(count).unwrap();
        let mut msix = function(count, &backend);
        program_all(&mut msix);
        (0..count).step_by(3).for_each(|vector| {
            mask(&mut msix, vector);
        });
        control(&mut msix, ENABLE);
        let unmasked = (0..count).filter(|vector| vector % 3 != 0).map(open).collect::<Vec<_>>();
        match unmasked.is_empty() {
            true => assert_eq!(backend.take_batches(), NOTHING),
            false => assert_eq!(backend.take_batches(), [unmasked]),
        }
    }
}

#[test]
fn c02_disabling_function_mask_and_bus_mastering_tell_exactly_the_open_vectors_in_one_batch() {
    type Close = fn(&mut MsixConfig<&MockBackend>);
    let closes: [Close; 4] = [
        |msix| {
            control(msix, OFF);
        },
        |msix| {
            control(msix, ENABLE | FUNCTION_MASK);
        },
        |msix| msix.set_bus_master(false),
        |msix| msix.reset(),
    ];
    for count in COUNTS {
        for close in closes {
            let backend = MockBackend::new(count).unwrap();
            let mut msix = function(count, &backend);
            bring_up(&mut msix);
            mask(&mut msix, count / 2);
            backend.take_batches();
            close(&mut msix);
            let others: Vec<_> =
                (0..count).filter(|&vector| vector != count / 2).map(closed).collect();
            match others.is_empty() {
                true => assert_eq!(backend.take_batches(), NOTHING),
                false => assert_eq!(backend.take_batches(), [others]),
            }
        }
    }
}

#[test]
fn c02_a_write_of_one_entry_tells_that_vector_only() {
    let backend = MockBackend::new(65).unwrap();
    let mut msix = function(65, &backend);
    bring_up(&mut msix);
    backend.take_batches();
    mask(&mut msix, 64);
    assert_eq!(backend.take_batches(), [[closed(64)]]);
    unmask(&mut msix, 64);
    assert_eq!(backend.take_batches(), [[open(64)]]);
    write_dword(&mut msix, 0, DATA, 0x77);
    let rewritten = MsiMessage { data: 0x77, ..message(0) };
    assert_eq!(backend.take_batches(), [[(0, Route::Open(rewritten))]]);
}

#[test]
fn c02_a_qword_that_rewrites_and_masks_is_told_once_as_closed() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend);
    bring_up(&mut msix);
    backend.take_batches();
    write_qword(&mut msix, 0, DATA, 0x99, 1);
    assert_eq!(backend.take_batches(), [[closed(0)]]);
    write_qword(&mut msix, 0, DATA, 0x88, 0);
    let reopened = MsiMessage { data: 0x88, ..message(0) };
    assert_eq!(backend.take_batches(), [[(0, Route::Open(reopened))]]);
}

#[test]
fn c02_a_write_of_what_is_there_already_tells_nothing() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    bring_up(&mut msix);
    backend.take_batches();
    control(&mut msix, ENABLE);
    unmask(&mut msix, 1);
    program(&mut msix, 1, message(1));
    msix.set_bus_master(true);
    msix.flush().unwrap();
    // Reserved bits change nothing either.
    control(&mut msix, ENABLE | 0x3fff);
    write_dword(&mut msix, 1, 12, 0xffff_fffe);
    assert_eq!(backend.take_batches(), NOTHING);
}

#[test]
fn c02_a_closed_vector_may_be_reprogrammed_without_the_backend_hearing_of_it() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend);
    bring_up(&mut msix);
    mask(&mut msix, 0);
    backend.take_batches();
    program(&mut msix, 0, MsiMessage::new(0x1_0000_0000, 5));
    write_dword(&mut msix, 0, ADDRESS, 0xfee0_1000);
    assert_eq!(backend.take_batches(), NOTHING);
}

#[test]
fn c02_enabling_under_function_mask_tells_nothing_and_lifting_it_tells_all() {
    let backend = MockBackend::new(3).unwrap();
    let mut msix = function(3, &backend);
    program_all(&mut msix);
    control(&mut msix, ENABLE | FUNCTION_MASK);
    assert_eq!(backend.take_batches(), NOTHING);
    control(&mut msix, ENABLE);
    assert_eq!(backend.take_batches(), [[open(0), open(1), open(2)]]);
}

#[test]
fn c02_one_write_that_trades_enable_for_function_mask_tells_nothing_new() {
    let backend = MockBackend::new(1).unwrap();
    let mut msix = function(1, &backend);
    program_all(&mut msix);
    control(&mut msix, ENABLE | FUNCTION_MASK);
    control(&mut msix, FUNCTION_MASK);
    control(&mut msix, OFF);
    assert_eq!(backend.take_batches(), NOTHING);
}

#[test]
fn c02_restore_tells_one_batch_of_closes_and_one_of_opens() {
    let backend = MockBackend::new(3).unwrap();
    let mut msix = function(3, &backend);
    bring_up(&mut msix);
    mask(&mut msix, 1);
    let saved = msix.snapshot();
    unmask(&mut msix, 1);
    mask(&mut msix, 2);
    backend.take_batches();
    msix.restore(&saved).unwrap();
    assert_eq!(backend.take_batches(), [vec![closed(0), closed(1)], vec![open(0), open(2)]]);
}

#[test]
fn c02_restore_of_a_new_function_tells_one_batch() {
    let source = MockBackend::new(2).unwrap();
    let mut msix = function(2, &source);
    bring_up(&mut msix);
    let saved = msix.snapshot();

    let backend = MockBackend::new(2).unwrap();
    let mut new = MsixConfig::new(2, &backend, PCI_ID, NAME).unwrap();
    new.restore(&saved).unwrap();
    assert_eq!(backend.take_batches(), [[open(0), open(1)]]);
}

#[test]
fn c02_a_new_function_and_its_reset_tell_nothing() {
    let backend = MockBackend::new(2).unwrap();
    let mut msix = function(2, &backend);
    msix.reset();
    msix.flush().unwrap();
    drop(msix);
    assert_eq!(backend.take_batches(), NOTHING);
}
