//! One end goes while the other is busy.

use std::os::fd::AsFd;

use rustix::net::{Shutdown, shutdown};
use shuttle::thread;
use vm_msix::Signal;
use vm_msix_tube::SessionEnd;
use vm_msix_tube::model::wake;

use crate::explore::explore;
use crate::world::{Commits, Function, World, join};

/// Nobody answers this function any more: it latches, and says so.
fn expect_left_alone(function: &Function) {
    function.unmask(0);
    assert!(function.lock().flush().is_err(), "somebody answers");
    assert!(function.lock().unsynced().next().is_some(), "nobody can open it");
    let trigger = function.lock().trigger_handle(0).unwrap();
    function.oracle().signals(function.place(0), || {
        assert_ne!(trigger.trigger().unwrap(), Signal::HandedOver);
    });
    assert!(function.is_pending(0));
    function.is_over();
    function.lock().reset();
}

/// The server stops while a guest masks, a device triggers and somebody asks for a descriptor: nobody hangs (C11).
///
/// Kills: kicked-before-stopped, stays-open-at-the-end, stops-without-kick.
#[test]
fn a_server_stops_under_a_function() {
    explore(|| {
        let world = World::new();
        let function = world.function(0, 2);
        function.unmask(0);
        let device = function.device(0).spawn(2);
        let guest = thread::spawn({
            let function = function.clone();
            move || {
                function.unmask(1);
                function.mask(1);
                drop(function.lock().get_irqfd(0));
                function.rewrite(0);
            }
        });
        let (vm, ended) = world.stop();
        assert_eq!(ended, [SessionEnd::ServerGone]);
        vm.rest();
        vm.expect_empty();
        function.is_over();
        join([device, guest]);
        expect_left_alone(&function);
        drop(function);
    });
}

/// Who sees the end of the connection knows that the VMM has nothing of it any more.
///
/// Kills: ends-before-giving-back.
#[test]
fn everything_is_given_back_before_the_connection_ends() {
    explore(|| {
        let world = World::with(4, Commits::Immediate);
        let function = world.function(0, 1);
        function.unmask(0);
        let (kvm, router) = (world.vm.vm.clone(), world.vm.router.clone());
        let guest = thread::spawn(move || {
            while function.lock().flush().is_ok() {
                thread::yield_now();
            }
            assert_eq!((kvm.irqfds(), router.gsis_in_use()), (0, 0), "the VMM has something still");
        });
        let (_, ended) = world.stop();
        assert_eq!(ended, [SessionEnd::ServerGone]);
        join([guest]);
    });
}

/// A device process dies at any moment: the VMM gives everything back before it tells of it, and another function does not notice.
///
/// Kills: none.
#[test]
fn a_device_process_dies() {
    explore(|| {
        let world = World::new();
        let [dies, lives] = [0, 1].map(|number| world.function(number, 1));
        let socket = dies.lock().backend().as_fd().try_clone_to_owned().unwrap();
        let killer = thread::spawn(move || {
            shutdown(socket, Shutdown::Both).unwrap();
            wake();
        });
        let last = thread::spawn({
            let dies = dies.clone();
            move || {
                dies.unmask(0);
                dies.rewrite(0);
                dies.mask(0);
            }
        });
        let device = lives.device(0).spawn(1);
        lives.unmask(0);
        lives.rewrite(0);
        join([killer, last, device]);
        world.until_left(1);
        dies.is_over();
        expect_left_alone(&dies);
        world.judge(&[&lives]);
        world.finish(vec![dies, lives]);
    });
}

/// Two functions on one server open and close, each for itself; one goes, and another comes in its place.
///
/// Kills: ended-socket-listened-to.
#[test]
fn functions_come_and_go() {
    explore(|| {
        let world = World::new();
        let functions = [0, 1].map(|number| world.function(number, 1));
        let devices = functions.each_ref().map(|function| function.device(0).spawn(1));
        let guests = functions.clone().map(|function| {
            thread::spawn(move || {
                function.unmask(0);
                function.rewrite(0);
            })
        });
        join(guests);
        join(devices);
        world.judge(&functions.each_ref());
        let [goes, stays] = functions;
        goes.mask(0);
        world.take_away([goes]);
        world.until_left(1);
        let comes = world.function(2, 1);
        comes.unmask(0);
        comes.device(0).signal();
        world.judge(&[&comes, &stays]);
        world.end([comes, stays]);
    });
}
