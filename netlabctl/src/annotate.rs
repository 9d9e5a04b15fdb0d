// SPDX-License-Identifier: GPL-3.0-or-later
//! `annotate`: as `label`, for annotations.

use crate::label::Field;

/// Annotations, in kubectl's words.
pub(crate) const ANNOTATIONS: Field = Field {
    path: "annotations",
    set: "annotated",
    removed: "annotated",
    of: |metadata| &metadata.annotations,
};
