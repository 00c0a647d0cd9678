//! Messages and descriptors through a tube, and everything that can become of them.

mod support;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::event::EventfdFlags;
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vm_msix_tube::{MAX_DESCRIPTORS, MAX_MESSAGE, Tube, TubeError};

use support::raw::Raw;
use support::{FOREVER, alone, fds};

/// Lets every receive of a test that goes wrong end.
fn pair() -> (Tube, Tube) {
    let (here, there) = Tube::pair().unwrap();
    there.set_recv_timeout(Some(FOREVER)).unwrap();
    (here, there)
}

fn borrowed(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(AsFd::as_fd).collect()
}

/// Bytes of which so many are a message: postcard puts their number before them.
fn bytes(encoded: usize) -> Vec<u8> {
    assert!(encoded > 1 << 14, "three bytes of length");
    vec![0x5a; encoded - 3]
}

#[test]
fn descriptors_arrive_in_order_and_are_the_same_open_files_and_close_on_exec() {
    let _alone = alone();
    let before = fds::count();
    let counters: Vec<_> =
        (0..MAX_DESCRIPTORS).map(|_| fds::with(EventfdFlags::NONBLOCK)).collect();
    for count in [0, 1, 252, 253, 254, 506, 507, MAX_DESCRIPTORS] {
        let (here, there) = pair();
        let sender = thread::scope(|scope| {
            let sent = scope.spawn(|| here.send_with(&count, &borrowed(&counters[..count])));
            let (said, came) = there.recv_with::<usize>().unwrap();
            assert_eq!((said, came.len()), (count, count));
            for (index, (sent, came)) in counters.iter().zip(&came).enumerate() {
                assert!(fcntl_getfd(came).unwrap().contains(FdFlags::CLOEXEC), "{index}");
                rustix::io::write(came, &(index as u64 + 1).to_ne_bytes()).unwrap();
                assert_eq!(fds::take(sent), index as u64 + 1);
            }
            sent.join().unwrap()
        });
        sender.unwrap();
    }
    drop(counters);
    fds::expect(before);
}

#[test]
fn one_descriptor_too_many_is_refused_and_nothing_is_sent() {
    let _alone = alone();
    let (here, there) = pair();
    let eventfd = fds::new();
    let many = vec![eventfd.as_fd(); MAX_DESCRIPTORS + 1];
    let refused = here.send_with(&1_u8, &many);
    assert!(
        matches!(refused, Err(TubeError::TooManyDescriptors { descriptors: 2049, max: 2048 })),
        "{refused:?}"
    );
    here.send(&2_u8).unwrap();
    assert_eq!(there.recv::<u8>().unwrap(), 2);
}

#[test]
fn the_longest_message_arrives_and_one_byte_more_is_refused_and_not_sent() {
    let _alone = alone();
    let (here, there) = pair();
    let longest = bytes(MAX_MESSAGE);
    here.send(&longest).unwrap();
    assert_eq!(there.recv::<Vec<u8>>().unwrap(), longest);
    let refused = here.send(&bytes(MAX_MESSAGE + 1));
    assert!(matches!(refused, Err(TubeError::TooLong { max: MAX_MESSAGE })), "{refused:?}");
    here.send(&3_u8).unwrap();
    assert_eq!(there.recv::<u8>().unwrap(), 3);
}

#[test]
fn a_receive_and_a_send_wait_no_longer_than_they_may() {
    let _alone = alone();
    let (here, there) = Tube::pair().unwrap();
    let short = Some(Duration::from_millis(1));
    here.set_recv_timeout(short).unwrap();
    assert!(matches!(here.recv::<u8>(), Err(TubeError::TimedOut)));
    here.set_send_timeout(short).unwrap();
    let mut sent = 0_u64;
    let full = loop {
        match here.send(&sent) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, TubeError::TimedOut), "{full:?}");
    assert!(matches!(here.try_send(&sent), Err(TubeError::TimedOut)));
    // What did not fit was not sent, what did arrives, and then there is room.
    (0..sent).for_each(|number| assert_eq!(there.recv::<u64>().unwrap(), number));
    here.send(&sent).unwrap();
    assert_eq!(there.recv::<u64>().unwrap(), sent);
    assert!(here.set_recv_timeout(Some(Duration::ZERO)).is_err());
    assert!(there.try_recv_with::<u64>().unwrap().is_none());
}

