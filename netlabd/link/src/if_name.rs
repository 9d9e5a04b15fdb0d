// SPDX-License-Identifier: GPL-3.0-or-later
//! The two ways to call an interface: its name and its index.

use std::{fmt, str::FromStr};

/// The longest interface name in bytes: the kernel's `IFNAMSIZ` less the final NUL.
pub const MAX_IF_NAME: usize = 15;

/// A name that the kernel accepts for an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(String);

impl IfName {
    /// Checks the name as the kernel's `dev_valid_name` does, and one thing more: `%`, which the
    /// kernel reads as a template to be numbered, is refused.
    ///
    /// # Errors
    /// [`IfNameError`] says what is wrong with the name.
    pub fn new(name: impl Into<String>) -> Result<Self, IfNameError> {
        let name = name.into();
        if name.is_empty() || name == "." || name == ".." {
            return Err(IfNameError::Reserved { name });
        }
        if name.len() > MAX_IF_NAME {
            return Err(IfNameError::TooLong { name });
        }
        match name.chars().find(|c| matches!(c, '/' | ':' | '%' | '\0') || c.is_whitespace()) {
            Some(character) => Err(IfNameError::Character { name, character }),
            None => Ok(Self(name)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for IfName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = IfNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// The kernel would not accept this name for an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IfNameError {
    /// The name is empty, `.` or `..`.
    #[error("`{name}` cannot name an interface: the kernel reserves it")]
    Reserved {
        /// The refused name.
        name: String,
    },
    /// The name is longer than [`MAX_IF_NAME`].
    #[error("interface name `{name}` is too long: {MAX_IF_NAME} bytes are allowed")]
    TooLong {
        /// The refused name.
        name: String,
    },
    /// The name holds a character that no interface name may hold.
    #[error("interface name `{name}` holds {character:?}: leave it out")]
    Character {
        /// The refused name.
        name: String,
        /// The first offending character.
        character: char,
    },
}

/// The number of an interface within its network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(u32);

impl IfIndex {
    /// The interface with this number.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for IfIndex {
    /// As `if7`, which iproute2 accepts wherever it wants a device name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "if{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_accepts_are_accepted() {
        for name in ["lo", "eth0", "nl0123456789a", "a.b", "fifteen_letters"] {
            assert_eq!(IfName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_the_kernel_refuses_are_refused() {
        for name in ["", ".", "..", "a/b", "a b", "a:b", "a\tb", "veth%d", "sixteen_letters_"] {
            assert!(IfName::new(name).is_err(), "`{name}` was accepted");
        }
    }
}
