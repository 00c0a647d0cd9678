//! C3: a signal on a closed vector is latched; opening delivers it exactly once; repeats collapse to one.

use crate::support::guest::{
    ADDRESS, DATA, ENABLE, FUNCTION_MASK, OFF, bring_up, control, mask, message, pba, pending,
    program, unmask, write_dword, write_qword,
};
use crate::support::host::{AnyBackend, on_each_host};
use vm_msix::{MsiMessage, MsixConfig, Signal};

type Change = fn(&mut MsixConfig<AnyBackend>);

/// Every way to close vector 1 of open ones, and to open it again.
const WAYS: [(Change, Change); 4] = [
    (
        |msix| {
            mask(msix, 1);
        },
        |msix| {
            unmask(msix, 1);
        },
    ),
    (
        |msix| {
            control(msix, ENABLE | FUNCTION_MASK);
        },
        |msix| {
            control(msix, ENABLE);
        },
    ),
    (
        |msix| {
            control(msix, OFF);
        },
        |msix| {
            control(msix, ENABLE);
        },
    ),
    (|msix| msix.set_bus_master(false), |msix| msix.set_bus_master(true)),
];

#[test]
fn c03_a_signal_on_an_open_vector_is_sent_at_once_each_time() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        for _ in 0..3 {
            assert_eq!(msix.trigger(1).unwrap(), Signal::Sent);
            assert!(!pending(msix, 1));
        }
        assert_eq!(host.take_sent(), [(1, message(1)); 3]);
    });
}

#[test]
fn c03_a_signal_on_a_masked_vector_is_delivered_exactly_once_on_unmask() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        for (close, open) in WAYS {
            close(msix);
            assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
            assert!(pending(msix, 1));
            assert_eq!(host.take_sent(), []);
            open(msix);
            assert_eq!(host.take_sent(), [(1, message(1))]);
            assert!(!pending(msix, 1));
            close(msix);
            open(msix);
            assert_eq!(host.take_sent(), [], "delivered a second time");
        }
    });
}

#[test]
fn c03_repeats_on_a_closed_vector_collapse_to_one() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        for (close, open) in WAYS {
            close(msix);
            assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
            assert_eq!(msix.trigger(1).unwrap(), Signal::Collapsed);
            assert_eq!(msix.trigger(1).unwrap(), Signal::Collapsed);
            open(msix);
            assert_eq!(host.take_sent(), [(1, message(1))]);
            assert_eq!(msix.trigger(1).unwrap(), Signal::Sent);
            assert_eq!(host.take_sent(), [(1, message(1))]);
        }
    });
}

#[test]
fn c03_a_vector_that_is_closed_for_several_reasons_delivers_when_the_last_is_gone() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        WAYS.iter().for_each(|(close, _)| close(msix));
        // Enable off, then on under Function Mask: the two are one register.
        msix.trigger(1).unwrap();
        control(msix, ENABLE | FUNCTION_MASK);
        unmask(msix, 1);
        assert_eq!(host.take_sent(), []);
        msix.set_bus_master(true);
        assert_eq!(host.take_sent(), []);
        control(msix, ENABLE);
        assert_eq!(host.take_sent(), [(1, message(1))]);
    });
}

#[test]
fn c03_a_signal_before_anything_is_programmed_waits_for_the_message() {
    on_each_host(2, |msix, host| {
        assert_eq!(msix.trigger(1).unwrap(), Signal::Latched);
        bring_up(msix);
        assert_eq!(host.take_sent(), [(1, message(1))]);
    });
}

#[test]
fn c03_a_latched_signal_is_delivered_with_the_message_of_the_moment_of_opening() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        mask(msix, 1);
        msix.trigger(1).unwrap();
        let moved = MsiMessage::new(0xfee0_f000, 0x99);
        program(msix, 1, moved);
        unmask(msix, 1);
        assert_eq!(host.take_sent(), [(1, moved)]);
    });
}

#[test]
fn c03_rewriting_an_open_vector_sends_nothing_and_loses_nothing() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        write_dword(msix, 1, ADDRESS, 0xfee0_8000);
        write_dword(msix, 1, DATA, 0x55);
        assert_eq!(host.take_sent(), []);
        msix.trigger(1).unwrap();
        assert_eq!(host.take_sent(), [(1, MsiMessage::new(0xfee0_8000, 0x55))]);
    });
}

#[test]
fn c03_a_qword_that_rewrites_and_unmasks_delivers_the_new_message() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        mask(msix, 1);
        msix.trigger(1).unwrap();
        write_qword(msix, 1, DATA, 0x66, 0);
        assert_eq!(host.take_sent(), [(1, MsiMessage { data: 0x66, ..message(1) })]);
    });
}

#[test]
fn c03_reading_the_pba_takes_nothing_and_sends_nothing() {
    on_each_host(65, |msix, host| {
        bring_up(msix);
        control(msix, ENABLE | FUNCTION_MASK);
        msix.trigger(0).unwrap();
        msix.trigger(64).unwrap();
        for _ in 0..3 {
            assert_eq!(pba(msix), [1, 1]);
            let mut dword = [0xa5; 4];
            msix.read_pba_entries(8, &mut dword);
            assert_eq!(dword, [1, 0, 0, 0]);
        }
        assert_eq!(host.take_sent(), []);
        control(msix, ENABLE);
        assert_eq!(host.take_sent(), [(0, message(0)), (64, message(64))]);
    });
}

#[test]
fn c03_vectors_latch_each_for_itself() {
    on_each_host(2048, |msix, host| {
        bring_up(msix);
        control(msix, ENABLE | FUNCTION_MASK);
        let signalled: Vec<u16> = (0..2048).step_by(7).collect();
        signalled.iter().for_each(|&vector| {
            msix.trigger(vector).unwrap();
        });
        (0..2048).for_each(|vector| {
            assert_eq!(pending(msix, vector), vector % 7 == 0, "{vector}");
        });
        control(msix, ENABLE);
        let mut sent = host.take_sent();
        sent.sort_by_key(|&(vector, _)| vector);
        let expected: Vec<_> =
            signalled.into_iter().map(|vector| (vector, message(vector))).collect();
        assert_eq!(sent, expected);
    });
}

#[test]
fn c03_a_signal_that_could_not_be_sent_is_told_to_the_device_and_not_latched() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        host.fail_next_sends(1);
        let error = msix.trigger(1).unwrap_err();
        assert_eq!(error.to_string(), "vector 1 could not send its message: told to fail");
        assert!(!pending(msix, 1));
        assert_eq!(msix.trigger(1).unwrap(), Signal::Sent);
        assert_eq!(host.take_sent(), [(1, message(1))]);
    });
}

#[test]
fn c03_a_latched_signal_that_cannot_be_sent_on_opening_stays_latched() {
    on_each_host(2, |msix, host| {
        bring_up(msix);
        mask(msix, 1);
        msix.trigger(1).unwrap();
        host.fail_next_sends(1);
        unmask(msix, 1);
        assert!(pending(msix, 1));
        assert_eq!(host.take_sent(), []);
        control(msix, ENABLE);
        assert!(!pending(msix, 1));
        assert_eq!(host.take_sent(), [(1, message(1))]);
    });
}