#[test]
fn what_was_sent_before_the_end_is_received_and_then_the_end() {
    let _alone = alone();
    let (here, there) = pair();
    (0..10_u8).for_each(|number| here.send(&number).unwrap());
    drop(here);
    (0..10_u8).for_each(|number| assert_eq!(there.recv::<u8>().unwrap(), number));
    for _ in 0..3 {
        assert!(matches!(there.recv::<u8>(), Err(TubeError::Disconnected)));
        assert!(matches!(there.try_recv_with::<u8>(), Err(TubeError::Disconnected)));
        assert!(matches!(there.send(&1_u8), Err(TubeError::Disconnected)));
    }
}

#[test]
fn a_peer_that_died_with_messages_unread_is_heard_to_its_end() {
    let _alone = alone();
    let (here, there) = pair();
    there.send(&"never read").unwrap();
    here.send(&1_u8).unwrap();
    here.send(&2_u8).unwrap();
    drop(here);
    assert_eq!(there.recv::<u8>().unwrap(), 1);
    assert_eq!(there.try_recv_with::<u8>().unwrap().unwrap().0, 2);
    assert!(matches!(there.recv::<u8>(), Err(TubeError::Disconnected)));
}

#[test]
fn a_tube_that_was_shut_down_is_at_its_end_on_both_sides() {
    let _alone = alone();
    let (here, there) = pair();
    here.send(&1_u8).unwrap();
    there.shut_down();
    assert_eq!(there.recv::<u8>().unwrap(), 1);
    assert!(matches!(there.recv::<u8>(), Err(TubeError::Disconnected)));
    assert!(matches!(here.recv::<u8>(), Err(TubeError::Disconnected)));
    assert!(matches!(here.send(&2_u8), Err(TubeError::Disconnected)));
    here.shut_down();
}

#[test]
fn a_thread_that_waits_hears_of_the_end() {
    let _alone = alone();
    let (here, there) = pair();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| there.recv::<u8>());
        here.shut_down();
        assert!(matches!(waiting.join().unwrap(), Err(TubeError::Disconnected)));
    });
}

#[test]
fn threads_that_send_at_the_same_time_do_not_mix_their_packets() {
    const THREADS: usize = 4;
    const MESSAGES: usize = 20;
    let _alone = alone();
    let before = fds::count();
    let (here, there) = pair();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let here = &here;
            scope.spawn(move || {
                let eventfd = fds::new();
                let many = vec![eventfd.as_fd(); 300 + number];
                (0..MESSAGES).for_each(|_| here.send_with(&number, &many).unwrap());
            });
        }
        for _ in 0..THREADS * MESSAGES {
            let (number, came) = there.recv_with::<usize>().unwrap();
            assert_eq!(came.len(), 300 + number);
        }
    });
    drop((here, there));
    fds::expect(before);
}

#[test]
fn a_message_in_part_is_kept_until_the_rest_comes() {
    let _alone = alone();
    let before = fds::count();
    let (here, there) = pair();
    let raw = Raw::new(here.into_socket());
    let eventfd = fds::new();
    let many = vec![eventfd.as_fd(); 253];
    let left = |count: u16| count.to_le_bytes();
    raw.packet(&[1, left(300)[0], left(300)[1], 7], &many).unwrap();
    for _ in 0..3 {
        assert!(there.try_recv_with::<u8>().unwrap().is_none());
    }
    raw.packet(&[2, left(47)[0], left(47)[1]], &many[..47]).unwrap();
    let (message, came) = there.try_recv_with::<u8>().unwrap().unwrap();
    assert_eq!((message, came.len()), (7, 300));
    drop((came, raw, there, eventfd));
    fds::expect(before);
}

/// What a tube that receives these packets says; it says nothing else from then on, and no descriptor is left.
#[track_caller]
fn said_of(packets: &[(&[u8], usize)]) -> TubeError {
    let _alone = alone();
    let before = fds::count();
    let (here, there) = pair();
    let raw = Raw::new(here.into_socket());
    let eventfd = fds::new();
    for (bytes, descriptors) in packets {
        raw.packet(bytes, &vec![eventfd.as_fd(); *descriptors]).unwrap();
    }
    let said = there.recv_with::<u8>().unwrap_err();
    raw.packet(&[1, 0, 0, 9], &[]).unwrap();
    let after = there.try_recv_with::<u8>();
    match said {
        TubeError::Undecodable(_) | TubeError::Disconnected => {
            assert_eq!(after.unwrap().unwrap().0, 9)
        }
        _ => assert!(matches!(after, Err(TubeError::Broken)), "{after:?}"),
    }
    // The sender's end and eventfd, the receiver's end.
    assert_eq!(fds::count(), before + 3);
    said
}

