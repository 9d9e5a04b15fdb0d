// SPDX-License-Identifier: GPL-3.0-or-later
//! Chance that comes again: what a test does at random is told by a seed that it prints.

use std::time::{SystemTime, UNIX_EPOCH};

/// Marsaglia's xorshift64.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice with the seed that the variable has, or a new one; it is printed either way.
    ///
    /// # Panics
    /// When the variable is no number.
    #[track_caller]
    pub fn seeded(variable: &str) -> Dice {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
        let new = now.as_nanos() as u64;
        let given = std::env::var(variable).ok();
        let seed = given.map_or(new, |seed| seed.parse().expect("the seed is a number"));
        println!("{variable}={seed}");
        Dice::of(seed)
    }

    /// Dice for another thread, which is as far as this one is without them.
    #[must_use]
    pub fn split(&mut self) -> Dice {
        Dice::of(self.roll(u64::MAX))
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.roll(of.len() as u64)).expect("it is below the number of these")]
    }

    /// From 0 the generator would not go on.
    fn of(seed: u64) -> Dice {
        Dice(seed | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_rolls_the_same() {
        let rolls = |mut dice: Dice| [(); 5].map(|()| dice.roll(1000));
        assert_eq!(rolls(Dice::of(7)), rolls(Dice::of(7)));
        assert_ne!(rolls(Dice::of(7)), rolls(Dice::of(9)));
        assert_ne!(rolls(Dice::of(0)), [0; 5]);
        assert!(["a", "b"].contains(Dice::of(3).pick(&["a", "b"])));
    }
}
