//! The requests of the vhost-user protocol, in the order in which backends expect them.
//!
//! Every call here may wait for the backend; what ends the wait is [shutting the socket down](std::os::unix::net::UnixStream::shutdown).

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use vhost::vhost_user::message::{
    VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserProtocolFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use super::bell::Bells;
use super::error::Fault;
use super::kind::Kind;
use crate::virtio::feature;

/// The feature bit by which a backend has protocol features.
const PROTOCOL_FEATURES: u64 = 1 << 30;
/// Features that are the device's own (virtio 1.2, 2.2); of 24 to 27 some mean something else in this protocol.
const OF_THE_DEVICE: u64 = 0x00ff_ffff | 0x3fff << 50;
/// What the transport lets through of the queues' own.
const OF_THE_QUEUES: u64 = feature::VERSION_1 | feature::INDIRECT_DESC | feature::EVENT_IDX;
/// As many as the transport has room for.
const MOST_QUEUES: usize = 64;

/// What a backend offers.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) features: u64,
    pub(super) queues: usize,
    pub(super) config: Vec<u8>,
}

/// A queue to start.
pub(super) struct Vring {
    pub(super) index: usize,
    pub(super) queue: Queue,
    /// The request at which it goes on.
    pub(super) next: u16,
    /// Where the backend is to signal.
    pub(super) call: EventFd,
}

/// Where a queue has stopped.
pub(super) struct Stopped {
    pub(super) index: usize,
    /// The request at which it goes on.
    pub(super) next: u16,
    /// The backend has used something, and rung for it, and nobody has heard it yet.
    pub(super) called: bool,
}

/// A backend that has been greeted.
pub(super) struct FrontEnd {
    frontend: Frontend,
    socket: UnixStream,
    has_protocol_features: bool,
    acknowledges: bool,
    memory: GuestMemoryMmap,
    pub(super) bells: Arc<[Bells]>,
    /// The queues that the backend serves.
    running: Vec<usize>,
}

/// Connects. A backend that takes nobody is not waited for.
pub(super) fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let socket = UnixStream::from(socket);
    socket.set_nonblocking(false)?;
    Ok(socket)
}

