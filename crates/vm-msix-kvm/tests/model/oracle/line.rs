//! One vector: what it is told, and what its signals become.

use vm_msix_kvm::model::Call;

use super::super::ops::{Answer, Message, Place};
use super::belief::{Belief, Trouble};
use super::host::Host;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) message: Message,
    pub(super) mask_bit: bool,
    pub(super) belief: Belief,
    /// A failure that the function has not heard of.
    pub(super) news: Option<Trouble>,
    /// What a signal of the device sends, if it does not wait.
    pub(super) open: Option<Message>,
    /// A signal of the device waits.
    pub(super) kept: bool,
    pub(super) outside: Option<Outside>,
}

/// What a vector with a descriptor has besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outside {
    pub(super) held: bool,
    /// A signal of a producer waits in the eventfd, if nobody has taken it.
    pub(super) counted: bool,
    pub(super) gsi: Option<Gsi>,
    pub(super) taker: Taker,
}

/// A GSI, and what the routing table has for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gsi {
    pub(super) route: Option<Message>,
    /// Nothing that was queued for it is void.
    pub(super) is_certain: bool,
}

/// Who takes what a producer writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Taker {
    #[default]
    Nobody,
    /// KVM will, after the next commit.
    Queued(Message),
    Kvm(Message),
    /// The VMM's loop, for want of a GSI.
    Loop,
}

impl Outside {
    pub(super) fn keeps(&self) -> bool {
        self.counted && matches!(self.taker, Taker::Nobody | Taker::Queued(_))
    }

    fn take(&mut self) -> bool {
        std::mem::take(&mut self.counted)
    }

    /// Whether there is a GSI, or somebody to do without.
    pub(super) fn want_gsi(&mut self, host: &mut Host<'_>) -> Result<(), Trouble> {
        if self.gsi.is_none() && *host.free > 0 {
            *host.free -= 1;
            self.gsi = Some(Gsi::default());
        }
        if self.gsi.is_some() || host.defers { Ok(()) } else { Err(Trouble::Exhausted) }
    }

    /// Whoever takes what comes takes no more.
    pub(super) fn detach(&mut self, host: &mut Host<'_>) -> Result<(), Trouble> {
        if let Taker::Kvm(message) = self.taker {
            host.ask(Call::Deassign, message).map_err(|()| Trouble::StillOpen)?;
        }
        self.taker = Taker::Nobody;
        Ok(())
    }

    /// Somebody takes what comes from now on, or from the next commit on.
    pub(super) fn attach(&mut self, message: Message, host: &mut Host<'_>) -> Result<(), Trouble> {
        self.want_gsi(host)?;
        match &mut self.gsi {
            None => self.taker = Taker::Loop,
            Some(Gsi { route, is_certain: true }) if *route == Some(message) => {
                return self.assign(message, host);
            }
            Some(gsi) => {
                gsi.is_certain = false;
                self.taker = Taker::Queued(message);
            }
        }
        Ok(())
    }

    fn assign(&mut self, message: Message, host: &mut Host<'_>) -> Result<(), Trouble> {
        host.ask(Call::Assign, message).map_err(|()| Trouble::Exhausted)?;
        self.taker = Taker::Kvm(message);
        if self.take() {
            host.interrupt(message);
        }
        Ok(())
    }

    /// The commit that this was queued for.
    pub(super) fn commit(&mut self, message: Message, host: &mut Host<'_>) -> Result<(), Trouble> {
        self.taker = Taker::Nobody;
        let Some(gsi) = &mut self.gsi else { return Ok(()) };
        if gsi.route != Some(message) {
            host.ask(Call::Route, message).map_err(|()| Trouble::Refused)?;
        }
        *gsi = Gsi { route: Some(message), is_certain: true };
        self.assign(message, host)
    }

    pub(super) fn give_gsi_back(&mut self, host: &mut Host<'_>) {
        if !matches!(self.taker, Taker::Kvm(_)) && self.gsi.take().is_some() {
            *host.free += 1;
        }
    }
}

