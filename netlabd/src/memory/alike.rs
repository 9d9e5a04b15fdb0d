// SPDX-License-Identifier: GPL-3.0-or-later
//! Values that many have alike.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::sync::Arc;

/// How many values are compared with a new one.
const RECENT: usize = 16;

/// Lets equal values be one.
///
/// Pods that are made together differ in their names and addresses alone: a thousand replicas have
/// the same labels and the same command. Only the last few values are known, so that a look costs
/// nothing and nothing has to be cleaned up; what was not met for a while is held by its users alone.
#[derive(Debug)]
pub struct Alike<T: ?Sized> {
    /// The last one met in front.
    recent: VecDeque<Arc<T>>,
}

impl<T: ?Sized> Default for Alike<T> {
    fn default() -> Self {
        Self { recent: VecDeque::new() }
    }
}

impl<T: PartialEq + ?Sized> Alike<T> {
    /// `value`, or the one that is equal and known already.
    pub fn share(&mut self, value: impl Borrow<T> + Into<Arc<T>>) -> Arc<T> {
        let shared = match self.recent.iter().position(|known| **known == *value.borrow()) {
            Some(0) => return Arc::clone(&self.recent[0]),
            Some(place) => self.recent.remove(place).expect("a place that was found"),
            None => value.into(),
        };
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_also_when_others_come_between() {
        let mut alike = Alike::<str>::default();
        let first = alike.share("a");
        let other = alike.share("b".to_owned());
        assert!(Arc::ptr_eq(&first, &alike.share("a".to_owned())));
        assert!(Arc::ptr_eq(&other, &alike.share("b")));
        assert_eq!((&*first, &*other), ("a", "b"));
    }

    #[test]
    fn only_the_last_are_known() {
        let mut alike = Alike::default();
        let first = alike.share(0);
        for number in 1..=RECENT {
            // Met again, it stays.
            assert!(Arc::ptr_eq(&first, &alike.share(0)));
            alike.share(number);
        }
        for number in 1..=RECENT {
            alike.share(number);
        }
        assert_eq!(Arc::strong_count(&first), 1);
        assert_eq!(alike.recent.len(), RECENT);
    }
}