impl FrontEnd {
    /// Asks a backend what it is.
    pub(super) fn greet(
        socket: UnixStream,
        kind: Kind,
        memory: GuestMemoryMmap,
    ) -> Result<(Self, Offer), Fault> {
        let mut frontend = Frontend::from_stream(socket.try_clone()?, MOST_QUEUES as u64);
        let features = frontend.get_features()?;
        if features & feature::VERSION_1 == 0 {
            return Err(Fault::Legacy);
        }
        let has_protocol_features = features & PROTOCOL_FEATURES != 0;
        let protocol = match has_protocol_features {
            true => negotiate(&mut frontend)?,
            false => VhostUserProtocolFeatures::empty(),
        };
        let queues = match protocol.contains(VhostUserProtocolFeatures::MQ) {
            true => usize::try_from(frontend.get_queue_num()?).unwrap_or(usize::MAX),
            false => kind.queues,
        };
        if !(1..=MOST_QUEUES).contains(&queues) {
            return Err(Fault::Queues(queues));
        }
        let bells: Vec<_> = (0..queues).map(|_| Bells::new()).collect::<Result<_, _>>()?;
        frontend.set_owner()?;
        let config = match protocol.contains(VhostUserProtocolFeatures::CONFIG) {
            true => read_config(&mut frontend, kind.config)?,
            false => Vec::new(),
        };
        let acknowledges = protocol.contains(VhostUserProtocolFeatures::REPLY_ACK);
        if acknowledges {
            frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        let features = features & (OF_THE_DEVICE | OF_THE_QUEUES);
        let greeted = Self {
            frontend,
            socket,
            has_protocol_features,
            acknowledges,
            memory,
            bells: bells.into(),
            running: Vec::new(),
        };
        Ok((greeted, Offer { features, queues, config }))
    }

    /// Starts queues, for a driver with these features.
    pub(super) fn start(&mut self, features: u64, vrings: &[Vring]) -> Result<(), Fault> {
        let protocol = if self.has_protocol_features { PROTOCOL_FEATURES } else { 0 };
        self.frontend.set_features(features | protocol)?;
        let regions: Vec<_> = self
            .memory
            .iter()
            .map(VhostUserMemoryRegionInfo::from_guest_region)
            .collect::<Result<_, _>>()?;
        self.frontend.set_mem_table(&regions)?;
        for vring in vrings {
            self.set_up(vring)?;
        }
        self.running = vrings.iter().map(|vring| vring.index).collect();
        for index in self.running.clone() {
            if self.has_protocol_features {
                self.frontend.set_vring_enable(index, true)?;
            }
            // What was available before has been kicked before, or never.
            self.kick(index);
        }
        self.settle()
    }

    fn set_up(&mut self, vring: &Vring) -> Result<(), Fault> {
        let Vring { index, queue, next, call } = vring;
        let place = VringConfigData {
            queue_max_size: queue.max_size(),
            queue_size: queue.size(),
            flags: 0,
            desc_table_addr: self.address(queue.desc_table())?,
            used_ring_addr: self.address(queue.used_ring())?,
            avail_ring_addr: self.address(queue.avail_ring())?,
            log_addr: None,
        };
        self.frontend.set_vring_num(*index, queue.size())?;
        self.frontend.set_vring_base(*index, *next)?;
        self.frontend.set_vring_addr(*index, &place)?;
        self.frontend.set_vring_call(*index, call)?;
        // With this one the queue begins.
        let kick = super::bell::eventfd_of(&self.bells[*index].kick)?;
        Ok(self.frontend.set_vring_kick(*index, &kick)?)
    }

    /// Where we have an address of the guest's: backends know memory by that.
    fn address(&self, address: u64) -> Result<u64, Fault> {
        let address = self.memory.get_host_address(GuestAddress(address));
        Ok(address.map_err(|_| Fault::Address)? as u64)
    }

    /// Stops all queues. When it returns, the backend does nothing in them any more.
    pub(super) fn stop(&mut self) -> Result<Vec<Stopped>, Fault> {
        let running = std::mem::take(&mut self.running);
        let stopped = running.into_iter().map(|index| {
            let base = self.frontend.get_vring_base(index)?;
            let called = self.bells[index].call.silence();
            let next = u16::try_from(base).map_err(|_| Fault::Base(base))?;
            Ok(Stopped { index, next, called })
        });
        stopped.collect()
    }

    /// Gives a queue another eventfd to signal. When it returns, the backend does not use the one of before any more.
    pub(super) fn set_call(&mut self, index: usize, call: &EventFd) -> Result<(), Fault> {
        self.frontend.set_vring_call(index, call)?;
        self.settle()
    }

    /// Tells the backend that there is something in a queue.
    pub(super) fn kick(&self, index: usize) {
        if self.is_running(index) {
            self.bells[index].kick.ring();
        }
    }

    /// The connection, for who may end it.
    pub(super) fn socket(&self) -> std::io::Result<UnixStream> {
        self.socket.try_clone()
    }

    pub(super) fn is_running(&self, index: usize) -> bool {
        self.running.contains(&index)
    }

    /// Waits until the backend has done what it was asked to: it answers in order.
    fn settle(&self) -> Result<(), Fault> {
        if !self.acknowledges {
            self.frontend.get_features()?;
        }
        Ok(())
    }
}

/// Nothing comes from the backend that it was not asked for.
impl AsFd for FrontEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn negotiate(frontend: &mut Frontend) -> Result<VhostUserProtocolFeatures, Fault> {
    let wanted = VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::CONFIG;
    let features = frontend.get_protocol_features()? & wanted;
    frontend.set_protocol_features(features)?;
    Ok(features)
}

fn read_config(frontend: &mut Frontend, size: u32) -> Result<Vec<u8>, Fault> {
    if size == 0 {
        return Ok(Vec::new());
    }
    let (_, config) =
        frontend.get_config(0, size, VhostUserConfigFlags::empty(), &vec![0; size as usize])?;
    Ok(config)
}
