//! A backend by the specification of vhost-user, with nothing in common with the code under test.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::time::Timespec;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

use crate::device::lock;

pub(super) const GET_FEATURES: u32 = 1;
pub(super) const SET_MEM_TABLE: u32 = 5;
pub(super) const SET_VRING_NUM: u32 = 8;
pub(super) const SET_VRING_ADDR: u32 = 9;
pub(super) const SET_VRING_BASE: u32 = 10;
pub(super) const GET_VRING_BASE: u32 = 11;
pub(super) const SET_VRING_KICK: u32 = 12;
pub(super) const SET_VRING_CALL: u32 = 13;
pub(super) const GET_PROTOCOL_FEATURES: u32 = 15;
pub(super) const GET_QUEUE_NUM: u32 = 17;
pub(super) const GET_CONFIG: u32 = 24;

/// Flags of a message: the version, a reply, and one that is to be acknowledged.
const VERSION: u32 = 1;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// Protocol features.
pub(super) const MQ: u64 = 1 << 0;
pub(super) const REPLY_ACK: u64 = 1 << 3;
pub(super) const CONFIG: u64 = 1 << 9;

pub(super) const VERSION_1: u64 = 1 << 32;
pub(super) const PROTOCOL_FEATURES: u64 = 1 << 30;

/// What it says of itself.
#[derive(Clone, Copy)]
pub(super) struct Manners {
    pub(super) features: u64,
    pub(super) protocol: u64,
    pub(super) queues: u64,
}

impl Manners {
    pub(super) const GOOD: Self = Self {
        features: VERSION_1 | PROTOCOL_FEATURES,
        protocol: MQ | REPLY_ACK | CONFIG,
        queues: 2,
    };
}

/// What it does instead of what it should.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Ill {
    /// Never answers.
    Mute,
    /// Answers with something else.
    Nonsense,
    /// Says that it failed.
    Refusal,
    /// Closes the connection.
    HangUp,
    /// Signals for its first queue, and then answers as it should.
    LastWord,
}

/// The backend, in a thread.
pub(super) struct Backend {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    memory: Vec<Region>,
    vrings: [Vring; 4],
    connection: Option<UnixStream>,
    /// Every request, in order.
    requests: Vec<u32>,
    ill: Option<(u32, Ill)>,
}

#[derive(Default)]
struct Vring {
    size: u64,
    descriptors: u64,
    used: u64,
    available: u64,
    /// The next request to serve.
    next: u16,
    call: Option<Arc<OwnedFd>>,
    kick: Option<Arc<OwnedFd>>,
}

struct Region {
    guest: u64,
    size: u64,
    user: u64,
    offset: u64,
    file: File,
}

impl Backend {
    pub(super) fn new(manners: Manners) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("msix-vmm-{}-{number}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        thread::spawn({
            let state = Arc::clone(&state);
            move || {
                let Ok((stream, _)) = listener.accept() else { return };
                lock(&state).connection = stream.try_clone().ok();
                // It ends with the connection.
                let _ = talk(stream, &state, manners);
            }
        });
        Self { path, state }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// From now on it does this when it is asked that.
    pub(super) fn falls_ill(&self, request: u32, ill: Ill) {
        lock(&self.state).ill = Some((request, ill));
    }

    /// Says what nobody asked for.
    pub(super) fn blurt(&self) {
        lock(&self.state).connection.as_ref().unwrap().write_all(&[0xff; 64]).unwrap();
    }

    /// Closes the connection, and goes on with everything else.
    pub(super) fn hang_up(&self) {
        let _ = lock(&self.state).connection.take().unwrap().shutdown(std::net::Shutdown::Both);
    }

    /// How often it was asked that.
    pub(super) fn asked(&self, request: u32) -> usize {
        lock(&self.state).requests.iter().filter(|asked| **asked == request).count()
    }

    pub(super) fn next(&self, queue: usize) -> u16 {
        lock(&self.state).vrings[queue].next
    }

    /// The eventfd that it signals now.
    pub(super) fn call(&self, queue: usize) -> Arc<OwnedFd> {
        lock(&self.state).vrings[queue].call.clone().unwrap()
    }

    pub(super) fn kick(&self, queue: usize) -> Arc<OwnedFd> {
        lock(&self.state).vrings[queue].kick.clone().unwrap()
    }

    /// Serves all that is available in a queue, and signals.
    pub(super) fn complete(&self, queue: usize) {
        lock(&self.state).serve(queue);
        signal(&self.call(queue));
    }
}

