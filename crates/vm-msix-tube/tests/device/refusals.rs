//! A VMM that does not take an eventfd, or does not open a vector: the shortest sequences in which a signal could strand.

use vm_msix::Signal;

use super::model::Model;
use super::support::vmm::Faults;
use super::support::{alone, fds, threads};

const ADOPT: Faults = Faults { adopt: 100, open: 0, late: 0, close: 0, swap: 0, panic: false };
const OPEN: Faults = Faults { adopt: 0, open: 100, late: 0, close: 0, swap: 0, panic: false };

/// Vector 0 is open here, and the VMM fails it like this, and it was signalled, and nobody has heard of the failure.
fn failed(faults: Faults) -> Model {
    let mut model = Model::new(2, faults, 0);
    model.set_control(true, false);
    model.program(0);
    model.unmask(0);
    model.trigger(0);
    model
}

#[test]
fn c3_a_signal_in_an_eventfd_that_is_refused_is_pending_when_its_vector_is_masked() {
    let _alone = alone();
    let mut model = failed(ADOPT);
    model.mask(0);
    model.check_pending();
    // It is brought again: the session goes on, and the signal arrives.
    model.vmm.set_faults(Faults::default());
    model.unmask(0);
    model.settle();
}

#[test]
fn c3_a_swap_does_not_hide_that_a_vector_did_not_open() {
    let _alone = alone();
    for faults in [ADOPT, OPEN] {
        let mut model = failed(faults);
        model.swap(0, 1);
        model.mask(0);
        model.check_pending();
        model.settle();
    }
}

#[test]
fn c3_an_eventfd_that_comes_in_the_place_of_a_refused_one_takes_nothing_with_it() {
    let _alone = alone();
    let mut model = failed(ADOPT);
    model.vmm.set_faults(Faults::default());
    model.adopt(0, fds::new());
    model.mask(0);
    model.check_pending();
    model.settle();
}

#[test]
fn an_open_vector_whose_new_eventfd_is_refused_goes_on_with_the_old_one() {
    let _alone = alone();
    for faults in [ADOPT, OPEN] {
        let mut model = failed(Faults::default());
        model.msix.flush().unwrap();
        model.deliver();
        model.vmm.set_faults(faults);
        assert!(model.msix.adopt_irqfd(0, fds::new()).is_err());
        model.vmm.set_faults(Faults::default());
        let _ = model.msix.flush();
        model.trigger(0);
        model.settle();
    }
}

#[test]
fn c7_a_reset_gives_the_eventfds_back_that_nobody_holds() {
    let _alone = alone();
    // The server of the test before this one has closed what it had.
    threads::expect(0);
    let mut model = Model::new(2, Faults::default(), 0);
    let before = fds::count();
    model.settle();
    let held = model.msix.get_irqfd(0).unwrap();
    // Its own, and the VMM's copies.
    assert_eq!(fds::count(), before + 4);
    model.reset();
    assert_eq!(fds::count(), before + 1);
    drop(held);
    assert_eq!(model.msix.trigger(1).unwrap(), Signal::Latched);
}
