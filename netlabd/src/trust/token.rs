// SPDX-License-Identifier: GPL-3.0-or-later
//! Tokens: what a machine shows to be let in, once. Pure.
//!
//! ```text
//!   nlt1_<SHA-256 of the authority's certificate, hex>_<id>_<secret>
//! ```
//!
//! The hash is for the machine that joins: it tells the server from somebody who poses as it (as
//! k3s' `K10<hash>::…` and kubeadm's `--discovery-token-ca-cert-hash` do). Id and secret are for
//! the server, which keeps a digest of the secret and can therefore not print a token twice.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use ring::hmac;

/// What tokens begin with; the digit is for other forms to come.
const PREFIX: &str = "nlt1";
/// Thirty-two letters and digits that are not taken for each other.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Letters of an id.
const ID_LENGTH: usize = 6;
/// Letters of a secret, 5 bits each: 160 bits cannot be guessed, whatever the digest is.
const SECRET_LENGTH: usize = 32;

/// Random bytes that a token is made of.
pub const RANDOM_BYTES: usize = ID_LENGTH + SECRET_LENGTH;

/// SHA-256 of a certificate (DER).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

/// What lets a machine join.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    authority: Hash,
    id: String,
    secret: String,
}

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no token: it {what}: copy all of what `netlabctl node token` printed on the server"
)]
pub struct TokenError {
    what: &'static str,
}

impl Hash {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Hash {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        Hash(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Hash, TokenError> {
        let wrong = TokenError { what: "has no hash of 64 hexadecimal digits" };
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = str::from_utf8(digits).map_err(|_| wrong.clone())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong.clone())?;
        }
        Ok(Hash(hash))
    }
}

impl Token {
    /// A token of the authority with this hash, made of random bytes.
    pub fn new(authority: Hash, random: [u8; RANDOM_BYTES]) -> Token {
        let letters: String =
            random.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect();
        let (id, secret) = letters.split_at(ID_LENGTH);
        Token { authority, id: id.to_owned(), secret: secret.to_owned() }
    }

    /// Hash of the authority's certificate.
    pub fn authority(&self) -> Hash {
        self.authority
    }

    /// Names it, in lists and messages; no secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is stored of it: HMAC-SHA256 of its id, keyed by the secret, in hexadecimal digits.
    pub fn digest(&self) -> String {
        let tag = hmac::sign(&self.key(), self.id.as_bytes());
        tag.as_ref().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Whether a stored digest is this token's. Takes the same time wherever they differ.
    pub fn matches(&self, digest: &str) -> bool {
        let Ok(Hash(digest)) = digest.parse() else { return false };
        hmac::verify(&self.key(), self.id.as_bytes(), &digest).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes())
    }
}

impl fmt::Display for Token {
    /// All of it, for the one who may have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}_{}_{}_{}", self.authority, self.id, self.secret)
    }
}

impl fmt::Debug for Token {
    /// Without the secret, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Token, TokenError> {
        let error = |what| TokenError { what };
        let mut parts = text.trim().split('_');
        if parts.next() != Some(PREFIX) {
            return Err(error("does not begin with `nlt1_`"));
        }
        let (Some(hash), Some(id), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error("does not have four parts"));
        };
        let is_word = |word: &str| word.bytes().all(|byte| LETTERS.contains(&byte));
        if id.len() != ID_LENGTH || !is_word(id) {
            return Err(error("has a damaged third part"));
        }
        if secret.len() != SECRET_LENGTH || !is_word(secret) {
            return Err(error("is cut short or damaged at its end"));
        }
        Ok(Token { authority: hash.parse()?, id: id.to_owned(), secret: secret.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(seed: u8) -> Token {
        let mut random = [0; RANDOM_BYTES];
        random.iter_mut().zip(0..).for_each(|(byte, place)| *byte = seed.wrapping_mul(7) ^ place);
        Token::new(Hash::of(b"a certificate"), random)
    }

    #[test]
    fn a_token_survives_being_printed_and_pasted() {
        let pasted: Token = format!("  {}\n", token(3)).parse().unwrap();
        assert_eq!(pasted, token(3));
        assert!(pasted.matches(&token(3).digest()));
        let text = token(3).to_string();
        // A double click in a terminal selects all of it.
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{text}");
    }

    #[test]
    fn another_secret_does_not_match_and_the_digest_shows_none() {
        let (one, other) = (token(3), token(4));
        assert!(!one.matches(&other.digest()));
        assert!(!one.matches("") && !one.matches("zz"));
        assert!(!one.digest().contains(&one.secret));
        assert!(!format!("{one:?}").contains(&one.secret));
    }

    #[test]
    fn what_is_no_token_is_told_what_it_lacks() {
        let text = token(3).to_string();
        let damaged = text.replace("nlt1_", "nlt1_zz");
        for (text, what) in [
            ("", "begin with"),
            ("K10abc::server:x", "begin with"),
            (&text[..40], "four parts"),
            (&text[..text.len() - 1], "cut short"),
            (&damaged, "64 hexadecimal"),
        ] {
            let error = text.parse::<Token>().unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("netlabctl node token"), "{error}");
        }
    }
}
