//! What device processes and the VMM say to each other.
//!
//! The device process asks, numbering its requests from 0, and may ask again before it is answered; the VMM answers each, in order. All
//! that is named here are vectors of this connection: there is no word for a GSI, nor for another process's vector.
//!
//! What is read here is untrusted. The types allow no more than they must, and whoever takes a request checks the rest.

use std::fmt;

use serde::{Deserialize, Serialize};
use vm_msix::{MsiMessage, Route};

/// The version of the protocol, which both sides must have.
pub(crate) const VERSION: u16 = 1;
/// What a first request begins with, so that a stranger is told from a device process.
pub(crate) const MAGIC: [u8; 4] = *b"msix";

/// A request, which the VMM answers with the same number.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) ask: Ask,
}

/// What a device process asks.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Ask {
    /// Comes first, and once.
    Hello { magic: [u8; 4], version: u16, vectors: u16 },
    /// Gives vectors these routes: ascending, each once.
    SetRoutes(Vec<Change>),
    /// Waits until nothing is deferred.
    Flush,
    /// Closes every vector and gives everything back, the eventfds included.
    Release,
    /// Lets two vectors exchange their eventfds.
    Swap(u16, u16),
}

/// A vector's new route.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) vector: u16,
    pub(crate) route: WireRoute,
    /// The next of the descriptors that came with the request is the vector's eventfd from now on.
    pub(crate) brings: bool,
}

/// A route.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum WireRoute {
    Closed,
    Open { address: u64, data: u32 },
}

/// An answer.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Reply {
    pub(crate) number: u64,
    pub(crate) answer: Answer,
}

/// What the VMM answers.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Answer {
    /// To a hello.
    Welcome,
    /// To every other request.
    Done {
        /// What became of the vectors of a [`Ask::SetRoutes`] or [`Ask::Swap`], in their order.
        results: Vec<VectorResult>,
        /// What became of other vectors since the last answer.
        late: Vec<(u16, VectorFailure)>,
    },
    /// The session is over.
    Refused(Refusal),
}

/// What became of one vector's change.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum VectorResult {
    /// It is as asked.
    Done,
    /// It is as asked, and it was closed with a signal in it that has not left.
    Kept,
    /// It is closed, and not as asked.
    Failed(VectorFailure),
}

/// Why a vector is not as a device process asked.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum VectorFailure {
    /// Its message, or its eventfd, can never be served.
    #[error("its message or its eventfd was refused")]
    Refused,
    /// Something was missing, and may be there another time.
    #[error("the VMM is out of what it needs for it")]
    Exhausted,
    /// It could not be closed, and is open as it was.
    #[error("it could not be closed")]
    StillOpen,
}

/// Why the VMM does not serve a device process, or does not any more.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Refusal {
    /// It speaks another version of the protocol.
    Version {
        /// Its version.
        asked: u16,
        /// The VMM's.
        served: u16,
    },
    /// It wants more vectors than it may have.
    Vectors {
        /// So many.
        asked: u16,
        /// It may have so many.
        quota: u16,
    },
    /// The VMM has no delivery for it.
    NoDelivery,
    /// It said what no device process says.
    Violation(Violation),
}

/// What no device process says.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Violation {
    /// Something that cannot be read.
    Frame,
    /// A first request that is no greeting, or a second greeting.
    Greeting,
    /// A number that is not the next.
    Number {
        /// The number.
        got: u64,
        /// The next.
        expected: u64,
    },
    /// A vector that the function has not.
    Vector {
        /// The vector.
        vector: u16,
        /// How many it has.
        vectors: u16,
    },
    /// Vectors that are not ascending.
    Order {
        /// The first that is not above the one before it.
        vector: u16,
    },
    /// Other descriptors than the request speaks of.
    Descriptors {
        /// How many came.
        came: usize,
        /// How many it speaks of.
        wanted: usize,
    },
    /// A vector that opens, and never had an eventfd.
    NoEventfd {
        /// The vector.
        vector: u16,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { asked, served } => {
                write!(f, "the device process speaks version {asked}, the VMM {served}")
            }
            Self::Vectors { asked, quota } => {
                write!(f, "{asked} vectors asked for, the quota is {quota}")
            }
            Self::NoDelivery => f.write_str("the VMM has no interrupt delivery for it"),
            Self::Violation(violation) => violation.fmt(f),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame => f.write_str("a frame that cannot be read"),
            Self::Greeting => f.write_str("no greeting, or one too many"),
            Self::Number { got, expected } => write!(f, "request {got} in the place of {expected}"),
            Self::Vector { vector, vectors } => write!(f, "vector {vector} of {vectors}"),
            Self::Order { vector } => write!(f, "vector {vector} out of order"),
            Self::Descriptors { came, wanted } => {
                write!(f, "{came} descriptors in the place of {wanted}")
            }
            Self::NoEventfd { vector } => write!(f, "vector {vector} opens without an eventfd"),
        }
    }
}

impl From<Route> for WireRoute {
    fn from(route: Route) -> Self {
        match route {
            Route::Closed => Self::Closed,
            Route::Open(MsiMessage { address, data }) => Self::Open { address, data },
        }
    }
}

impl From<WireRoute> for Route {
    fn from(route: WireRoute) -> Self {
        match route {
            WireRoute::Closed => Self::Closed,
            WireRoute::Open { address, data } => Self::Open(MsiMessage::new(address, data)),
        }
    }
}
