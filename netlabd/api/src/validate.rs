// SPDX-License-Identifier: GPL-3.0-or-later
//! stub
#![allow(missing_docs)]
use crate::Object;
pub struct FieldError {
    pub field: String,
    pub message: String,
    pub hint: Option<String>,
}
pub fn validate(_object: &Object) -> Vec<FieldError> {
    Vec::new()
}
pub fn validate_update(_old: &Object, _new: &Object) -> Vec<FieldError> {
    Vec::new()
}