impl Line {
    pub(super) fn new(place: Place) -> Self {
        Self {
            message: Message { place, programming: false },
            mask_bit: true,
            belief: Belief::default(),
            news: None,
            open: None,
            kept: false,
            outside: None,
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.kept || self.outside.as_ref().is_some_and(Outside::keeps)
    }

    pub(super) fn has_descriptor(&self) -> bool {
        self.outside.as_ref().is_some_and(|outside| outside.held)
    }

    /// The device's signal.
    pub(super) fn trigger(&mut self, host: &mut Host<'_>) -> Answer {
        match self.open {
            Some(message) if host.ask(Call::Signal, message).is_err() => Answer::Failed,
            Some(message) => {
                host.interrupt(message);
                Answer::Sent
            }
            None if std::mem::replace(&mut self.kept, true) => Answer::Collapsed,
            None => Answer::Latched,
        }
    }

    /// A producer's.
    pub(super) fn write(&mut self, host: &mut Host<'_>) {
        match &mut self.outside {
            Some(Outside { taker: Taker::Kvm(message), .. }) => host.interrupt(*message),
            Some(outside) => outside.counted = true,
            None => (),
        }
    }

    pub(super) fn retract(&mut self) -> bool {
        let counted =
            self.outside.as_mut().is_some_and(|outside| outside.keeps() && outside.take());
        std::mem::take(&mut self.kept) || counted
    }

    pub(super) fn close(&mut self, host: &mut Host<'_>) -> Result<(), Trouble> {
        (self.news, self.open) = (None, None);
        self.outside.as_mut().map_or(Ok(()), |outside| outside.detach(host))
    }

    /// Does as it is told.
    pub(super) fn obey(
        &mut self,
        wish: Option<Message>,
        host: &mut Host<'_>,
    ) -> Result<(), Trouble> {
        self.close(host)?;
        let Some(message) = wish else { return Ok(()) };
        if let Some(outside) = self.outside.as_mut().filter(|outside| outside.held) {
            self.kept |= outside.take();
            outside.attach(message, host)?;
            if matches!(outside.taker, Taker::Queued(_)) && !host.defers {
                return Ok(());
            }
        }
        self.open(message, host)
    }

    /// Opens for the device, and sends what waits.
    pub(super) fn open(&mut self, message: Message, host: &mut Host<'_>) -> Result<(), Trouble> {
        if self.kept {
            if host.ask(Call::Signal, message).is_err() {
                self.open = None;
                self.outside.as_mut().map_or(Ok(()), |outside| outside.detach(host))?;
                return Err(Trouble::Exhausted);
            }
            self.kept = false;
            host.interrupt(message);
        }
        self.open = Some(message);
        Ok(())
    }

    /// What was queued is committed.
    pub(super) fn commit(&mut self, host: &mut Host<'_>) {
        let Some(outside) = &mut self.outside else { return };
        let Taker::Queued(message) = outside.taker else { return };
        let committed = outside.commit(message, host);
        if let Err(trouble) = committed {
            (self.open, self.news) = (None, Some(trouble));
        } else if self.open.is_none() {
            self.news = self.open(message, host).err().or(self.news);
        }
    }

    /// What waits in the eventfd becomes a signal of the device.
    pub(super) fn pass_on(&mut self, host: &mut Host<'_>) {
        if !self.outside.as_mut().is_some_and(Outside::take) {
            return;
        }
        if self.trigger(host) == Answer::Failed {
            // Nobody is there to be told that it failed.
            let _ = self.close(host);
            (self.kept, self.news) = (true, Some(Trouble::Exhausted));
        }
    }

    /// Nobody takes what comes to the eventfd, which keeps nothing.
    pub(super) fn withdraw(&mut self, host: &mut Host<'_>) -> Result<(), Trouble> {
        self.outside.as_mut().map_or(Ok(()), |outside| outside.detach(host))?;
        self.pass_on(host);
        Ok(())
    }

    /// As the vector is. What fails is news.
    pub(super) fn attach_again(&mut self, host: &mut Host<'_>) {
        let Some(outside) = &mut self.outside else { return };
        let attached = match self.open {
            None => outside.want_gsi(host),
            Some(message) => outside.attach(message, host),
        };
        if let Err(trouble) = attached {
            (self.open, self.news) = (None, Some(trouble));
        }
    }

    /// Nobody has the descriptor, and nobody takes what comes.
    pub(super) fn forget_unheld(&mut self, host: &mut Host<'_>) {
        let is_left = |outside: &Outside| !outside.held && outside.taker == Taker::Nobody;
        if let Some(mut outside) = self.outside.take_if(|outside| is_left(outside)) {
            outside.give_gsi_back(host);
        }
    }
}