impl Backend {
    /// Signals the eventfd of the moment: it does nothing else in between.
    pub(super) fn signal(&self, queue: usize) {
        if let Some(call) = &lock(&self.state).vrings[queue].call {
            signal(call);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(super) fn signal(eventfd: &OwnedFd) {
    // A full one is signalled.
    let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
}

/// Has it full, and each write to it wait.
pub(super) fn fill_and_block(eventfd: &OwnedFd) {
    let flags = fcntl_getfl(eventfd).unwrap();
    fcntl_setfl(eventfd, flags | OFlags::NONBLOCK).unwrap();
    let _ = rustix::io::read(eventfd, &mut [0; 8]);
    let _ = rustix::io::write(eventfd, &(u64::MAX - 1).to_ne_bytes());
    fcntl_setfl(eventfd, flags - OFlags::NONBLOCK).unwrap();
}

/// Whether something is in it.
pub(super) fn is_signalled(eventfd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(eventfd, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).unwrap();
    polled[0].revents().contains(PollFlags::IN)
}

fn talk(mut stream: UnixStream, state: &Mutex<State>, manners: Manners) -> io::Result<()> {
    loop {
        let (header, files) = receive(&stream)?;
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
        let (request, flags) = (word(0), word(4));
        let mut body = vec![0; word(8) as usize];
        stream.read_exact(&mut body)?;
        let mut state = lock(state);
        state.requests.push(request);
        let answer = state.handle(request, &body, files, manners);
        let ill = state.ill.filter(|(when, _)| *when == request).map(|(_, ill)| ill);
        if let (Some(Ill::LastWord), Some(call)) = (ill, &state.vrings[0].call) {
            signal(call);
        }
        drop(state);
        let wanted = flags & NEED_REPLY != 0 && manners.protocol & REPLY_ACK != 0;
        let answer = answer.or(wanted.then(|| 0_u64.to_ne_bytes().to_vec()));
        let answer = match ill {
            None | Some(Ill::LastWord) => answer,
            Some(Ill::Mute) => None,
            Some(Ill::Nonsense) => {
                stream.write_all(&[0xa5; 64])?;
                None
            }
            Some(Ill::Refusal) => Some(1_u64.to_ne_bytes().to_vec()),
            Some(Ill::HangUp) => return stream.shutdown(std::net::Shutdown::Both),
        };
        if let Some(answer) = answer {
            let header = [request, VERSION | REPLY, answer.len() as u32];
            let header = header.map(u32::to_ne_bytes).concat();
            stream.write_all(&[header, answer].concat())?;
        }
    }
}

/// The header of a message, and the descriptors that come with it.
fn receive(mut stream: &UnixStream) -> io::Result<([u8; 12], Vec<OwnedFd>)> {
    let (mut header, mut files) = ([0; 12], Vec::new());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut header)];
    let got = recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            files.extend(descriptors);
        }
    }
    if got == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    stream.read_exact(&mut header[got..])?;
    Ok((header, files))
}

impl State {
    /// Does what it is asked; the answer of those requests that have one of their own.
    fn handle(
        &mut self,
        request: u32,
        body: &[u8],
        files: Vec<OwnedFd>,
        manners: Manners,
    ) -> Option<Vec<u8>> {
        let half = |at: usize| u32::from_ne_bytes(body[at..at + 4].try_into().unwrap());
        let word = |at: usize| u64::from_ne_bytes(body[at..at + 8].try_into().unwrap());
        let vring = |state: &mut Self| half(0) as usize % state.vrings.len();
        let number = |number: u64| Some(number.to_ne_bytes().to_vec());
        match request {
            GET_FEATURES => return number(manners.features),
            GET_PROTOCOL_FEATURES => return number(manners.protocol),
            GET_QUEUE_NUM => return number(manners.queues),
            // As many bytes as were asked for, each its own number.
            GET_CONFIG => {
                let config = (0..half(4) as u8).collect::<Vec<_>>();
                return Some([&body[..12], &config].concat());
            }
            SET_MEM_TABLE => {
                let region = |(index, file)| {
                    let at = 8 + 32 * index;
                    let (guest, size) = (word(at), word(at + 8));
                    Region { guest, size, user: word(at + 16), offset: word(at + 24), file }
                };
                self.memory = files.into_iter().map(File::from).enumerate().map(region).collect();
            }
            SET_VRING_NUM => {
                let index = vring(self);
                self.vrings[index].size = half(4).into();
            }
            SET_VRING_BASE => {
                let index = vring(self);
                self.vrings[index].next = half(4) as u16;
            }
            SET_VRING_ADDR => {
                let index = vring(self);
                let vring = &mut self.vrings[index];
                (vring.descriptors, vring.used, vring.available) = (word(8), word(16), word(24));
            }
            SET_VRING_CALL | SET_VRING_KICK => {
                let index = (word(0) & 0xff) as usize % self.vrings.len();
                let file = files.into_iter().next().map(Arc::new);
                let vring = &mut self.vrings[index];
                match request {
                    SET_VRING_CALL => vring.call = file,
                    _ => vring.kick = file,
                }
            }
            GET_VRING_BASE => {
                let index = vring(self);
                let answer = [index as u32, self.vrings[index].next.into()];
                return Some(answer.map(u32::to_ne_bytes).concat());
            }
            _ => {}
        }
        None
    }

    /// The guest's memory, and where in it an address of the front-end's is.
    fn map(&self, address: u64) -> (GuestMemoryMmap, GuestAddress) {
        let ranges = self.memory.iter().map(|region| {
            let file = FileOffset::new(region.file.try_clone().unwrap(), region.offset);
            (GuestAddress(region.guest), region.size as usize, Some(file))
        });
        let memory = GuestMemoryMmap::from_ranges_with_files(ranges).unwrap();
        let within = |region: &&Region| (region.user..region.user + region.size).contains(&address);
        let region = self.memory.iter().find(within).unwrap();
        (memory, GuestAddress(address - region.user + region.guest))
    }

    /// Gives every request back that is available (virtio 1.2, 2.7).
    fn serve(&mut self, queue: usize) {
        let Vring { size, used, available, .. } = &self.vrings[queue];
        let (size, used, available) = (*size, *used, *available);
        let (memory, available) = self.map(available);
        let (_, used) = self.map(used);
        let at = |ring: GuestAddress, offset: u64| GuestAddress(ring.0 + offset);
        let end: u16 = memory.read_obj(at(available, 2)).unwrap();
        let next = &mut self.vrings[queue].next;
        while *next != end {
            let slot = u64::from(*next) % size;
            let head: u16 = memory.read_obj(at(available, 4 + 2 * slot)).unwrap();
            memory.write_obj(u32::from(head), at(used, 4 + 8 * slot)).unwrap();
            memory.write_obj(0_u32, at(used, 8 + 8 * slot)).unwrap();
            *next = next.wrapping_add(1);
            memory.write_obj(*next, at(used, 2)).unwrap();
        }
    }
}