#[test]
fn packets_that_no_tube_sends_break_it_and_leave_no_descriptor() {
    type Packets<'a> = &'a [(&'a [u8], usize)];
    let malformed: [(&str, Packets<'_>); 12] = [
        ("no header", &[(&[1], 0)]),
        ("half a header", &[(&[1, 0], 0)]),
        ("an unknown kind", &[(&[0, 0, 0, 1], 0)]),
        ("another unknown kind", &[(&[255, 0, 0, 1], 0)]),
        ("more descriptors than it says", &[(&[1, 1, 0, 1], 2)]),
        ("fewer", &[(&[1, 2, 0, 1], 1)]),
        ("none of those it says", &[(&[1, 1, 0, 1], 0)]),
        ("too many to come", &[(&[1, 1, 8, 1], 253)]),
        ("the most that can be written", &[(&[1, 255, 255, 1], 253)]),
        ("the rest of nothing", &[(&[2, 1, 0], 1)]),
        ("a rest of another length", &[(&[1, 254, 0, 1], 253), (&[2, 2, 0], 2)]),
        ("a message in a message", &[(&[1, 254, 0, 1], 253), (&[1, 0, 0, 1], 0)]),
    ];
    for (what, packets) in malformed {
        let said = said_of(packets);
        assert!(matches!(said, TubeError::Malformed(_)), "{what}: {said:?}");
    }
    let said = said_of(&[(&[1, 254, 0, 1], 253), (&[2, 1, 0, 1], 1)]);
    assert!(matches!(said, TubeError::Malformed(_)), "bytes with a rest: {said:?}");
    let long = vec![1; MAX_MESSAGE + 4];
    let said = said_of(&[(&long, 0)]);
    assert!(matches!(said, TubeError::TooLong { .. }), "{said:?}");
    let said = said_of(&[(&long, 5)]);
    assert!(matches!(said, TubeError::TooLong { .. }), "with descriptors: {said:?}");
}

#[test]
fn a_message_that_is_another_costs_that_message_and_its_descriptors_only() {
    assert!(matches!(said_of(&[(&[1, 0, 0], 0)]), TubeError::Undecodable(_)));
    assert!(matches!(said_of(&[(&[1, 3, 0], 3)]), TubeError::Undecodable(_)));
    // To the receiver an empty packet is the end.
    assert!(matches!(said_of(&[(&[], 0)]), TubeError::Disconnected));
    assert!(matches!(said_of(&[(&[], 3)]), TubeError::Disconnected));
}

#[test]
fn bytes_after_a_message_are_malformed() {
    let _alone = alone();
    let (here, there) = pair();
    here.send(&(1_u8, 2_u8)).unwrap();
    assert!(matches!(there.recv::<u8>(), Err(TubeError::Malformed(_))));
}

#[test]
fn descriptors_that_nobody_wants_are_closed() {
    let _alone = alone();
    let before = fds::count();
    let (here, there) = pair();
    let eventfd = fds::new();
    here.send_with(&1_u8, &[eventfd.as_fd(); 300]).unwrap();
    assert_eq!(there.recv::<u8>().unwrap(), 1);
    assert_eq!(fds::count(), before + 3);
    // Neither received nor whole.
    here.send_with(&1_u8, &[eventfd.as_fd(); 300]).unwrap();
    drop((here, there, eventfd));
    fds::expect(before);
}

#[test]
fn a_socket_that_was_passed_on_is_a_tube_and_nothing_else_is() {
    let _alone = alone();
    let (here, there) = pair();
    let passed = here.into_socket();
    rustix::io::fcntl_setfd(&passed, FdFlags::empty()).unwrap();
    let here = Tube::from_socket(passed).unwrap();
    assert!(fcntl_getfd(&here).unwrap().contains(FdFlags::CLOEXEC));
    here.send(&1_u8).unwrap();
    assert_eq!(there.recv::<u8>().unwrap(), 1);

    let of_kind =
        |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap().0;
    let others = [
        of_kind(SocketType::STREAM),
        of_kind(SocketType::DGRAM),
        fds::new(),
        std::fs::File::open("/dev/null").unwrap().into(),
    ];
    for other in others {
        assert!(matches!(Tube::from_socket(other), Err(TubeError::NotATube)));
    }
}
