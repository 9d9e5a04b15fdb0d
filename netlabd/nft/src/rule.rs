// SPDX-License-Identifier: GPL-3.0-or-later
//! Tables, chains and rules as values. Each prints the way `nft` writes it. What rules consist of
//! is the matter of [`crate::expression`].
//!
//! These are descriptions only: encoding them is the work of [`crate::transaction`].
//!
//! Names are taken as they are. `nft` reads back `[A-Za-z][A-Za-z0-9/\_.-]*` if it is not a word of
//! its grammar (`fwd` and `index` are), the kernel takes up to 255 bytes.

use std::fmt;

use ipnet::IpNet;

use crate::expression::Expression;
use crate::set::SetName;

/// The address family of a table, and so of the packets that its rules see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 only.
    Ip,
    /// IPv6 only.
    Ip6,
}

impl Family {
    /// Every family that netlab has a table in.
    pub const ALL: [Self; 2] = [Self::Ip, Self::Ip6];

    /// The family of a network.
    #[must_use]
    pub fn of(network: &IpNet) -> Self {
        match network {
            IpNet::V4(_) => Self::Ip,
            IpNet::V6(_) => Self::Ip6,
        }
    }

    /// The kernel's number (`NFPROTO_IPV4`, `NFPROTO_IPV6`).
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Ip => libc::NFPROTO_IPV4 as u8,
            Self::Ip6 => libc::NFPROTO_IPV6 as u8,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.number() == number)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        })
    }
}

/// Which table: a family and a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The family; tables of two families may share a name.
    pub family: Family,
    /// The name within the family.
    pub name: String,
}

impl TableName {
    /// netlab's own table in this family.
    #[must_use]
    pub fn own(family: Family) -> Self {
        Self { family, name: crate::TABLE.to_owned() }
    }

    /// A chain of this table.
    #[must_use]
    pub fn chain(&self, name: &str) -> ChainName {
        ChainName { table: self.clone(), name: name.to_owned() }
    }

    /// A set or map of this table.
    #[must_use]
    pub fn set(&self, name: &str) -> SetName {
        SetName { table: self.clone(), name: name.to_owned() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// Which chain: a table and a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName {
    /// The table it belongs to.
    pub table: TableName,
    /// The name within the table.
    pub name: String,
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.name)
    }
}

/// Text that the kernel keeps with an object and that `nft list` shows: which object of netlab's
/// user the table, chain or rule comes from, and why it is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Comment(Box<str>);

impl Comment {
    /// The longest comment that `nft` reads back, in bytes
    /// (`NFTNL_UDATA_COMMENT_MAXLEN` without the final NUL).
    pub const MAX_LEN: usize = 127;

    /// Makes a comment that `nft` can read back whatever `text` is: quotes and control characters,
    /// which its syntax cannot express, are replaced, and a long text is cut.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut clean = String::new();
        for c in text.chars() {
            let c = match c {
                '"' => '\'',
                c if c.is_control() => ' ',
                c => c,
            };
            if clean.len() + c.len_utf8() > Self::MAX_LEN {
                break;
            }
            clean.push(c);
        }
        Self(clean.into_boxed_str())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "comment \"{}\"", self.0)
    }
}

/// A table: a named place for chains, which no packet sees by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which table.
    pub name: TableName,
    /// What it is for.
    pub comment: Comment,
}

/// A chain: an ordered list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Which chain.
    pub name: ChainName,
    /// Where packets enter it; none for a chain that is only jumped to.
    pub base: Option<Base>,
    /// What it is for.
    pub comment: Comment,
}

/// What makes a chain a base chain: the kernel calls it at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// What its rules may do.
    pub kind: ChainType,
    /// Where on a packet's way it is called.
    pub hook: Hook,
    /// In which order among the chains of the hook: lower comes first.
    pub priority: i32,
    /// What happens to a packet that no rule decided about.
    pub policy: Policy,
}

impl Base {
    /// Before connection tracking (`NF_IP_PRI_RAW`).
    pub const RAW: i32 = -300;
    /// Destination NAT (`NF_IP_PRI_NAT_DST`), before routing.
    pub const DSTNAT: i32 = -100;
    /// Filtering (`NF_IP_PRI_FILTER`).
    pub const FILTER: i32 = 0;
    /// Source NAT (`NF_IP_PRI_NAT_SRC`), after all filtering.
    pub const SRCNAT: i32 = 100;
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {} hook {} priority ", self.kind, self.hook)?;
        // nft knows each name at these hooks only.
        match (self.hook, self.priority) {
            (Hook::Prerouting, Self::DSTNAT) => f.write_str("dstnat")?,
            (Hook::Postrouting, Self::SRCNAT) => f.write_str("srcnat")?,
            (Hook::Prerouting | Hook::Output, Self::RAW) => f.write_str("raw")?,
            (_, Self::FILTER) => f.write_str("filter")?,
            (_, other) => write!(f, "{other}")?,
        }
        write!(f, "; policy {};", self.policy)
    }
}

/// What the rules of a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainType {
    /// Accept and drop.
    Filter,
    /// Translate addresses; sees the first packet of a connection only.
    Nat,
}

impl fmt::Display for ChainType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        })
    }
}

/// Where on a packet's way a base chain is called. The numbers are the kernel's `nf_inet_hooks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Arriving packets, before routing.
    Prerouting = 0,
    /// Packets for this network namespace.
    Input = 1,
    /// Packets passing through.
    Forward = 2,
    /// Packets made here.
    Output = 3,
    /// Leaving packets, after routing.
    Postrouting = 4,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        })
    }
}

/// What happens to a packet that no rule of a base chain decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is thrown away.
    Drop,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
        })
    }
}

/// A rule: matches and what to do when all of them hold, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The chain whose end it is added to.
    pub chain: ChainName,
    /// Matches first, then the action.
    pub expressions: Vec<Expression>,
    /// What it is for.
    pub comment: Comment,
}
